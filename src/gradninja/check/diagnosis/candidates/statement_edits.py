"""Edits of whole statements: `=` and `+=`, scatters, contributions that are missing or too many."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from gradninja.check.diagnosis.candidates import trees
from gradninja.check.diagnosis.candidates.costs import Cost
from gradninja.check.diagnosis.candidates.edits import Proposal, Proposals
from gradninja.check.diagnosis.candidates.tree_edits import Place, shallow
from gradninja.check.diagnosis.contributions import Contribution
from gradninja.check.diagnosis.derived import derived_lines
from gradninja.check.diagnosis.facts import Facts
from gradninja.check.diagnosis.kinds import Kind
from gradninja.derive.statement import is_view

EXTREMES = ("max", "min", "amax", "amin", "median", "maximum", "minimum")


@dataclass(frozen=True, eq=False)
class Change:
    """One statement instead of another: `old` None puts `new` in, `new` None takes `old` out.

    A statement that is put in stands after `after`; before all of them where that is None.
    """

    old: ast.stmt | None
    new: ast.stmt | None
    after: ast.stmt | None = None


@dataclass(frozen=True, eq=False)
class Edit:
    """A mend: what changes, and the statements that write the gradient then."""

    cost: float
    kind: Kind
    changes: tuple[Change, ...]
    statements: tuple[ast.stmt, ...]
    was: ast.AST | None = None
    now: ast.AST | None = None
    contribution: Contribution | None = None
    also: Kind | None = None  # a second mistake, of two
    added: bool = False  # `contribution` is added to what the person's statements give
    before: tuple[ast.stmt, ...] = ()  # of `statements`, those for other gradients as well


def forms(statement: ast.stmt, facts: Facts, nested: bool, first: bool) -> Proposals:
    """Other statements with the same parts."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target, value = statement.targets[0], statement.value
        if isinstance(target, ast.Name):
            if not first:
                added = ast.AugAssign(target, ast.Add(), value)
                yield Proposal(Cost.ADDED, Kind.ASSIGN_FOR_ADD, added)
                yield from _scattered(target, value, facts)
            if is_view(value):
                clone = ast.Assign([target], trees.method(value, "clone"))
                yield Proposal(Cost.CLONED, Kind.MISSING_CLONE, clone)
        elif isinstance(target, ast.Subscript):
            kind = Kind.LOST_REPEATS if nested else Kind.ASSIGN_FOR_ADD
            yield Proposal(Cost.ADDED, kind, ast.AugAssign(target, ast.Add(), value))
            yield from _accumulated(target, value, facts)
            scaled = ast.AugAssign(target, ast.Mult(), value)
            yield Proposal(Cost.IN_PLACE_OPERATOR, Kind.WRONG_OPERATOR, scaled)
    elif isinstance(statement, ast.AugAssign):
        target, value = statement.target, statement.value
        if isinstance(target, ast.Subscript):
            if isinstance(statement.op, ast.Add):
                yield from _accumulated(target, value, facts)
            elif isinstance(statement.op, ast.Sub):
                yield from _accumulated(target, trees.negative(value), facts)
        for op in (ast.Add(), ast.Sub(), ast.Mult(), ast.Div()):
            if type(op) is not type(statement.op):
                sums = isinstance(op, ast.Add | ast.Sub) and isinstance(
                    statement.op, ast.Add | ast.Sub
                )
                yield Proposal(
                    Cost.ADDED if sums else Cost.IN_PLACE_OPERATOR,
                    Kind.SIGN if sums else Kind.WRONG_OPERATOR,
                    ast.AugAssign(target, op, value),
                )
        yield Proposal(Cost.ASSIGNED, Kind.WRONG_OPERATOR, ast.Assign([target], value))


def _scattered(target: ast.Name, value: ast.expr, facts: Facts) -> Proposals:
    """`d[ix] = v` for `d = v[ix]`: what was picked from places goes back to them."""
    if not (isinstance(value, ast.Subscript) and _is_index(facts, value.slice)):
        return
    there = ast.Subscript(ast.Name(target.id, ast.Load()), value.slice, ast.Store())
    yield Proposal(Cost.SCATTERED, Kind.WRONG_OPERATOR, ast.Assign([there], value.value))


