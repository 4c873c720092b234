"""Edits about axes: sums, keepdim, transposes, expansions."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator

from gradninja.check.diagnosis.candidates import trees
from gradninja.check.diagnosis.candidates.costs import Cost
from gradninja.check.diagnosis.candidates.edits import Proposal, Proposals, is_axis, is_value
from gradninja.check.diagnosis.candidates.tree_edits import Place, same
from gradninja.check.diagnosis.facts import Facts
from gradninja.check.diagnosis.kinds import Kind

COUNTING = frozenset({"len", "range", "int", "float"})  # give numbers of what they take


def axes(place: Place, facts: Facts) -> Proposals:
    """Another axis where one is named, and other sets of axes."""
    node, parent = place.node, place.parent
    if not isinstance(node, ast.expr) or not is_axis(place):
        return
    value = trees.number_of(node)
    if value is not None and trees.number_of(parent) is None:
        order = (0, 1, -1, 2, -2, 3) if value >= 0 else (-1, -2, -3, 0, 1, 2)
        for other in order:
            if other != value:
                yield Proposal(Cost.AXIS, Kind.WRONG_AXIS, trees.number(other))
    of_reduction = any(
        isinstance(p, ast.Call)
        and isinstance(p.func, ast.Attribute)
        and facts.book.reduces(p.func.attr)
        for p in place.parents[-2:]
    )
    if of_reduction and (value is None or trees.number_of(parent) is None):
        if value is None and not isinstance(node, ast.Tuple | ast.List):
            return
        if isinstance(parent, ast.Tuple | ast.List):
            return
        for dims in _axis_sets(4):
            if not same(trees.axes(dims), node) and not (len(dims) == 1 and value is not None):
                yield Proposal(Cost.AXES, Kind.WRONG_AXIS, trees.axes(dims))


def _axis_sets(ndim: int) -> Iterator[tuple[int, ...]]:
    for size in range(1, ndim + 1):
        yield from itertools.combinations(range(ndim), size)


def keepdims(place: Place, facts: Facts) -> Proposals:
    """A reduction with keepdim, without it, and with axes where it had none."""
    node = place.node
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return
    if not facts.book.reduces(node.func.attr):
        return
    named = [k for k in node.keywords if k.arg in ("keepdim", "keepdims")]
    rest = [k for k in node.keywords if k.arg not in ("keepdim", "keepdims")]
    if named:
        yield Proposal(Cost.NO_KEEPDIM, Kind.LOST_KEEPDIM, ast.Call(node.func, node.args, rest))
    else:
        kept = [*node.keywords, ast.keyword("keepdim", ast.Constant(True))]
        yield Proposal(Cost.KEEPDIM, Kind.LOST_KEEPDIM, ast.Call(node.func, node.args, kept))
    if node.func.attr in ("sum", "mean", "amax", "amin"):
        has_axis = node.args or any(k.arg in ("dim", "axis") for k in rest)
        if has_axis:
            yield Proposal(Cost.ALL_AXES, Kind.WRONG_AXIS, ast.Call(node.func, [], []))
        else:
            owner = facts.tensor(node.func.value)
            for dims in _axis_sets(owner.ndim if owner is not None else 3):
                for keep in (False, True):
                    keywords = [ast.keyword("keepdim", ast.Constant(True))] if keep else []
                    yield Proposal(
                        Cost.AXES_KEPT if keep else Cost.AXES,
                        Kind.WRONG_AXIS,
                        ast.Call(node.func, [trees.axes(dims)], keywords),
                    )


def sums(place: Place, facts: Facts) -> Proposals:
    """A sum over axes that a variable was broadcast along."""
    node = place.node
    tensor = facts.tensor(node)
    if not is_value(place) or tensor is None or not tensor.is_floating_point() or not tensor.ndim:
        return
    assert isinstance(node, ast.expr)
    if isinstance(node, ast.UnaryOp):
        return  # the sum of what is behind the minus is the same
    behind_minus = len(place.path) == 2 and isinstance(place.parent, ast.UnaryOp)
    outer = 0.0 if len(place.path) == 1 or behind_minus else Cost.SUM_INSIDE
    for dims in _axis_sets(min(tensor.ndim, 4)):
        if all(tensor.shape[d] == 1 for d in dims):
            continue
        cost = Cost.SUM + outer + Cost.SUM_OF_MORE_AXES * (len(dims) - 1)
        if len(dims) == tensor.ndim:
            yield Proposal(cost, Kind.NO_SUM, trees.method(node, "sum"))
        yield Proposal(cost, Kind.NO_SUM, trees.method(node, "sum", trees.axes(dims)))
        kept = trees.method(node, "sum", trees.axes(dims), keepdim=ast.Constant(True))
        yield Proposal(cost + Cost.SUM_KEPT, Kind.NO_SUM, kept)


def transposes(place: Place, facts: Facts) -> Proposals:
    node = place.node
    if not is_value(place):
        return
    if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield Proposal(Cost.OPERAND_TRANSPOSED, Kind.TRANSPOSED, node.value)
        return
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        left, right = node.left, node.right
        for one, two in ((left, right), (right, left)):
            for flips in itertools.product((False, True), repeat=2):
                if (one is left and flips == (False, False)) or (one is left and sum(flips) == 1):
                    continue  # what is there, and what single operands' proposals give
                new = trees.binary(
                    _transposed(one, facts) if flips[0] else one,
                    node.op,
                    _transposed(two, facts) if flips[1] else two,
                )
                swapped = one is right and not any(flips)
                cost = Cost.FACTORS_SWAPPED if swapped else Cost.FACTORS_TRANSPOSED
                yield Proposal(cost, Kind.TRANSPOSED, new)
    tensor = facts.tensor(node)
    if tensor is not None and tensor.ndim >= 2 and isinstance(node, ast.expr):
        operand = isinstance(place.parent, ast.BinOp) and isinstance(place.parent.op, ast.MatMult)
        cost = Cost.OPERAND_TRANSPOSED if operand else Cost.TRANSPOSED
        yield Proposal(cost, Kind.TRANSPOSED, _transposed(node, facts))


def _transposed(node: ast.expr, facts: Facts) -> ast.expr:
    """`x.T`, or of `x.T` x; over the last two axes where there are more."""
    if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        return node.value
    called = node.func if isinstance(node, ast.Call) else None
    if isinstance(called, ast.Attribute) and called.attr in ("transpose", "t", "swapaxes"):
        return called.value
    tensor = facts.tensor(node)
    if tensor is not None and tensor.ndim > 2:
        return trees.method(node, "transpose", trees.number(-2), trees.number(-1))
    return ast.Attribute(node, "T", ast.Load())


def repairs(place: Place, facts: Facts) -> Proposals:
    """The variable's shape for a value that has another: expanded, an axis put back, reshaped."""
    node = place.node
    tensor = facts.tensor(node)
    if not is_value(place) or tensor is None or not isinstance(node, ast.expr):
        return
    if any(isinstance(p, ast.Call) and ast.unparse(p.func) in COUNTING for p in place.parents):
        return  # `len(dout)` is a number, whatever shape it is counted by
    whole = len(place.path) == 1
    if whole and tensor.shape != facts.expected.shape:
        like = trees.name(facts.variable)
        yield Proposal(Cost.EXPANDED, Kind.NO_BROADCAST, trees.method(node, "expand_as", like))
        if tensor.numel() == facts.expected.numel():
            yield Proposal(Cost.VIEWED, Kind.LOST_KEEPDIM, trees.method(node, "view_as", like))
            yield Proposal(Cost.RESHAPED, Kind.LOST_KEEPDIM, trees.method(node, "reshape_as", like))
        for axis in range(tensor.ndim + 1):
            new = trees.method(
                trees.method(node, "unsqueeze", trees.number(axis)), "expand_as", like
            )
            yield Proposal(Cost.AXIS_AND_EXPANDED, Kind.NO_BROADCAST, new)
    if tensor.ndim and tensor.is_floating_point():
        for axis in range(tensor.ndim + 1):
            new = trees.method(node, "unsqueeze", trees.number(axis))
            yield Proposal(Cost.AXIS_OF_ONE, Kind.LOST_KEEPDIM, new)
        if 1 in tensor.shape:
            for axis, size in enumerate(tensor.shape):
                if size == 1:
                    new = trees.method(node, "squeeze", trees.number(axis))
                    yield Proposal(Cost.AXIS_OF_ONE, Kind.LOST_KEEPDIM, new)
