"""A backward run as it is written, and what it spoils through names that share memory."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import torch

from gradninja.check.given.execution import Reached, copy_of, precision, quiet
from gradninja.check.given.plan import Plan, Step
from gradninja.check.reference.truth import Truth
from gradninja.check.walks.statement_walk import Match, execute, shares


@dataclass(frozen=True)
class Spoil:
    """`victim` changes when statement `by` writes into `through`; `maker` made them one memory."""

    victim: str
    through: str
    by: int
    maker: int
    largest: float  # how far an element was moved


@dataclass
class AsWritten:
    """A run with nothing put right. `final`: what each gradient held at the end.

    `held`: what each gradient held after the last statement that writes it; `given`: the output's
    gradients, which a backward may write itself.
    """

    final: dict[str, Any] = field(default_factory=dict)
    held: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None
    error_at: int | None = None
    gone: set[str] = field(default_factory=set)  # gradients that were deleted after they were made
    spoils: list[Spoil] = field(default_factory=list)
    hidden: dict[int, set[str]] = field(default_factory=dict)  # writes that no text tells


class Watch:
    """Follows the tensors of a run: who holds which memory, and since which statement."""

    def __init__(self, scope: dict[str, Any], match: Match, plan: Plan, given: set[str]) -> None:
        """`given`: the names that stood there before; the others are the person's own."""
        self.scope, self.match, self.plan, self.given = scope, match, plan, given
        self.bound_at: dict[str, int] = {}
        self.gone: set[str] = set()  # names that are not used any more
        self.before: dict[str, tuple[torch.Tensor, int, torch.Tensor]] = {}
        self.look()

    def look(self) -> None:
        """Remember every tensor; copies are made only of what is new or has changed."""
        for name, value in self.scope.items():
            if isinstance(value, torch.Tensor):
                held = self.before.get(name)
                if held is None or held[0] is not value or held[1] != value._version:
                    self.before[name] = (value, value._version, copy_of(value))

    def changed(self, index: int, step: Step, found: AsWritten) -> None:
        """What a statement changed that its text does not name."""
        if step.gives_up is not None:
            self.gone.add(step.gives_up)
        victims = []
        for name, (tensor, version, copy) in self.before.items():
            now = self.scope.get(name)
            if now is not tensor:
                self.bound_at[name] = index
            elif name in self.gone:
                continue
            elif name not in step.writes and tensor._version != version and _differs(copy, tensor):
                victims.append((name, copy))
        for name in self.scope:
            if name not in self.before and name not in self.bound_at:
                # One name more for what has a name makes no memory shared.
                former = self.bound_at.get(step.gives_up) if step.gives_up else None
                self.bound_at[name] = index if former is None else former
        for name, copy in victims:
            through = next(
                (w for w in sorted(step.writes) if shares(self.scope.get(w), self.scope[name])),
                None,
            )
            through = through or self._former(step, name)
            if self._is_spoil(name, copy, through, step):
                maker = self._maker(name, through or name)
                if maker is not None and through is not None:
                    moved = (self.scope[name] - copy).abs() if copy.is_floating_point() else None
                    largest = 0.0 if moved is None else float(moved.nan_to_num().max())
                    found.spoils.append(Spoil(name, through, index, maker, largest))
            elif name in self.plan.gradients:
                found.hidden.setdefault(index, set()).add(name)
        self.look()

    def _former(self, step: Step, victim: str) -> str | None:
        """A name that shared the memory before the statement and was bound anew by it."""
        for name in sorted(step.writes):
            held = self.before.get(name)
            if held is not None and shares(held[0], self.scope[victim]):
                return name
        return None

    def _is_spoil(self, name: str, copy: torch.Tensor, through: str | None, step: Step) -> bool:
        """Or else a write: a helper that was handed the gradient, or a view made to write to it."""
        if through is None:
            return False
        if name not in self.plan.gradients:
            return True
        if through in self.plan.gradients:
            return True
        return self.match(name, copy) is not None  # it was right before

    def _maker(self, victim: str, through: str) -> int | None:
        """The statement that gave the two one memory."""
        mine, other = self.bound_at.get(through, -1), self.bound_at.get(victim, -1)
        if other > mine:
            node = self.plan.steps[other].node
            names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            if through in names or mine < 0:
                return other
        return mine if mine >= 0 else None


def as_written(
    plan: Plan,
    codes: list[CodeType],
    truth: Truth,
    scope: dict[str, Any],
    match: Match,
    *,
    watch: bool,
) -> AsWritten:
    """Run all statements on what the earlier ones left."""
    found = AsWritten()
    last = {name: plan.last(name) for name in plan.gradients}
    with precision(truth.dtype, truth.draw.seed), torch.no_grad(), quiet():
        eyes = Watch(scope, match, plan, set(scope)) if watch else None
        for index, step in enumerate(plan.steps):
            error = execute(codes[index], scope)
            if isinstance(error, Reached):
                break
            if error is not None:
                found.error, found.error_at = error, index
                break
            if eyes is not None:
                eyes.changed(index, step, found)
            for name in step.writes:
                if last.get(name) == index:
                    found.held[name] = copy_of(scope.get(name))
    found.gone = {name for name in found.held if name not in scope}
    found.given = {name: scope[name] for name in truth.cotangents if name in scope}
    # A name that was deleted on the way had done its work.
    gone = {step.gives_up for step in plan.steps}
    found.final = {
        name: held if name in gone else copy_of(scope.get(name, held))
        for name, held in found.held.items()
    }
    return found


def _differs(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape:
        return True
    same = one == other
    if one.is_floating_point():
        same = same | (one.isnan() & other.isnan())
    return not bool(same.all())
