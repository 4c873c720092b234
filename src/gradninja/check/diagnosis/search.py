"""The search: edits in order of cost, each tried on one draw, what fits there on all of them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Protocol

from gradninja.check.diagnosis.candidates import (
    axis_edits,
    edits,
    factor_edits,
    own,
    picks,
    statement_edits,
)
from gradninja.check.diagnosis.candidates.costs import Cost
from gradninja.check.diagnosis.candidates.edits import Proposals
from gradninja.check.diagnosis.candidates.statement_edits import Change, Edit
from gradninja.check.diagnosis.candidates.tree_edits import Place, places, replaced
from gradninja.check.diagnosis.facts import Facts
from gradninja.check.diagnosis.kinds import Kind
from gradninja.check.diagnosis.work import NAMED, Allowance

Family = Callable[[Place, Facts], Proposals]

FAMILIES: tuple[Family, ...] = (
    statement_edits.nested_forms,
    edits.name_swaps,
    edits.constants,
    edits.counts,
    edits.signs,
    edits.operators,
    edits.parentheses,
    edits.calls,
    edits.shifts,
    edits.conjugates,
    picks.unread,
    picks.ends,
    picks.put_back,
    picks.running,
    axis_edits.axes,
    axis_edits.keepdims,
    axis_edits.sums,
    axis_edits.transposes,
    axis_edits.repairs,
    factor_edits.drops,
    factor_edits.repeats,
    factor_edits.scales,
    factor_edits.factors,
    factor_edits.products,
    factor_edits.terms,
    factor_edits.carried,
    factor_edits.powers,
    factor_edits.gates,
    factor_edits.links,
    factor_edits.pieces,
)
# What two mistakes on one line are made of, as far as they are looked for.
PAIRED: tuple[Family, ...] = (
    edits.name_swaps,
    edits.signs,
    edits.constants,
    axis_edits.keepdims,
    axis_edits.axes,
    axis_edits.sums,
    axis_edits.transposes,
    factor_edits.links,
)
NAMES: tuple[Family, ...] = (edits.name_swaps,)
FIRST_OF_PAIR = 150
NAMING = 0.3  # of the work


class Trial(Protocol):
    """Runs an edit's statements in the place of the person's, and judges what comes out."""

    @property
    def draws(self) -> int: ...

    def runs(self, draw: int) -> float: ...

    def fits(self, edit: Edit, draw: int) -> bool: ...


Maker = Callable[[], Edit]
Costed = tuple[float, Maker]


def single(
    trial: Trial, facts: Facts, written: Sequence[ast.stmt], allowed: Allowance
) -> Edit | None:
    """The cheapest edit that makes the gradient right on all draws, or None.

    Two names that are both wrong come before the rarer single edits.

    Args:
        written: the person's statements, those that write the gradient and those that it is
            computed from.
        allowed: what may be tried.
    """
    found = sorted(_bounded(single_edits(facts, written), allowed), key=lambda pair: pair[0])
    likely = sum(cost <= Cost.LIKELIER_THAN_TWO for cost, _ in found)
    two_names = double_edits(facts, written, NAMES, Cost.MOST_OF_EACH_OF_TWO_NAMES)
    candidates = chain((make for _, make in found[:likely]), two_names)
    return _first(trial, chain(candidates, (make for _, make in found[likely:])), allowed)


def double(
    trial: Trial, facts: Facts, written: Sequence[ast.stmt], allowed: Allowance, pairs: bool
) -> Edit | None:
    """Two edits of one statement, where `pairs`, or else one statement as derive writes it."""
    # The latter is tried in a moment, so it does not wait for the long search for two mistakes.
    rewritings = chain(own.rewritings(facts, written), statement_edits.rewritings(facts, written))
    derived = _first(trial, map(_ready, rewritings), allowed)
    both = double_edits(facts, written, PAIRED, Cost.MOST_OF_EACH_OF_TWO) if pairs else ()
    return _first(trial, both, allowed) or derived


def _bounded(found: Iterable[Costed], allowed: Allowance) -> Iterator[Costed]:
    """As many as can be named for a part of what is allowed: most of it is for trying them."""
    naming = allowed.part(NAMING * allowed.left)
    for pair in found:
        if not naming.spend(NAMED):
            return
        yield pair


def _first(trial: Trial, candidates: Iterable[Maker], allowed: Allowance) -> Edit | None:
    for make in candidates:
        edit = make()
        for draw in range(trial.draws):
            if not allowed.spend(trial.runs(draw)):
                return None
            if not trial.fits(edit, draw):
                break
        else:
            return edit
    return None


def single_edits(facts: Facts, written: Sequence[ast.stmt]) -> Iterator[Costed]:
    """All of them, with their costs.

    Of edits that mend as well, those come first that are of a local that no part of derive's
    equals, then those of later lines: they change less. A local that is right stays as it is.
    """
    for edit in _whole(facts, written):
        yield edit.cost, _ready(edit)
    proven = own.proven(facts, written)
    opposed = own.opposed(facts, written) - proven
    locals_first = sorted(
        range(len(written)), key=lambda i: (own.target(facts, written[i]) is None, -i)
    )
    for index in locals_first:
        mine = own.target(facts, written[index])
        extra = Cost.PROVEN if mine in proven else Cost.OPPOSED if mine in opposed else 0.0
        for cost, make in inner_edits(facts, written, index, FAMILIES):
            yield cost + extra, make


def _ready(edit: Edit) -> Maker:
    return lambda: edit


def _whole(facts: Facts, written: Sequence[ast.stmt]) -> Iterator[Edit]:
    yield from statement_edits.additions(facts, written)
    yield from statement_edits.removals(written)
    yield from statement_edits.redirections(facts, written)
    yield from statement_edits.absences(facts, written)
    yield from own.restorations(facts, written)
    yield from statement_edits.rescalings(facts, written)
    for edit in statement_edits.rewritings(facts, written):
        if edit.kind is not Kind.UNKNOWN:
            yield edit
    for index, statement in reversed(list(enumerate(written))):
        for proposal in statement_edits.forms(statement, facts, nested=False, first=index == 0):
            assert isinstance(proposal.new, ast.stmt)
            yield Edit(
                proposal.cost,
                proposal.kind,
                (Change(statement, proposal.new),),
                (*written[:index], proposal.new, *written[index + 1 :]),
                was=statement,
                now=proposal.new,
            )


def inner_edits(
    facts: Facts,
    written: Sequence[ast.stmt],
    index: int,
    families: Sequence[Family] = FAMILIES,
    takes: Callable[[Place], bool] = lambda place: True,
) -> Iterator[Costed]:
    """The edits of one statement's parts, with their costs. `takes`: whether a place is edited."""
    statement = written[index]
    sound = own.sound(facts, statement)
    for place in places(statement):
        if not takes(place):
            continue
        extra = Cost.PROVEN if any(id(parent) in sound for parent in place.parents) else 0.0
        if any(isinstance(parent, ast.While) for parent in place.parents):
            continue  # an edit there could make it endless
        for family in families:
            for proposal in family(place, facts):
                make = partial(
                    _edited, written, index, place, proposal.new, proposal.cost, proposal.kind
                )
                yield proposal.cost + extra, make


