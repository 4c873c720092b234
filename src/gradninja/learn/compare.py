"""The lecture's `cmp` in a live session: the numbers, and what a report would say of them."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import torch

from gradninja.check.tell.report import shape_told
from gradninja.learn.judged_lines import Found, diagnosed
from gradninja.learn.numpy_session import spoken, tensor_of
from gradninja.learn.ran_forward import Forward, Lacks, Run, forward_of, run, same_lines
from gradninja.learn.session import Session, Statement, session
from gradninja.lines.ndarray import is_array

RELATIVE = 1e-5  # of the largest element: what float32's rounding may do
DOUBLE = 1e-9  # and float64's
ZERO = 1e-6  # of the largest gradient: from here down it is asked whether it is zero in truth


@dataclass(frozen=True, eq=False)
class Comparison:
    """One gradient of a person's against autograd's.

    `verdict` is "right", "wrong", "wrong shape", "to do" or "unknown"; `kind` the kind of mistake,
    `line` the person's line, `uses` the forward's lines that use the variable; `mend` the mended
    line, `place` where it stands, and `told` the diagnosis in words, which are shown when they are
    asked for; `notes` are remarks.
    """

    label: str
    name: str
    verdict: str
    exact: bool | None = None
    approximate: bool | None = None
    maxdiff: float | None = None
    shape: tuple[int, ...] | None = None
    expected: tuple[int, ...] | None = None
    kind: str | None = None
    line: Statement | None = None
    uses: tuple[Statement, ...] = ()
    notes: tuple[str, ...] = ()
    told: str | None = None
    mend: str | None = None
    place: str | None = None

    @property
    def ok(self) -> bool:
        return self.verdict == "right"

    @property
    def head(self) -> str:
        """The line that the lecture prints."""
        shown = "-" if self.maxdiff is None else str(self.maxdiff)
        exact, app = str(bool(self.exact)), str(bool(self.approximate))
        return f"{self.label:15s} | exact: {exact:5s} | approximate: {app:5s} | maxdiff: {shown}"

    def text(self, *, mend: bool = False) -> str:
        """The head, and where it is not right what is known, with the mend only where asked."""
        rows = [self.head]
        if not self.ok:
            kind = f" ({self.kind})" if self.kind else ""
            rows.append(f"  d{self.name}: {self.verdict}{kind}")
            if self.line is not None:
                rows.append(f"  your line ({self.line.where}): {self.line.text}")
            if self.verdict == "wrong shape":
                rows.append(f"  shape {shape_told(self.shape)}, it should be that of "
                            f"`{self.name}`, {shape_told(self.expected)}")  # fmt: skip
            for use in self.uses:
                rows.append(f"  the forward uses `{self.name}` ({use.where}): {use.text}")
        rows += [f"  {note}" for note in self.notes]
        if mend and self.told:
            rows.append(f"  {self.told}")
        if mend and self.mend:
            where = f"{self.place}, write" if self.place else "write"
            rows.append(f"  {where}: {self.mend}")
        elif not self.ok and self.mend:
            rows.append(
                f"  gn.hint({self.name!r}) asks what leads on; cmp(..., mend=True) mends it"
            )
        return "\n".join(rows)

    def __repr__(self) -> str:
        return f"<d{self.name}: {self.verdict}{f', {self.kind}' if self.kind else ''}>"


WRITTEN: Any = object()  # stands for what the names `dX` and `X` hold


def cmp(
    name: str,
    mine: Any = WRITTEN,
    variable: Any = WRITTEN,
    *,
    loss: str | None = None,
    mend: bool = False,
) -> None:
    """Compare a gradient with autograd's, as the lecture does, and say what is wrong with it.

    In a notebook, in IPython and in a script: the forward is found in what ran, and run again under
    autograd from the tensors that are there; `retain_grad` and `loss.backward()` are not needed.

    Args:
        name: what to call it; the name of `variable` in the forward.
        mine: your gradient, of the shape of `variable`; what `dX` holds where `name` is "X".
        variable: the forward's tensor or array; what `X` holds.
        loss: the name of the scalar; found by itself where there is one.
        mend: print the mended line as well.
    """
    print(compare(name, mine, variable, loss=loss, frame=sys._getframe(1)).text(mend=mend))


def compare(
    name: str,
    mine: Any = WRITTEN,
    variable: Any = WRITTEN,
    *,
    loss: str | None = None,
    frame: FrameType | None = None,
) -> Comparison:
    """What `cmp` prints, as an object. `frame`: whose names and lines are meant."""
    here = session(frame or sys._getframe(1))
    label = called(here, name)
    held = here.namespace
    mine = held.get(f"d{label}") if mine is WRITTEN else mine
    variable = held.get(label) if variable is WRITTEN else variable
    return DESK.compare(here, label, mine, variable, loss)


def called(here: Session, thing: Any) -> str:
    """A name; of a value the name that holds it."""
    if isinstance(thing, str):
        return thing.strip()
    held = [n for n, v in here.namespace.items() if v is thing and not n.startswith("_")]
    return held[0] if held else f"a {type(thing).__name__}"


class Desk:
    """What is kept between two comparisons: the forward that was run last, and what was told."""

    def __init__(self) -> None:
        self.ran: Run | None = None
        self.told: set[str] = set()

    def run(self, here: Session, name: str, loss: str | None) -> Run:
        """The forward with `name` in it, run on the values that are there now."""
        forward = forward_of(here, name, loss)
        kept = self.ran
        if kept is None or not same_lines(kept.forward, forward) or not _unchanged(kept, forward):
            kept = run(forward)
        elif kept.stale:  # and run again since: it is as its lines give it
            kept = replace(kept, stale=())
        self.ran = kept = replace(kept, forward=forward)
        return kept

    def compare(
        self, here: Session, label: str, mine: Any, variable: Any, loss: str | None = None
    ) -> Comparison:
        name = _name_of(here, label, variable)
        if here.namespace.get(label) is mine and variable is not mine and mine is not None:
            return Comparison(label, name, "unknown", notes=(ORDER.format(name=label),))
        if label[:1] == "d" and mine is not None and here.namespace.get(label[1:]) is mine:
            return Comparison(label, name, "unknown", notes=(ORDER.format(name=label[1:]),))
        other = _other(here, label, name)
        here = spoken(_with_handed(here, label, name), variable)
        mine, variable = tensor_of(mine), tensor_of(variable)
        found = self._compared(here, label, name, mine, variable, loss)
        return replace(found, notes=(*found.notes, *other))

    def _compared(
        self, here: Session, label: str, name: str, mine: Any, variable: Any, loss: str | None
    ) -> Comparison:
        try:
            ran = self.run(here, name, loss)
        except Lacks as lack:
            return self._without_lines(label, name, mine, variable, lack)
        if name not in ran.gradients:
            none = Lacks(f"no gradient flows through `{name}`: `{ran.forward.loss}` ignores it")
            return self._without_lines(label, name, mine, variable, none)
        if ran.stale and (kept := _grad_of(variable)) is not None:
            note = f"{_stale(ran)} Compared with `{name}.grad`."
            return numbers(label, name, mine, kept, (note,))
        found = numbers(label, name, mine, ran.gradients[name])
        if ran.stale:
            return replace(found, notes=(*found.notes, _stale(ran)))
        if found.verdict == "to do" or not isinstance(mine, torch.Tensor):
            return replace(found, uses=tuple(ran.forward.uses(name)))
        if not found.ok and found.shape == found.expected and _vanishes(mine, ran, name):
            found = replace(found, verdict="right")
        if found.ok:
            return replace(found, notes=self._remarks(found, ran, name))
        return _explained(found, here, ran, name, mine)

    def _remarks(self, found: Comparison, ran: Run, name: str) -> tuple[str, ...]:
        notes = []
        true = ran.gradients[name]
        if _vanishes(true, ran, name):
            notes.append(
                f"the true gradient of `{name}` is zero: to move it does not move "
                f"`{ran.forward.loss}`, what comes after takes it away again. A line of zeros "
                "would agree as well, and what is left here is rounding"
            )
        elif not found.exact and "exact" not in self.told:
            self.told.add("exact")
            notes.append(
                "exact: False with approximate: True is right. The same sums in another order, or "
                "a product rounded once more, end on other last bits: here off by "
                f"{_relative(found, true):.0e} of the largest element; one step of "
                f"{str(true.dtype).partition('.')[2]} is {torch.finfo(true.dtype).eps / 2:.0e}"
            )
        return tuple(notes)

    def _without_lines(
        self, label: str, name: str, mine: Any, variable: Any, lack: Lacks
    ) -> Comparison:
        """The numbers against the tensor's own `.grad`, where it has one."""
        grad = _grad_of(variable)
        said = (lack.message, *([lack.hint] if lack.hint else []))
        if mine is None:
            return Comparison(label, name, "to do", notes=said)
        if grad is None:
            return Comparison(label, name, "unknown", notes=said)
        first, *rest = said
        notes = (f"compared with `{name}.grad` alone: {first}", *rest)
        return numbers(label, name, mine, grad, notes)


