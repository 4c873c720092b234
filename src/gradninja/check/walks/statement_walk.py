"""Walking a backward statement by statement: with true upstream gradients, and as written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import torch

from gradninja.check.given.execution import (
    Endless,
    Reached,
    compiled,
    copy_of,
    precision,
    quiet,
    run,
)
from gradninja.check.given.plan import Plan, Step
from gradninja.check.reference.truth import Names, Truth
from gradninja.lines.scope import LIBRARY

Match = Callable[[str, Any], str | None]  # gradient, value -> the version that it is right for


@dataclass
class Outcome:
    """What became of one gradient: its value after each statement that writes it."""

    values: list[tuple[int, Any]] = field(default_factory=list)
    error: Exception | None = None
    error_at: int | None = None

    @property
    def value(self) -> Any:
        return self.values[-1][1] if self.values else None


@dataclass
class Judged:
    """A walk on true upstream gradients.

    `outcomes`: per gradient; `scopes`: what the names held before each statement, where asked for;
    `stumbles`: statements that write no gradient and raise.
    """

    outcomes: dict[str, Outcome]
    stumbles: dict[int, Exception] = field(default_factory=dict)
    scopes: dict[int, dict[str, Any]] = field(default_factory=dict)


class Person(Exception):
    """SystemExit and the like, raised by the person's line."""


def codes(plan: Plan, file: str) -> dict[bool, list[CodeType]]:
    """Every step compiled, for float32 (False) and for float64 (True)."""
    return {
        wide: [compiled(step.code, file, widen=wide) for step in plan.steps]
        for wide in (False, True)
    }


def execute(code: CodeType, scope: dict[str, Any]) -> Exception | None:
    """Run one statement; what it raises is returned, `Reached` for a return."""
    try:
        run(code, scope)
    except (KeyboardInterrupt, Endless):
        raise
    except Exception as error:
        return error
    except BaseException as error:  # SystemExit: the person's line ends the program
        return Person(f"{type(error).__name__}: the line ends the program")
    return None


def start(
    truth: Truth,
    names: Names,
    namespace: Mapping[str, Any],
    parameters: Mapping[str, Any],
    *,
    natural: bool,
    handed: Collection[str] = (),
    withheld: Collection[str] = (),
) -> dict[str, Any]:
    """What the names hold before the first statement.

    A parameter `dX` that is no cotangent holds the true gradient: the backward is a part of one.
    So do the gradients `handed`; the cotangents `withheld` are not there.

    The file's own names come before the forward's where the backward is a function that did not
    ask for them: that is what Python would find.
    """
    values = truth.natural if natural else truth.values
    memo: dict[int, Any] | None = {} if natural else None
    scope: dict[str, Any] = {**LIBRARY}
    forward = {name: copy_of(value, memo) for name, value in values.items()}
    for name, versions in names.versions.items():
        known = [truth.gradients[v] for v in versions if v in truth.gradients]
        if known and names.gradient(name) in {*parameters, *handed}:
            forward[names.gradient(name)] = known[0].clone()
    cotangents = {n: grad for n, grad in truth.cotangents.items() if n not in withheld}
    forward.update({name: _laid_out(grad, grad) for name, grad in cotangents.items()})
    if parameters:
        scope.update(forward)
        scope.update({n: d for n, d in parameters.items() if n not in forward})
        scope.update(namespace)
        scope.update({name: forward[name] for name in parameters if name in forward})
    else:
        scope.update(namespace)
        scope.update(forward)
    scope["__reached__"] = Reached
    return scope


