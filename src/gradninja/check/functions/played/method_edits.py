"""The edits of a Function's methods: each statement's, with what its names are there."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from gradninja.check.diagnosis.candidates import statement_edits, trees
from gradninja.check.diagnosis.candidates.costs import Cost
from gradninja.check.diagnosis.candidates.edits import Proposal, is_value
from gradninja.check.diagnosis.candidates.statement_edits import Change, Edit
from gradninja.check.diagnosis.candidates.tree_edits import Place, places, replaced, shallow
from gradninja.check.diagnosis.facts import Facts
from gradninja.check.diagnosis.kinds import Kind
from gradninja.check.diagnosis.search import PAIRED, double_edits, inner_edits
from gradninja.check.functions.held import elements, names_in, returns_in
from gradninja.check.given.plan import bound
from gradninja.check.given.plan import written as written_in
from gradninja.lines import Program

LAID = frozenset("unsqueeze squeeze view reshape t transpose conj to type_as expand_as".split())
MOST_PIECES = 24


@dataclass(frozen=True)
class Scope:
    """What names are where a statement stands."""

    values: Mapping[str, Any]
    reach: frozenset[str]


@dataclass(frozen=True)
class Aim:
    """The gradient that edits are looked for: the input, its true gradient, the forward read."""

    variable: str
    expected: torch.Tensor
    program: Program
    gradients: Mapping[str, str]
    pieces: Sequence[ast.expr] = ()
    unread: frozenset[str] = frozenset()
    tuples: Mapping[str, int] = field(default_factory=dict)  # how often each stands in the text


def facts_of(scope: Scope, aim: Aim) -> Facts:
    """What edits may draw on where a statement stands."""
    return Facts(
        program=aim.program,
        variable=aim.variable,
        gradient=f"d{aim.variable}",
        scope=scope.values,
        gradients=aim.gradients,
        expected=aim.expected,
        contributions=(),
        reach=scope.reach,
        later=scope.reach,
        pieces=[piece for piece in aim.pieces if _read(piece) <= scope.reach],
        unread=aim.unread & scope.reach,
    )


def _read(piece: ast.expr) -> set[str]:
    return names_in(piece) - {"torch", "F"}


def pieces_of(functions: Iterable[ast.FunctionDef]) -> list[ast.expr]:
    """The parts of values that methods have: what is picked out of a tensor, or laid otherwise."""
    found: dict[str, ast.expr] = {}
    for node in (n for function in functions for n in ast.walk(function)):
        text = ""
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            text = ast.unparse(node) if isinstance(node.value, ast.Name) else ""
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            plain = isinstance(node.func.value, ast.Name) and node.func.attr in LAID
            text = ast.unparse(node) if plain else ""
        if text and len(found) < MOST_PIECES:
            found.setdefault(text, trees.expression(text))
    return list(found.values())


def edits_of(
    statement: ast.stmt, facts: Facts, aim: Aim, takes: Callable[[Place], bool]
) -> Iterator[tuple[float, Callable[[], Edit]]]:
    """Every edit of a statement, with its cost. `takes`: whether a place is edited."""
    for proposal in _whole(statement, facts, aim):
        yield proposal.cost, partial(_edit, statement, proposal)
    yield from inner_edits(facts, [statement], 0, takes=takes)


def pairs_of(statement: ast.stmt, facts: Facts) -> Iterator[Callable[[], Edit]]:
    """Two edits of a statement, the likeliest."""
    return double_edits(facts, [statement], PAIRED, Cost.MOST_OF_EACH_OF_TWO)


def _edit(old: ast.stmt, proposal: Proposal) -> Edit:
    assert isinstance(proposal.new, ast.stmt)
    change = Change(old, proposal.new)
    return Edit(proposal.cost, proposal.kind, (change,), (proposal.new,), was=old, now=proposal.new)


def _whole(statement: ast.stmt, facts: Facts, aim: Aim) -> Iterator[Proposal]:
    yield from statement_edits.forms(statement, facts, nested=False, first=False)
    for place in places(statement):
        number = is_value(place) and isinstance(place.node, ast.Name)
        if number and type(facts.value(place.node)) in (int, float):
            assert isinstance(place.node, ast.Name)
            for scalar in facts.scalars:
                new = replaced(statement, place, trees.binary(place.node, ast.Div(), scalar))
                yield Proposal(Cost.OVER_A_COUNT, Kind.MISSING_COUNT, new)
    for node in [n for n in ast.walk(statement) if isinstance(n, ast.stmt)]:
        for proposal in (*_order(node, aim), *_exchanged(node), *_ends_turned(node)):
            if node is statement:
                yield proposal
            else:
                place = next(p for p in places(statement) if p.node is node)
                yield replace(proposal, new=replaced(statement, place, proposal.new))


def tuples_of(tree: ast.AST) -> Mapping[str, int]:
    """How often each tuple stands in a text."""
    return Counter(ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Tuple))


def _order(node: ast.stmt, aim: Aim) -> Iterator[Proposal]:
    """What is returned or unpacked, in another order; likelier in one that the text has."""
    field = "value" if isinstance(node, ast.Return) else None
    listed = node.value if isinstance(node, ast.Return) else None
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
        field, listed = "targets", node.targets[0]
    if field is None or not isinstance(listed, ast.Tuple):
        return
    for i in range(len(listed.elts)):
        for j in range(i):
            one, two = listed.elts[i], listed.elts[j]
            if ast.dump(one) == ast.dump(two):
                continue
            several = list(listed.elts)
            several[i], several[j] = two, one
            turned = shallow(listed)
            turned.elts = several
            new = shallow(node)
            setattr(new, field, [turned] if field == "targets" else turned)
            nothing = sum(isinstance(e, ast.Constant) for e in (one, two))
            known = [aim.tuples.get(ast.unparse(one), 0) for one in (turned, listed)]
            cost = Cost.ORDER + 0.5 * nothing - 0.1 * (known[0] > 0) + 0.1 * (known[1] > 1)
            yield Proposal(cost, Kind.SWAPPED, new)


def _exchanged(node: ast.stmt) -> Iterator[Proposal]:
    """Two names of a line in each other's place."""
    if not isinstance(node, ast.Assign | ast.AugAssign | ast.Return | ast.Expr):
        return
    if node.value is None:
        return
    names = sorted(
        {
            n.id
            for n in ast.walk(node.value)
            if isinstance(n, ast.Name) and n.id not in {"torch", "F", "math", "np"}
        }
    )
    for i in range(len(names)):
        for j in range(i):
            new = shallow(node)
            new.value = _Turned(names[i], names[j]).visit(copy.deepcopy(node.value))
            yield Proposal(Cost.EXCHANGED, Kind.SWAPPED, new)