def _edited(
    written: Sequence[ast.stmt],
    index: int,
    place: Place,
    new: ast.AST,
    cost: float,
    kind: Kind,
) -> Edit:
    old = written[index]
    statement = replaced(old, place, new)
    return Edit(
        cost,
        kind,
        (Change(old, statement),),
        (*written[:index], statement, *written[index + 1 :]),
        was=place.node,
        now=new,
    )


def double_edits(
    facts: Facts, written: Sequence[ast.stmt], families: Sequence[Family], most: float
) -> Iterator[Maker]:
    """Two edits of one statement, each of at most this cost, the cheapest first ones first."""
    for index in range(len(written)):
        firsts = sorted(inner_edits(facts, written, index, families), key=lambda pair: pair[0])
        for cost, make in [f for f in firsts if f[0] <= most][:FIRST_OF_PAIR]:
            first = make()
            seconds = inner_edits(facts, first.statements, index, families)
            for second_cost, make_second in sorted(seconds, key=lambda pair: pair[0]):
                if cost <= second_cost <= most:
                    yield partial(_joined, first, make_second, written[index], cost)


def _joined(first: Edit, make: Maker, old: ast.stmt, cost: float) -> Edit:
    second = make()
    return replace(
        second,
        cost=cost + second.cost,
        changes=(Change(old, second.changes[0].new),),
        was=first.was,
        now=first.now,
        kind=first.kind,
        also=second.kind,
    )