class Walk:
    """One walk over the statements in one precision on one draw, upstream gradients put right."""

    def __init__(
        self,
        plan: Plan,
        steps: Mapping[bool, list[CodeType]],
        truth: Truth,
        names: Names,
        scope: dict[str, Any],
        match: Match,
        *,
        complete: bool = False,
        keep: frozenset[int] = frozenset(),
        ones: Mapping[int, str] | None = None,
    ) -> None:
        """`complete`: a gradient that is read before its last contribution reads as complete.

        `keep`: the statements before which it is noted what the names hold; their number: the end.
        `ones`: the statements that give an output's gradient, which are judged elsewhere.
        """
        self.plan, self.truth, self.names, self.match = plan, truth, names, match
        self.steps = steps[truth.dtype == torch.float64]
        self.scope, self.complete, self.keep, self.ones = scope, complete, keep, ones or {}
        self.last = {name: plan.last(name) for name in plan.gradients}
        self.judged = Judged(
            {name: Outcome() for name in plan.gradients if self.last[name] is not None}
        )
        # What was put in place, by name: the tensor put there, its version, what to put anew.
        self.placed: dict[str, tuple[torch.Tensor, int, torch.Tensor]] = {}
        self.mine: dict[str, tuple[torch.Tensor, int, torch.Tensor]] = {}

    def run(self) -> Judged:
        for name, value in self.truth.values.items():
            if isinstance(self.scope.get(name), torch.Tensor) and isinstance(value, torch.Tensor):
                self._hold(name, self.scope[name], value)
        for name, given in self.truth.cotangents.items():
            if self.last.get(name) is None and name in self.scope:
                self._hold(name, self.scope[name], given)
        with precision(self.truth.dtype, self.truth.draw.seed), torch.no_grad(), quiet():
            for index, step in enumerate(self.plan.steps):
                if not self._step(index, step):
                    break
        if len(self.plan.steps) in self.keep:
            self._refresh()
            self.judged.scopes[len(self.plan.steps)] = copy_of(dict(self.scope))
        return self.judged

    def _step(self, index: int, step: Step) -> bool:
        self._refresh()
        lent = self._lend(index, step) if self.complete else {}
        if index in self.keep:
            self.judged.scopes[index] = copy_of(dict(self.scope))
        error = execute(self.steps[index], self.scope)
        for name, value in lent.items():
            self.scope[name] = value
        if isinstance(error, Reached):
            return False
        if index in self.ones:
            name = self.ones[index]
            self.scope[name] = self.truth.cotangents[name].clone()
            return True
        self._keep_locals(step)
        mine = [name for name in self.judged.outcomes if name in step.writes]
        if error is not None and not mine:
            self.judged.stumbles.setdefault(index, error)
        for name in mine:
            self._note(name, index, error)
        for name in step.writes - set(mine):
            if error is not None:
                self._put_anew(name)
            else:
                self.placed.pop(name, None)  # from here on it is a name of the person's own
        return True

    def _note(self, name: str, index: int, error: Exception | None) -> None:
        outcome = self.judged.outcomes[name]
        if error is not None and outcome.error is None:
            outcome.error, outcome.error_at = error, index
        value = self.scope.get(name)
        if error is None:
            outcome.values.append((index, copy_of(value)))
        if index == self.last[name]:
            version = self.match(name, value) if outcome.error is None else None
            version = version or self._first_version(name)
            true = self.truth.gradients[version]
            self.scope[name] = _laid_out(true, value)
            self._hold(name, self.scope[name], true)

    def _first_version(self, name: str) -> str:
        versions = self.names.versions[self.plan.gradients[name]]
        return next(v for v in versions if v in self.truth.gradients)

    def _lend(self, index: int, step: Step) -> dict[str, Any]:
        """Put the complete truth in for gradients that get further contributions later."""
        own = {}
        for name in step.mentions - step.writes:
            last = self.last.get(name)
            if last is not None and last > index and name in self.scope:
                own[name] = self.scope[name]
                true = self.truth.gradients[self._first_version(name)]
                self.scope[name] = _laid_out(true, own[name])
        return own

    # A statement may write, through an alias, into what others still read. The tensors that were
    # put in place have versions: what was written to is put in place anew.

    def _hold(self, name: str, put: torch.Tensor, true: torch.Tensor) -> None:
        self.placed[name] = (put, put._version, true)

    def _refresh(self) -> None:
        for name, (put, version, _) in list(self.placed.items()):
            if self.scope.get(name) is not put:
                del self.placed[name]  # the person gave the name another value, or deleted it
            elif put._version != version:
                self._put_anew(name)

    def _put_anew(self, name: str) -> None:
        """What raises may have written before, and torch counts no version for that."""
        if name in self.placed:
            put, _, true = self.placed[name]
            self.scope[name] = _laid_out(true, put)
            self._hold(name, self.scope[name], true)

    def _keep_locals(self, step: Step) -> None:
        """The person's own locals are protected from being spoiled through a gradient alike."""
        gradients = [n for n in step.writes if n in self.plan.gradients and n not in step.binds]
        for name, (tensor, version, before) in list(self.mine.items()):
            if self.scope.get(name) is not tensor:
                del self.mine[name]
            elif tensor._version != version and name not in step.writes:
                if any(shares(self.scope.get(other), tensor) for other in gradients):
                    self.scope[name] = _laid_out(before, tensor)
                    self.mine[name] = (self.scope[name], self.scope[name]._version, before)
                else:
                    self.mine[name] = (tensor, tensor._version, copy_of(tensor))
        for name in step.writes:
            value = self.scope.get(name)
            if name not in self.plan.gradients and isinstance(value, torch.Tensor):
                self.mine[name] = (value, value._version, copy_of(value))


def shares(one: Any, other: Any) -> bool:
    """Whether two tensors have memory in common."""
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return False
    here = one.untyped_storage().data_ptr()
    return here != 0 and here == other.untyped_storage().data_ptr()


def _laid_out(true: torch.Tensor, like: Any) -> torch.Tensor:
    """A copy of the truth, in memory as the person's own value is."""
    if isinstance(like, torch.Tensor) and like.shape == true.shape:
        strides = like.stride()
        if 0 not in strides:
            needed = sum((n - 1) * s for n, s in zip(like.shape, strides, strict=True)) + 1
            room = torch.empty(max(needed, 0) if true.numel() else 0, dtype=true.dtype)
            if true.numel():
                return room.as_strided(like.shape, strides).copy_(true)
    return true.detach().clone(memory_format=torch.contiguous_format)