DESK = Desk()


ORDER = (
    "the name comes first, your gradient second, what the forward computed third: "
    "cmp({name!r}, d{name}, {name})"
)


def _name_of(here: Session, label: str, variable: Any) -> str:
    """The forward's name for a tensor: the label, or the name that holds it."""
    if here.namespace.get(label) is variable or variable is None:
        return label
    held = called(here, variable)
    return held if held in here.namespace else label


def _other(here: Session, label: str, name: str) -> tuple[str, ...]:
    """What is said where the label is the name of another tensor of the forward."""
    labelled = here.namespace.get(label)
    if name == label or not (isinstance(labelled, torch.Tensor) or is_array(labelled)):
        return ()
    return (f"the tensor that you gave is `{name}`, so it is compared as d{name}, not d{label}",)


def _with_handed(here: Session, label: str, name: str) -> Session:
    """The session with what the call hands over as a line, where it has a name of its own:
    `cmp("h", dlogits @ W2.T, h)` judges `dh = dlogits @ W2.T`.
    """
    found = here.handed(label, 1)
    if found is None or (isinstance(found[0], ast.Name) and found[0].id == f"d{name}"):
        return here
    expression, call = found
    text = f"d{name} = {ast.unparse(expression)}"
    (node,) = ast.parse(text).body
    line = Statement(node, text, call.place, call.line)
    return replace(here, statements=(*here.statements, line))


