"""What a backward returns to its caller, compared with the gradients that are asked of it.

People return gradients in many ways. A tuple with one place for each input, or for each float
input, stands in the order of the inputs, with None where there is none. A dict is read by its keys,
`d<name>` or `<name>`. Any other tuple is read by what its parts are called where it is returned.
What belongs to no input by any of these is not judged, unless nothing of it is a gradient at all.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from gradninja.check.given.backward_text import in_place_of, returns
from gradninja.check.given.execution import LOWER
from gradninja.check.reference import tolerance as rounding
from gradninja.check.reference.tolerance import Tolerance
from gradninja.check.reference.truth import size
from gradninja.check.tell.findings import LineReport, Verdict
from gradninja.check.verdicts.verdict import LOST, coarser, precision_lost
from gradninja.check.walks.trials import Trial, Trials, tolerances
from gradninja.check.wholes.as_called import Call, Odd

HANDED_ON = 1e4  # as written, rounding is handed on from line to line
DIGITS = 1e-9
SHOWN = 3  # places told


@dataclass(frozen=True, eq=False)
class Place:
    """One value that is returned. `variable`: what it should be the gradient of, where known."""

    label: str
    value: Any
    variable: str | None


@dataclass(frozen=True, eq=False)
class Wrong:
    place: Place
    call: Call
    text: str
    off: float | None = None


class Returned:
    """The verdict on all that the calls of a backward gave."""

    def __init__(self, trials: Trials, calls: Sequence[Call]) -> None:
        self.trials, self.written, self.calls = trials, trials.written, calls
        first = trials.trials[0]
        program = first.draw.program
        self.names = first.names
        self._known: dict[str, list[Tolerance]] = {}
        self.inputs = [given.name for given in program.inputs]
        self.floats = list(program.differentiable)
        self.notes: list[str] = []

    def row(self) -> LineReport | None:
        """What is wrong with it, as one line of a report; None where nothing is."""
        wrong: list[Wrong] = []
        for call in self.calls:
            if call.raised is not None:
                if call.name_error:
                    return None  # it reads names around it that only its lines are given
                text = f"called as it is bound in the file, it raises: {call.raised}"
                return self._line(Verdict.ERROR, text, "raises")
            wrong += self._wrong(call)
            if wrong:
                break
        if not wrong:
            return None
        text = "; ".join(one.text for one in wrong[:SHOWN]) + self._why(wrong[0])
        offs = [one.off for one in wrong if one.off is not None]
        return self._line(Verdict.WRONG, text, "returned", max(offs, default=None))

    # -- which gradient stands where --------------------------------------------------------

    def places(self, value: Any, parts: Sequence[ast.expr] | None, trial: Trial) -> list[Place]:
        """All that is returned, each with the variable that it should be the gradient of."""
        if isinstance(value, Mapping):
            return [self._keyed(key, part) for key, part in value.items()]
        if not isinstance(value, tuple):
            several: tuple[Any, ...] = (value,)
            parts = [parts[0]] if parts is not None and len(parts) == 1 else None
        else:
            several = value
        named = list(parts) if parts is not None and len(parts) == len(several) else None
        inner = [part for part in several if isinstance(part, Mapping | tuple)]
        if inner:
            return [place for part in inner for place in self.places(part, None, trial)]
        beside = [
            at
            for at, part in enumerate(several)
            if self._is_no_gradient(part, None if named is None else named[at], trial)
        ]
        if beside and len(several) > len(self.floats) - 1:
            several = tuple(part for at, part in enumerate(several) if at not in beside)
            named = None if named is None else [n for at, n in enumerate(named) if at not in beside]
        called = [self._called(part) for part in named] if named else [None] * len(several)
        if not isinstance(value, tuple) and called == [None] and len(self.floats) > 1:
            wanted: list[str | None] = [None]
        else:
            wanted = self._in_order(several, called, named)
        return [
            Place(f"place {at + 1}" if isinstance(value, tuple) else "it", part, variable)
            for at, (part, variable) in enumerate(zip(several, wanted, strict=True))
        ]

    def _in_order(
        self,
        several: Sequence[Any],
        called: Sequence[str | None],
        parts: Sequence[ast.expr] | None,
    ) -> list[str | None]:
        """The variable for each place: by position where every input has one, else by name."""
        order = next((o for o in (self.inputs, self.floats) if len(o) == len(several)), None)
        if order is None:
            return list(called)
        known = [name for name in called if name is not None]
        strange = any(
            name is None and isinstance(part, ast.Name)
            for name, part in zip(called, parts or (), strict=False)
        )
        others = not set(known) <= set(self.floats) or (
            (strange or len(known) == len(several)) and set(known) != set(self.floats)
        )
        moved = any(name not in (None, mine) for name, mine in zip(called, order, strict=True))
        by_place = any(isinstance(p, ast.Name) and p.id in self.handed_on for p in parts or ())
        if others and moved and not by_place:
            return list(called)
        return [name if name in self.floats else None for name in order]

    def _called(self, part: ast.expr | None) -> str | None:
        """The variable of a part that is called `d<name>` where it is returned."""
        if not isinstance(part, ast.Name) or part.id in self.handed_on:
            return None
        return self.trials.trials[0].gradients.get(part.id)

    @cached_property
    def handed_on(self) -> set[str]:
        """The outputs' gradients that lines write: one name for each gradient on the way down."""
        written = set().union(*(step.writes for step in self.trials.plan.steps))
        return written & self.trials.trials[0].wide.cotangents.keys()

    def stood_for(self) -> set[str]:
        """The variables whose gradients are returned, by place or by name."""
        calls = [call for call in self.calls if call.value is not None][:1]
        trials = self.trials.trials
        found = (p for c in calls for p in self.places(c.value, self.parts, trials[c.index]))
        return {p.variable for p in found if p.variable is not None and p.value is not None}

    def _keyed(self, key: str, value: Any) -> Place:
        trial = self.trials.trials[0]
        bare = key.removeprefix("grad_").removesuffix("_grad")
        variable = trial.gradients.get(key)
        if variable is None and bare in trial.gradients.values():
            mine = trial.wide.values.get(bare)
            same = isinstance(value, torch.Tensor) and isinstance(mine, torch.Tensor)
            if not (same and self._equal(value, mine)):  # a value of the forward beside
                variable = bare
        return Place(f"`{key}`", value, variable)

    def _is_no_gradient(self, value: Any, part: ast.expr | None, trial: Trial) -> bool:
        """Whether it is the loss, or another value of the forward, returned beside gradients."""
        if isinstance(part, ast.Name) and part.id not in trial.gradients:
            held = trial.wide.values.get(part.id)
            if held is not None:
                return self._equal(value, held) or not isinstance(held, torch.Tensor)
        if self._called(part) is not None:
            return False
        outputs = [trial.wide.state[name] for name in trial.draw.program.outputs]
        return any(o.ndim == 0 and self._equal(value, o) for o in outputs)

    def _equal(self, value: Any, held: Any) -> bool:
        if isinstance(value, int | float) and isinstance(held, torch.Tensor) and held.ndim == 0:
            value = torch.tensor(float(value), dtype=torch.float64)
        if not isinstance(held, torch.Tensor) or not rounding.comparable(value, held):
            return False
        return rounding.distance(value, held.double()) <= 1e-4 * max(size(held), 1e-30)

    # -- what is wrong ----------------------------------------------------------------------

    def _wrong(self, call: Call) -> list[Wrong]:
        if call.value is None:
            return []
        trial = self.trials.trials[call.index]
        places = self.places(call.value, self.parts, trial)
        if places and all(place.value is None for place in places):
            return [Wrong(places[0], call, "None is returned, and no gradient")]
        found = [wrong for place in places for wrong in self._off(place, call, trial)]
        judged = [place for place in places if place.variable is not None]
        if not found and not judged and places and self._matches_nothing(places, call, trial):
            found.append(Wrong(places[0], call, "what is returned is the gradient of no input"))
        return found

    def _off(self, place: Place, call: Call, trial: Trial) -> Iterator[Wrong]:
        variable, value = place.variable, place.value
        if variable is None:
            return
        gradient = self.names.gradient(variable)
        if value is None:
            plan = self.trials.plan
            if gradient in plan.gradients and plan.last(gradient) is not None:
                text = f"None is returned in {place.label}, where `{gradient}` is expected"
                yield Wrong(place, call, text)
            else:
                self._note(variable, "None is returned for it")
            return
        true = trial.truth(call.dtype).gradients[self._versions(trial, variable)[0]]
        value = _tensor(value, true)
        if not rounding.comparable(value, true):
            if self._is(variable, value, call, trial):
                return
            said = (
                f"of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else str(value)
            )
            if isinstance(value, Odd | int | float | torch.Tensor):
                text = self._other(place, call, trial) or (
                    f"what is returned in {place.label} is {said}, where the gradient of "
                    f"`{variable}` of shape {tuple(true.shape)} is expected"
                )
                yield Wrong(place, call, text)
            return
        if not self._is(variable, value, call, trial):
            off = rounding.distance(value, true) / (size(true) or 1.0)
            text = self._other(place, call, trial) or (
                f"what is returned in {place.label} is not the gradient of `{variable}`"
                + _times(value, true)
            )
            yield Wrong(place, call, text, off)
        elif call.dtype == torch.float32 and coarser(value, true):
            dtype = str(value.dtype).removeprefix("torch.")
            text = f"what is returned for `{variable}`, a float32 tensor, is {dtype}"
            yield Wrong(place, call, text)

    def _other(self, place: Place, call: Call, trial: Trial) -> str | None:
        """The gradient of another input that stands there."""
        for name in self.trials.trials[0].gradients.values():
            if name != place.variable and self._is(name, place.value, call, trial):
                expected = f"where that of `{place.variable}` is expected"
                return f"what is returned in {place.label} is the gradient of `{name}`, {expected}"
        return None

    def _matches_nothing(self, places: Sequence[Place], call: Call, trial: Trial) -> bool:
        tensors = [place for place in places if isinstance(place.value, torch.Tensor)]
        return bool(tensors) and not any(
            self._is(name, place.value, call, trial)
            for place in tensors
            for name in self.trials.trials[0].gradients.values()
        )

    def _versions(self, trial: Trial, variable: str) -> tuple[str, ...]:
        versions = trial.versions(variable)
        return versions[:1] if variable in self.inputs else versions

    def _is(self, variable: str, value: Any, call: Call, trial: Trial) -> bool:
        """Whether a value is the gradient of a variable, up to rounding."""
        for version in self._versions(trial, variable):
            true = trial.truth(call.dtype).gradients[version]
            value = _tensor(value, true)
            if rounding.comparable(value, true):
                wide = trial.wide.gradients[version]
                allowed = self._allowed(variable)[call.index]
                lost = self._lost(value, call.dtype)
                limit = DIGITS * size(wide) + HANDED_ON * allowed.absolute
                if lost > 1:
                    own = HANDED_ON * rounding.distance(
                        trial.single.gradients[version], wide.to(torch.float32)
                    )
                    if trial.single is trial.wide:  # there is nothing in float32 to go by
                        own = math.inf
                    limit = max(LOST * size(wide), min(allowed.absolute * lost, own))
                if rounding.distance(value, wide) <= limit:
                    return True
        return False

    def _lost(self, value: torch.Tensor, dtype: torch.dtype) -> float:
        if dtype == torch.float32 or self._lowers:
            return torch.finfo(torch.float32).eps / torch.finfo(torch.float64).eps
        return precision_lost(value, kernel=True)

    @cached_property
    def _lowers(self) -> bool:
        """Whether the text asks for a lower precision anywhere."""
        tree = ast.parse(self.written.text)
        return any(isinstance(n, ast.Attribute) and n.attr in LOWER for n in ast.walk(tree))

    def _allowed(self, variable: str) -> list[Tolerance]:
        if variable not in self._known:
            trials = self.trials.trials
            versions = [self._versions(trial, variable)[0] for trial in trials]
            none = [(None, None)] * len(trials)
            self._known[variable] = tolerances(trials, versions, none)
        return self._known[variable]

    # -- in words ---------------------------------------------------------------------------

    @cached_property
    def statement(self) -> ast.Return | None:
        """The one `return` with a value."""
        found = list(returns(self.written))
        return found[0] if len(found) == 1 else None

    @cached_property
    def parts(self) -> list[ast.expr] | None:
        """What is returned, part by part, where the text tells."""
        value = self.statement.value if self.statement is not None else None
        if isinstance(value, ast.Call) and len(value.args) == 1:
            of = value.func
            if isinstance(of, ast.Name) and of.id in {"tuple", "list"}:
                value = value.args[0]
        if isinstance(value, ast.Name):
            bound = [
                step.node.value
                for step in self.trials.plan.steps
                if isinstance(step.node, ast.Assign)
                and [ast.unparse(target) for target in step.node.targets] == [value.id]
            ]
            value = bound[-1] if bound and isinstance(bound[-1], ast.Tuple | ast.List) else value
        if isinstance(value, ast.Tuple | ast.List):
            return None if any(isinstance(e, ast.Starred) for e in value.elts) else value.elts
        return None if value is None else [value]

    def _note(self, variable: str, why: str) -> None:
        note = f"`{variable}` is given no gradient ({why}): taken as meant"
        if note not in self.notes:
            self.notes.append(note)

    def _why(self, wrong: Wrong) -> str:
        """What it is due to, where its lines are right."""
        call, label = wrong.call, wrong.place.label
        for earlier in self.calls:
            same = (earlier.index, earlier.dtype) == (call.index, call.dtype)
            if same and earlier is not call and earlier.raised is None:
                trial = self.trials.trials[earlier.index]
                places = self.places(earlier.value, self.parts, trial)
                right = [p for p in places if p.label == label and p.variable is not None]
                if right and not any(True for p in right for _ in self._off(p, earlier, trial)):
                    return ": it gives another value when it is called again, or in another order"
        live = self.written.function
        code = getattr(live, "__code__", None)
        plain = code is not None and code.co_name == self.written.name
        return "" if plain else f": its lines are right, but `{self.written.name}` is decorated"

    def _line(self, verdict: Verdict, text: str, kind: str, off: float | None = None) -> LineReport:
        statement = self.statement
        fix = self._mend() if kind == "returned" else None
        return LineReport(
            "return",
            None if statement is None else statement.lineno,
            "" if statement is None else self.written.source_of(statement),
            verdict,
            max_rel=off,
            kind=kind,
            diagnosis=text,
            fix=fix,
            place=None if fix is None or statement is None else in_place_of(statement),
        )

    def _mend(self) -> str | None:
        """The return as it should be, where the lines give every gradient."""
        statement, parts = self.statement, self.parts
        if statement is None or parts is None:
            return None
        plan = self.trials.plan
        has = {name for name in plan.gradients if plan.last(name) is not None}
        whole = len(parts) == len(self.inputs)
        order = self.inputs if whole else self.floats
        if len(parts) != len(order):
            return None
        gradients = [self.names.gradient(name) if name in self.floats else "None" for name in order]
        if not {name for name in gradients if name != "None"} <= has:
            return None
        mended = f"return {', '.join(gradients)}"
        return None if mended == self.written.source_of(statement) else mended


def _tensor(value: Any, true: torch.Tensor) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool) and true.ndim == 0
    return torch.tensor(float(value), dtype=true.dtype) if number else value


def _times(value: torch.Tensor, true: torch.Tensor) -> str:
    """Says of a wrong gradient whether it is the true one times a number."""
    there = true != 0
    if not bool(there.any()) or not value.is_floating_point():
        return ""
    ratio = value.double()[there] / true.double()[there]
    first = float(ratio[0])
    if first == 0 or not bool(((ratio - first).abs() <= 1e-3 * abs(first)).all()):
        return ""
    return f": it is that times {first:.4g}"
