"""The search for mends by playing: edits in order of cost, each run on the whole Function.

What is searched: the backward, the helpers that it calls, and of the forward what only the backward
has a use for. A mend leaves right what is right, and makes right what is wrong.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import torch

from gradninja.check.diagnosis.candidates.costs import Cost
from gradninja.check.diagnosis.candidates.statement_edits import Edit
from gradninja.check.diagnosis.candidates.tree_edits import Place
from gradninja.check.diagnosis.facts import Facts
from gradninja.check.diagnosis.work import NAMED, Allowance, runs_of
from gradninja.check.functions.function_text import Text
from gradninja.check.functions.played.method_edits import (
    Aim,
    Scope,
    edits_of,
    facts_of,
    feeding,
    needed_for,
    pairs_of,
    scopes_of,
)
from gradninja.check.functions.played.running import Played, same
from gradninja.check.functions.played.true_gradients import True_, true_gradients
from gradninja.check.given.execution import counted, precision, quiet
from gradninja.check.given.plan import bound, unread
from gradninja.check.given.plan import written as written_in

COMPILED = 1.0  # runs that making a function anew is worth
OF_BACKWARD, OF_FORWARD, OF_PAIRS = 6000.0, 5000.0, 1000.0  # runs of work, for edits


@dataclass(frozen=True)
class Values:
    """What the Function is played on: inputs by place, and which of them have a gradient."""

    draws: Sequence[Sequence[Any]]
    wanted: Sequence[int]
    plain: Callable[..., Any] | None
    digits: float = 0.0
    symmetric: frozenset[int] = frozenset()

    def truth(self, played: Played) -> True_ | None:
        found = true_gradients(played, self.plain, self.digits)
        return None if found is None else replace(found, symmetric=self.symmetric)


@dataclass(frozen=True)
class Mend:
    """An edit with which the gradients `right`, by place, are right."""

    edit: Edit
    facts: Facts
    body: Sequence[ast.stmt]
    right: frozenset[int]
    whole: bool  # all gradients are right


@dataclass(frozen=True)
class _Candidate:
    cost: float
    make: Callable[[], Edit]
    facts: Facts
    spot: _Spot


@dataclass(frozen=True)
class _Spot:
    """A statement: of the backward by its place there, or of a helper or the forward."""

    at: int
    body: Sequence[ast.stmt]
    function: ast.FunctionDef | None = None
    forward: bool = False
    whole: bool = True  # all gradients that are wrong come of it, and none that is right
    needed: frozenset[str] = frozenset()  # names that the outputs come of

    def takes(self, place: Place) -> bool:
        """Whether a place is worth an edit: the outputs come of none there."""
        around = [n for n in (*place.parents, place.node) if isinstance(n, ast.stmt)]
        return not self.needed or _only(around[-1], self.needed)

    @property
    def extra(self) -> float:
        """What an edit there costs more."""
        if self.forward:
            return Cost.IN_THE_FORWARD
        if isinstance(self.body[self.at], ast.Return):  # whose parts go their own ways
            return Cost.INSIDE
        return 0.0 if self.whole else Cost.PROVEN


def mends(text: Text, values: Values, aim: Callable[[int, torch.Tensor], Aim]) -> list[Mend]:
    """The cheapest edit that makes all gradients right; else the cheapest ones that make some so.

    Args:
        aim: a place of the inputs and its true gradient, as what edits are looked for.
    """
    # The person's calls were counted when the verdict was found; these are many runs of them.
    with warnings.catch_warnings(), precision(torch.float64), quiet():
        warnings.simplefilter("ignore")
        return _Search(text, values, aim).found()


def wrong_by(values: Values, text: Text) -> set[int]:
    """The places of the inputs whose gradients are not right; all of them where it does not run."""
    with warnings.catch_warnings(), precision(torch.float64), quiet(), counted():
        warnings.simplefilter("ignore")
        try:
            played = Played(text, values.draws[0], values.wanted)
            truth = values.truth(played)
            right = truth.right(played.ran()) if truth is not None else frozenset()
        except Exception:  # whatever the person's lines raise
            return set(values.wanted)
    return set(values.wanted) - right


def held_back(values: Values, text: Text) -> set[int]:
    """The places of the inputs whose gradients are in locals of the backward that no line reads."""
    idle = unread(text.backward.body, [a.arg for a in text.backward.args.args[1:]])
    if not idle:
        return set()
    with warnings.catch_warnings(), precision(torch.float64), quiet(), counted():
        warnings.simplefilter("ignore")
        try:
            played = Played(text, values.draws[0], values.wanted)
            truth = values.truth(played)
            played.ran()
        except Exception:  # whatever the person's lines raise
            return set()
    found = [played.before[-1].get(name) for name in idle]
    several = [] if truth is None else [truth.right([value] * len(text.inputs)) for value in found]
    return set().union(*several)


def copies(text: Text, inputs: Sequence[Any]) -> bool:
    """Whether all that a Function returns are values that it is given."""
    with precision(torch.float64), quiet(), counted():
        try:
            played = Played(text, inputs, [])
        except Exception:  # whatever the person's lines raise
            return False
    return all(any(same(o, value) for value in inputs) for o in played.outputs)


class _Search:
    def __init__(self, text: Text, values: Values, aim: Callable[[int, torch.Tensor], Aim]) -> None:
        self.text, self.values = text, values
        self.played = Played(text, values.draws[0], values.wanted)
        self.truth = values.truth(self.played)
        self.aim = aim
        self.others: list[tuple[Played, True_]] | None = None
        self.feeding: Mapping[int, frozenset[int]] = {}
        self.wrong: frozenset[int] = frozenset()

    def found(self) -> list[Mend]:
        truth = self.truth
        if truth is None:
            return []
        try:
            start = truth.right(self.played.ran())
        except Exception:  # whatever the person's lines raise
            start = frozenset()
        wrong = sorted(set(truth.gradients) - start)
        if not wrong:
            return []
        self.feeding = {
            at: feeding(self.played.body, at, len(self.text.inputs)) for at in truth.gradients
        }
        self.wrong = frozenset(wrong)
        aim = self.aim(wrong[0], truth.gradients[wrong[0]])
        several: dict[frozenset[int], Mend] = {}
        allowed = Allowance(OF_BACKWARD + OF_FORWARD + OF_PAIRS)
        for candidates, part in (
            (self.singles([*self.of_backward(), *self.of_helpers()], aim), OF_BACKWARD),
            (self.singles(self.of_forward(), aim), OF_FORWARD),
            (self.doubles(self.of_backward(), aim), OF_PAIRS),
        ):
            mend = self.first(candidates, start, several, allowed.part(part))
            if mend is not None:
                return [mend]
            if several:
                break
        return self.covering(several)

    def covering(self, several: Mapping[frozenset[int], Mend]) -> list[Mend]:
        """Of mends of some gradients, one for each, those of most first."""
        left = sorted(several.values(), key=lambda m: (-len(m.right), m.edit.cost))
        found: list[Mend] = []
        for mend in left:
            if not any(mend.right <= other.right for other in found):
                found.append(mend)
        return found

    # -- what is tried ----------------------------------------------------------------------

    def of_backward(self) -> Iterator[tuple[_Spot, Scope]]:
        played = self.played
        scopes = scopes_of(played.body, played.before, played.namespace)
        for at, scope in enumerate(scopes):
            own = {played.ctx_name, *played.ctx.values(played.ctx_name)}
            told = played.ctx.told(played.ctx_name)
            fed = {place for place, lines in self.feeding.items() if at in lines}
            if fed & self.wrong:
                spot = _Spot(at, played.body, whole=fed == self.wrong)
                yield spot, Scope(scope.values, scope.reach - own | told)

    def of_helpers(self) -> Iterator[tuple[_Spot, Scope]]:
        for node in self.text.helpers_of(self.text.backward):
            yield from self.of_function(node, forward=False)

    def of_forward(self) -> Iterator[tuple[_Spot, Scope]]:
        node = self.text.forward
        needed = needed_for(node)
        for spot, scope in self.of_function(node, forward=True):
            if any(_only(part, needed) for part in ast.walk(spot.body[spot.at])):
                yield replace(spot, needed=frozenset(needed)), scope

    def of_function(self, node: ast.FunctionDef, *, forward: bool) -> Iterator[tuple[_Spot, Scope]]:
        values = self.played.locals_of(node)
        if not values:
            return
        names = {a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
        for at, statement in enumerate(node.body):
            mine = frozenset(names | set(bound(statement)))
            yield (
                _Spot(at, node.body, node, forward),
                Scope({**self.played.namespace, **values}, mine & set(values)),
            )
            names |= set(bound(statement))

    def singles(self, spots: Any, aim: Aim) -> Iterator[_Candidate]:
        """The edits of several statements, the cheapest first; of equal ones, the later."""
        every: list[tuple[float, int, _Candidate]] = []
        for spot, scope in spots:
            statement = spot.body[spot.at]
            facts = facts_of(scope, aim)
            for cost, make in edits_of(statement, facts, aim, spot.takes):
                cost += spot.extra
                every.append((cost, -statement.lineno, _Candidate(cost, make, facts, spot)))
        every.sort(key=lambda one: one[:2])
        return (candidate for *_, candidate in every)

    def doubles(self, spots: Any, aim: Aim) -> Iterator[_Candidate]:
        for spot, scope in reversed(list(spots)):
            facts = facts_of(scope, aim)
            for make in pairs_of(spot.body[spot.at], facts):
                yield _Candidate(4.0, make, facts, spot)

    # -- trying -----------------------------------------------------------------------------

    def first(
        self,
        candidates: Iterator[_Candidate],
        start: frozenset[int],
        several: dict[frozenset[int], Mend],
        allowed: Allowance,
    ) -> Mend | None:
        assert self.truth is not None
        whole = frozenset(self.truth.gradients)
        back = runs_of(lambda: self.right(self.played, self.truth, None, None))
        there = runs_of(lambda: self.played.with_forward(self.text.forward))
        for candidate in candidates:
            run = there if candidate.spot.forward else back
            run += COMPILED if candidate.spot.forward else 0.0
            if not allowed.spend(run + NAMED):
                return None
            edit = candidate.make()
            right = self.right(self.played, self.truth, candidate.spot, edit)
            better = right > start and right not in several
            if better and self.holds(candidate.spot, edit, right):
                body = candidate.spot.body
                mend = Mend(edit, candidate.facts, body, right - start, right == whole)
                if right == whole:
                    return mend
                several[right] = mend
        return None

    def right(
        self, played: Played, truth: True_ | None, spot: _Spot | None, edit: Edit | None
    ) -> frozenset[int]:
        """Which gradients are right with an edit in."""
        assert truth is not None
        try:
            if spot is None or edit is None:
                return truth.right(played.whole(played.namespace))
            if spot.function is None:
                return truth.right(played.with_statement(spot.at, list(edit.statements)))
            node = _with(spot.function, spot.at, list(edit.statements))
            if spot.forward:
                return truth.right(played.with_forward(node) or [])
            made = {node.name: played.function(node, played.namespace)}
            return truth.right(played.whole({**played.namespace, **made}))
        except Exception:  # an edit that does not run is no mend, whatever it raises
            return frozenset()

    def holds(self, spot: _Spot, edit: Edit, right: frozenset[int]) -> bool:
        """Whether an edit makes the same gradients right on other values."""
        if self.others is None:
            self.others = list(self.made())
        return all(right <= self.right(played, truth, spot, edit) for played, truth in self.others)

    def made(self) -> Iterator[tuple[Played, True_]]:
        draws = [*self.values.draws[1:], *_same_ids(self.values.draws[0])]
        for inputs in draws:
            try:
                played = Played(self.text, inputs, self.values.wanted)
                truth = self.values.truth(played)
                played.ran()
            except Exception:  # it does not take these
                continue
            if truth is not None and all(map(_finite, truth.gradients.values())):
                yield played, truth


def _finite(value: torch.Tensor) -> bool:
    return bool(torch.isfinite(value).all())


def _same_ids(inputs: Sequence[Any]) -> Iterator[list[Any]]:
    """The same with other ids: all of one kind."""
    whole = [v for v in inputs if isinstance(v, torch.Tensor) and v.dtype == torch.int64]
    if any(v.numel() > 1 for v in whole):
        yield [
            torch.full_like(v, int(v.max())) if any(v is one for one in whole) else v
            for v in inputs
        ]


def _only(node: ast.AST, needed: Set[str]) -> bool:
    """Whether a plain statement changes something, and nothing that the outputs come of."""
    if not isinstance(node, ast.Assign | ast.AugAssign | ast.Expr):
        return False
    changes = {*bound(node), *written_in(node)}
    return bool(changes) and not changes & needed


def _with(function: ast.FunctionDef, at: int, new: list[ast.stmt]) -> ast.FunctionDef:
    found = ast.FunctionDef(**dict(ast.iter_fields(function)))
    found.body = [*function.body[:at], *new, *function.body[at + 1 :]]
    return ast.copy_location(found, function)