def _grad_of(variable: Any) -> torch.Tensor | None:
    """A tensor's own `.grad`; asking one that keeps none for it makes torch warn."""
    if not isinstance(variable, torch.Tensor) or not (variable.is_leaf or variable.retains_grad):
        return None
    return variable.grad


def _unchanged(ran: Run, forward: Forward) -> bool:
    return all(
        name in forward.namespace
        and isinstance(forward.namespace[name], torch.Tensor)
        and torch.equal(forward.namespace[name].detach(), before)
        for name, before in ran.values.items()
    )


def _stale(ran: Run) -> str:
    first = ran.stale[0]
    line = next((s for s in ran.forward.lines if first in s.binds), None)
    where = f" (`{line.text}`, {line.where})" if line is not None else ""
    return (
        f"`{first}` is not what its line gives on the values that are there now{where}: something "
        "above it has changed since. Run the forward's cells again, then the backward's."
    )


def numbers(
    label: str, name: str, mine: Any, true: torch.Tensor, notes: tuple[str, ...] = ()
) -> Comparison:
    expected = tuple(true.shape)
    if isinstance(mine, int | float) and true.ndim == 0:
        mine = torch.tensor(mine, dtype=true.dtype)
    if mine is None:
        return Comparison(label, name, "to do", expected=expected, notes=notes)
    if not isinstance(mine, torch.Tensor):
        said = f"it is of type {type(mine).__name__}, and should be of that of `{name}`"
        return Comparison(label, name, "wrong", expected=expected, notes=(said, *notes))
    shape = tuple(mine.shape)
    if shape != expected:
        return Comparison(label, name, "wrong shape", shape=shape, expected=expected, notes=notes)
    value, exact = mine.detach().to(true.dtype), torch.equal(mine.detach(), true)
    approximate = torch.allclose(value, true)
    off = (value - true).abs()
    maxdiff = float(off.max()) if off.numel() else 0.0
    scale = float(true.abs().max()) if true.numel() else 0.0
    relative = DOUBLE if true.dtype == torch.float64 else RELATIVE
    right = maxdiff <= max(relative * scale, 1e-8 if approximate else 0.0)
    return Comparison(
        label,
        name,
        "right" if right else "wrong",
        exact,
        approximate,
        maxdiff,
        shape,
        expected,
        notes=notes,
    )


def _relative(found: Comparison, true: torch.Tensor) -> float:
    scale = float(true.abs().max()) if true.numel() else 0.0
    return (found.maxdiff or 0.0) / (scale or 1.0)


def _vanishes(value: torch.Tensor, ran: Run, name: str) -> bool:
    """Whether a gradient is zero in truth, in float64, too, and this is no more than rounding."""

    def largest(of: Run) -> float:
        return max(float(g.abs().max()) for g in of.gradients.values() if g.numel())

    if not value.numel() or not float(value.detach().double().abs().max()) <= ZERO * largest(ran):
        return False
    wide = run(ran.forward, torch.float64)
    return float(wide.gradients[name].abs().max()) <= 1e-12 * largest(wide)


def _explained(found: Comparison, here: Session, ran: Run, name: str, mine: Any) -> Comparison:
    """The same with the kind of the mistake, by the person's lines."""
    uses = tuple(ran.forward.uses(name))
    told: Found = diagnosed(here, ran.forward, name)
    notes = [*found.notes, *told.notes]
    if not told.wrong and told.line is not None:
        notes.append(
            f"the lines that write `d{name}` are right, what it holds is not: it was written in "
            "another order, or twice (`+=`). Run them again from the first"
        )
    elif told.line is None and not told.notes:
        notes.append(f"no line that writes `d{name}` is found in what you ran")
    return replace(
        found,
        kind=told.kind,
        line=told.line,
        uses=uses,
        notes=tuple(notes),
        told=told.text,
        mend=told.mend,
        place=told.place,
    )