def _accumulated(target: ast.Subscript, value: ast.expr, facts: Facts) -> Proposals:
    """`d[ix] += v` keeps one of several equal indices; `index_put_` with accumulate adds all."""
    index = target.slice
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    if not any(_is_index(facts, part) for part in parts):
        return
    owner = ast.Name(target.value.id, ast.Load()) if isinstance(target.value, ast.Name) else None
    if owner is None:
        return
    whole = ast.Tuple(list(parts), ast.Load())
    call = trees.method(owner, "index_put_", whole, value, accumulate=ast.Constant(True))
    yield Proposal(Cost.REPEATS_OF_AN_INDEX, Kind.LOST_REPEATS, ast.Expr(call))


def _is_index(facts: Facts, node: ast.expr) -> bool:
    found = facts.value(node)
    return isinstance(found, torch.Tensor) and found.dtype == torch.int64


def nested_forms(place: Place, facts: Facts) -> Proposals:
    """The same inside a loop's body."""
    if isinstance(place.node, ast.stmt):
        yield from forms(place.node, facts, nested=True, first=False)


def additions(facts: Facts, statements: Sequence[ast.stmt]) -> Iterator[Edit]:
    """Contributions that are missing, put in after the statements or before them."""
    mine = [c for c in facts.contributions if c.of == facts.variable]
    kind = Kind.SECOND_USE if len(mine) > 1 else Kind.MISSING_LINE
    writers = _naming(statements, facts.gradient)
    begun = bool(writers) and _binds(writers[0], facts.gradient)
    for contribution in mine:
        if not contribution.reads <= facts.later:
            continue
        # Added to what vanishes but for rounding the whole gradient is right, and explains nothing.
        if begun and (len(mine) > 1 or not _is_something(facts, writers[0])):
            yield _appended(facts, statements, contribution, kind)
        new = contribution.statements
        if statements and contribution.value is not None and is_view(contribution.value):
            own = trees.method(contribution.value, "clone")
            new = (trees.assign(facts.gradient, own),)
        changes = tuple(Change(None, s) for s in new)
        if not begun and facts.can_read(contribution):
            yield Edit(
                Cost.CONTRIBUTION_BEFORE,
                kind,
                changes,
                (*new, *statements),
                contribution=contribution,
            )
    if not begun:
        zeros = trees.method(trees.name("torch"), "zeros_like", trees.name(facts.variable))
        start = trees.assign(facts.gradient, zeros)
        yield Edit(Cost.ZEROS, Kind.MISSING_LINE, (Change(None, start),), (start, *statements))


def absences(facts: Facts, statements: Sequence[ast.stmt]) -> Iterator[Edit]:
    """A gradient that is used and that nothing gives: its derived lines, put in before."""
    reads = {n.id for s in statements for n in ast.walk(s) if isinstance(n, ast.Name)}
    missing = [n for n in facts.gradients if n in reads - facts.reach - {facts.gradient}]
    for name in missing:
        new = derived_lines(facts, facts.gradients[name])
        if new:
            yield Edit(
                Cost.ABSENT_GRADIENT,
                Kind.MISSING_LINE,
                tuple(Change(None, line) for line in new),
                (*new, *statements),
                contribution=next(c for c in facts.contributions if c.gradient == name),
            )


def _naming(statements: Sequence[ast.stmt], name: str) -> list[ast.stmt]:
    """The statements with a name in them; the others write locals that those are computed from."""
    return [
        s for s in statements if any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(s))
    ]


def _binds(statement: ast.stmt, gradient: str) -> bool:
    return isinstance(statement, ast.Assign) and any(
        isinstance(node, ast.Name) and node.id == gradient and isinstance(node.ctx, ast.Store)
        for target in statement.targets
        for node in ast.walk(target)
    )


def _is_something(facts: Facts, statement: ast.stmt) -> bool:
    found = facts.tensor(statement.value) if isinstance(statement, ast.Assign) else None
    return found is not None and bool(found.any())