def _ends_turned(node: ast.stmt) -> Iterator[Proposal]:
    """The outer factors of a matrix product in each other's place: `V @ g @ V.T`."""
    if not isinstance(node, ast.Assign | ast.AugAssign | ast.Return):
        return
    outer, value = node.value, node.value
    inner = outer.left if isinstance(outer, ast.BinOp) else None
    if value is None or not (_is_product(outer) and _is_product(inner)):
        return
    assert isinstance(outer, ast.BinOp)
    assert isinstance(inner, ast.BinOp)
    new = shallow(node)
    new.value = trees.binary(
        trees.binary(outer.right, ast.MatMult(), inner.right), ast.MatMult(), inner.left
    )
    yield Proposal(Cost.FACTORS_SWAPPED, Kind.TRANSPOSED, new)


def _is_product(node: ast.AST | None) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)


class _Turned(ast.NodeTransformer):
    def __init__(self, one: str, two: str) -> None:
        self.turned = {one: two, two: one}

    def visit_Name(self, node: ast.Name) -> ast.AST:
        other = self.turned.get(node.id)
        return node if other is None else ast.copy_location(trees.name(other), node)


# -- where they are looked for ----------------------------------------------------------------


def scopes_of(
    body: Sequence[ast.stmt], before: Sequence[Mapping[str, Any]], around: Mapping[str, Any]
) -> list[Scope]:
    """Of each statement of a backward that ran; of a loop, with what its body binds."""
    found = []
    for at in range(min(len(body), len(before))):
        values = dict(before[at])
        compound = isinstance(body[at], ast.For | ast.While | ast.If | ast.With)
        if compound and at + 1 < len(before):
            values = {**values, **before[at + 1]}
        mine = frozenset(n for n in values if n not in around)
        found.append(Scope(values, mine))
    return found


def needed_for(function: ast.FunctionDef) -> set[str]:
    """The names that what is returned comes of, as far as names tell."""
    plain = [n for n in ast.walk(function) if isinstance(n, ast.stmt)]
    heads = [n for n in plain if isinstance(n, ast.If | ast.For | ast.While)]
    found = {n for s in plain if isinstance(s, ast.Return) for n in names_in(s)}
    for head in heads:
        found |= names_in(head.iter if isinstance(head, ast.For) else head.test)
    grew = True
    while grew:
        grew = False
        for statement in plain:
            if not isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Expr):
                continue
            changes = {*bound(statement), *written_in(statement)}
            if changes & found and not names_in(statement) <= found:
                found |= names_in(statement)
                grew = True
    return found


def feeding(body: Sequence[ast.stmt], at: int, inputs: int) -> frozenset[int]:
    """The places of the statements of a backward that an input's gradient comes of.

    As far as names tell; what a name that is written into was made of counts as well, since it
    may be a part of that.
    """
    needed: set[str] = set()
    for end in (end for statement in body for end in returns_in(statement)):
        parts = elements(end.value) if end.value is not None else None
        known = parts is not None and len(parts) >= inputs
        needed |= names_in(parts[at] if known and parts is not None else end)
    made = {name: names_in(s) for s in body if isinstance(s, ast.Assign) for name in bound(s)}
    found: set[int] = set()
    grew = True
    while grew:
        grew = False
        for place, statement in enumerate(body):
            changes = {*bound(statement), *written_in(statement)}
            origins = set().union(*(made.get(name, set()) for name in written_in(statement)))
            ends = any(returns_in(statement))
            if place not in found and (ends or (changes | origins) & needed):
                found.add(place)
                needed |= set() if isinstance(statement, ast.Return) else names_in(statement)
                grew = True
    return frozenset(found)
