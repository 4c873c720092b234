"""The lecture's `cmp` in a live session: the numbers, and what a report would say of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import torch

from gradninja.check.tell.report import shape_told
from gradninja.learn.forward import Forward, Lacks, Run, forward_of, is_float, run, same_lines
from gradninja.learn.lines import Found, diagnosed
from gradninja.learn.session import Session, Statement, session

RELATIVE = 1e-5  # of the largest element: what float32's rounding may do
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


def cmp(
    name: str,
    mine: Any,
    variable: torch.Tensor,
    *,
    loss: str | None = None,
    mend: bool = False,
) -> None:
    """Compare a gradient with autograd's, as the lecture does, and say what is wrong with it.

    In a notebook, in IPython and in a script: the forward is found in what ran, and run again under
    autograd from the tensors that are there; `retain_grad` and `loss.backward()` are not needed.

    Args:
        name: what to call it; the name of `variable` in the forward.
        mine: your gradient, of the shape of `variable`.
        variable: the forward's tensor.
        loss: the name of the scalar; found by itself where there is one.
        mend: print the mended line as well.
    """
    print(compare(name, mine, variable, loss=loss, frame=sys._getframe(1)).text(mend=mend))


def compare(
    name: str,
    mine: Any,
    variable: torch.Tensor,
    *,
    loss: str | None = None,
    frame: FrameType | None = None,
) -> Comparison:
    """What `cmp` prints, as an object. `frame`: whose names and lines are meant."""
    here = session(frame or sys._getframe(1))
    return DESK.compare(here, name, mine, variable, loss)


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
        self.ran = kept = replace(kept, forward=forward)
        return kept

    def compare(
        self, here: Session, label: str, mine: Any, variable: Any, loss: str | None = None
    ) -> Comparison:
        name = _name_of(here, label, variable)
        try:
            ran = self.run(here, name, loss)
        except Lacks as lack:
            return self._without_lines(label, name, mine, variable, lack)
        if name not in ran.gradients:
            none = Lacks(f"no gradient flows through `{name}`: `{ran.forward.loss}` ignores it")
            return self._without_lines(label, name, mine, variable, none)
        if ran.stale and isinstance(variable, torch.Tensor) and variable.grad is not None:
            note = f"{_stale(ran)} Compared with `{name}.grad`."
            return numbers(label, name, mine, variable.grad, (note,))
        found = numbers(label, name, mine, ran.gradients[name])
        if ran.stale:
            return replace(found, notes=(*found.notes, _stale(ran)))
        if found.verdict == "to do":
            return replace(found, uses=tuple(ran.forward.uses(name)))
        if found.ok:
            return replace(found, notes=self._remarks(found, ran, name))
        return _explained(found, here, ran, name, mine)

    def _remarks(self, found: Comparison, ran: Run, name: str) -> tuple[str, ...]:
        notes = []
        largest = max(float(g.abs().max()) for g in ran.gradients.values() if g.numel())
        true = ran.gradients[name]
        if true.numel() and float(true.abs().max()) <= ZERO * largest and _is_zero(ran, name):
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
                f"{_relative(found, true):.0e} of the largest element; float32's step is 6e-08"
            )
        return tuple(notes)

    def _without_lines(
        self, label: str, name: str, mine: Any, variable: Any, lack: Lacks
    ) -> Comparison:
        """The numbers against the tensor's own `.grad`, where it has one."""
        grad = variable.grad if isinstance(variable, torch.Tensor) else None
        said = lack.message + (f"; {lack.hint}" if lack.hint else "")
        if grad is None:
            note = "nor has it a .grad (call .retain_grad() on it before loss.backward())"
            return Comparison(label, name, "unknown", notes=(said, note))
        return numbers(label, name, mine, grad, (f"compared with `{name}.grad` alone: {said}",))


DESK = Desk()


def _name_of(here: Session, label: str, variable: Any) -> str:
    """The forward's name for a tensor: the label, or the name that holds it."""
    if here.namespace.get(label) is variable:
        return label
    held = [n for n, v in here.namespace.items() if v is variable and not n.startswith("_")]
    return held[0] if held else label


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
        said = f"it is a {type(mine).__name__}, not a tensor"
        return Comparison(label, name, "wrong", expected=expected, notes=(said, *notes))
    shape = tuple(mine.shape)
    if shape != expected:
        return Comparison(label, name, "wrong shape", shape=shape, expected=expected, notes=notes)
    value, exact = mine.detach().to(true.dtype), torch.equal(mine.detach(), true)
    approximate = torch.allclose(value, true)
    off = (value - true).abs()
    maxdiff = float(off.max()) if off.numel() else 0.0
    scale = float(true.abs().max()) if true.numel() else 0.0
    right = (approximate and maxdiff <= max(RELATIVE * scale, 1e-8)) or maxdiff <= RELATIVE * scale
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


def _is_zero(ran: Run, name: str) -> bool:
    """Whether a gradient vanishes in float64, too."""
    wide = run(ran.forward, torch.float64)
    largest = max(float(g.abs().max()) for g in wide.gradients.values() if g.numel())
    return float(wide.gradients[name].abs().max()) <= 1e-12 * largest


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
    elif told.line is None:
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


def gradients_of(namespace: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The person's gradients by the forward's names, as far as they are there."""
    return {n: namespace[f"d{n}"] for n in names if is_float(namespace.get(f"d{n}"))}