def _appended(
    facts: Facts, statements: Sequence[ast.stmt], contribution: Contribution, kind: Kind
) -> Edit:
    new = (
        trees.add_to(facts.gradient, contribution.value)
        if contribution.value is not None
        else contribution.statements[-1]
    )
    first, *more = _naming(statements, facts.gradient)
    changes = [Change(None, new, after=statements[-1])]
    rest = list(statements)
    if isinstance(first, ast.Assign) and not more and is_view(first.value):
        # What is added in place must not reach the tensor that this is a view of.
        mended = shallow(first)
        mended.value = trees.method(first.value, "clone")
        rest[rest.index(first)] = mended
        changes.insert(0, Change(first, mended))
    return Edit(
        Cost.CONTRIBUTION,
        kind,
        tuple(changes),
        (*rest, new),
        contribution=contribution,
        added=True,
    )


def removals(statements: Sequence[ast.stmt]) -> Iterator[Edit]:
    """A contribution too many."""
    for index, statement in enumerate(statements):
        if len(statements) > 1:
            rest = (*statements[:index], *statements[index + 1 :])
            kind = Kind.EXTRA_CONTRIBUTION
            yield Edit(Cost.NO_CONTRIBUTION, kind, (Change(statement, None),), rest, was=statement)


def redirections(facts: Facts, statements: Sequence[ast.stmt]) -> Iterator[Edit]:
    """A statement that writes something else, and should write this gradient."""
    for statement in facts.astray:
        root = _written_name(statement)
        if root is None or root.id == facts.gradient:
            continue
        new = copy.deepcopy(statement)
        mine = _written_name(new)
        assert mine is not None
        mine.id = facts.gradient
        before = sum(s.lineno < statement.lineno for s in statements)
        rest = (*statements[:before], new, *statements[before:])
        change = Change(statement, new)
        yield Edit(Cost.REDIRECTED, Kind.WRONG_NAME, (change,), rest, was=root, now=mine)


def _written_name(statement: ast.stmt) -> ast.Name | None:
    """The `dX` of `dX = ...`, `dX[0] += ...` and `dX.view(-1).index_add_(...)`."""
    node: ast.AST | None = None
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        node = statement.targets[0]
    elif isinstance(statement, ast.AugAssign):
        node = statement.target
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        node = statement.value.func
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node if isinstance(node, ast.Name) else None


def rescalings(facts: Facts, statements: Sequence[ast.stmt]) -> Iterator[Edit]:
    """A count that what several statements give is still to be divided by: `dlogits /= n`."""
    if len(statements) < 2:
        return  # a single statement is scaled where it stands
    for scalar in facts.scalars:
        value = facts.value(scalar)
        if type(value) is int and value > 1:
            target = ast.Name(facts.gradient, ast.Store())
            new = ast.AugAssign(target, ast.Div(), scalar)
            change = Change(None, new, after=statements[-1])
            yield Edit(Cost.ALL_OVER_A_COUNT, Kind.MISSING_COUNT, (change,), (*statements, new))


def rewritings(facts: Facts, statements: Sequence[ast.stmt]) -> Iterator[Edit]:
    """One statement written as derive writes a contribution."""
    for contribution in facts.contributions:
        if contribution.of != facts.variable or not facts.can_read(contribution):
            continue
        extreme = facts.wrong_at_ties and any(
            rule.startswith(EXTREMES) for rule in contribution.rules
        )
        for index, statement in enumerate(statements):
            new = contribution.statements
            if index and contribution.value is not None:
                new = (trees.add_to(facts.gradient, contribution.value),)
            elif index:
                new = contribution.statements[-1:]
            elif len(statements) > 1 and contribution.value is not None:
                value = contribution.value  # what follows is added in place
                own = trees.method(value, "clone") if is_view(value) else value
                new = (trees.assign(facts.gradient, own),)
            rest = (*statements[:index], *new, *statements[index + 1 :])
            changes = (
                Change(statement, new[0]),
                *(Change(None, s, after=statement) for s in new[1:]),
            )
            yield Edit(
                Cost.TIES if extreme else Cost.REWRITTEN,
                Kind.TIES if extreme else Kind.UNKNOWN,
                changes,
                rest,
                was=statement,
                contribution=contribution,
            )
