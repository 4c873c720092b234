"""Edits that put in, take out or bend factors and terms."""

from __future__ import annotations

import ast
import copy
import math
from collections.abc import Iterator
from itertools import zip_longest

import torch

from gradninja.check.diagnosis.candidates import trees
from gradninja.check.diagnosis.candidates.costs import Cost
from gradninja.check.diagnosis.candidates.edits import Proposal, Proposals, is_value
from gradninja.check.diagnosis.candidates.tree_edits import Place, same
from gradninja.check.diagnosis.facts import Facts
from gradninja.check.diagnosis.kinds import Kind

LARGEST = 1_000_000  # elements of a product that is tried
# Simple functions of a value that are factors of a gradient.
FUNCTIONS = (
    "1 - v**2",
    "v * (1 - v)",
    "1 - v",
    "v**2",
    "v**-2",
    "v.exp()",
    "v.cos()",
    "(v > 0)",
    "v.sign()",
)


def drops(place: Place, facts: Facts) -> Proposals:
    """A factor, a term or a power that is too much."""
    node = place.node
    if not isinstance(node, ast.BinOp):
        return
    if isinstance(node.op, ast.Mult | ast.Div):
        # Taking a number out comes before putting another in front.
        yield Proposal(_dropping(node.right), Kind.EXTRA_FACTOR, node.left)
        if isinstance(node.op, ast.Mult):
            yield Proposal(_dropping(node.left), Kind.EXTRA_FACTOR, node.right)
    elif isinstance(node.op, ast.Add | ast.Sub):
        yield Proposal(Cost.NO_TERM, Kind.EXTRA_TERM, node.left)
        right = node.right if isinstance(node.op, ast.Add) else trees.negative(node.right)
        yield Proposal(Cost.NO_TERM, Kind.EXTRA_TERM, right)
    elif isinstance(node.op, ast.Pow):
        yield Proposal(Cost.NO_POWER, Kind.WRONG_CONSTANT, node.left)
    elif isinstance(node.op, ast.MatMult | ast.BitAnd | ast.BitOr):
        yield Proposal(Cost.NO_PRODUCT, Kind.EXTRA_FACTOR, node.left)
        yield Proposal(Cost.NO_PRODUCT, Kind.EXTRA_FACTOR, node.right)


def _dropping(factor: ast.expr) -> float:
    return Cost.NO_FACTOR if trees.number_of(factor) is None else Cost.NO_NUMBER


def scales(place: Place, facts: Facts) -> Proposals:
    """A number in front: 1/n, 2, n/(n-1), the forward's own constants."""
    node = place.node
    if not _may_scale(place, facts):
        return
    assert isinstance(node, ast.expr)
    depth = 0.0 if len(place.path) == 1 else Cost.SCALED_INSIDE
    for value in facts.literals:
        if value not in (0, 1, -1):
            new = trees.times(trees.number(value), node)
            yield Proposal(Cost.TIMES_A_LITERAL + depth, Kind.MISSING_FACTOR, new)
            new = trees.binary(node, ast.Div(), trees.number(value))
            yield Proposal(Cost.OVER_A_LITERAL + depth, Kind.MISSING_FACTOR, new)
    for scalar in facts.scalars:
        if type(facts.value(scalar)) not in (int, float):
            continue
        over = trees.binary(node, ast.Div(), scalar)
        yield Proposal(Cost.OVER_A_COUNT + depth, Kind.MISSING_COUNT, over)
        times = trees.binary(node, ast.Mult(), scalar)
        yield Proposal(Cost.TIMES_A_COUNT + depth, Kind.MISSING_FACTOR, times)
        less = trees.binary(scalar, ast.Sub(), trees.number(1))
        if type(facts.value(scalar)) is int and isinstance(scalar, ast.Name | ast.Subscript):
            ratio = trees.binary(scalar, ast.Div(), less)
            new = trees.binary(node, ast.Mult(), ratio)
            yield Proposal(Cost.BESSEL + depth, Kind.BESSEL, new)
            ratio = trees.binary(less, ast.Div(), scalar)
            new = trees.binary(node, ast.Mult(), ratio)
            yield Proposal(Cost.BESSEL + depth, Kind.BESSEL, new)


def _may_scale(place: Place, facts: Facts) -> bool:
    """Not twice for one product: a number in front of a factor is one in front of the product."""
    value = facts.value(place.node)
    if not is_value(place) or not (facts.is_float(place.node) or type(value) in (int, float)):
        return False
    parent = place.parent
    if type(value) in (int, float) and not isinstance(parent, ast.stmt):
        return False
    product = isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Mult | ast.Div)
    return not (product or isinstance(parent, ast.Attribute | ast.UnaryOp))


def repeats(place: Place, facts: Facts) -> Proposals:
    """A term that stands for one of several equal contributions, and should count for them all."""
    node, sums = place.node, place.parents[1:]
    if not (
        isinstance(node, ast.expr) and isinstance(place.parents[0], ast.Assign | ast.AugAssign)
    ):
        return
    if place.path[0][0] != "value" or not all(_is_sum(parent) for parent in sums):
        return
    value = facts.tensor(node)
    equal = [c.line for c, amount in facts.amounts if _equal(value, amount)]
    often = max(map(equal.count, equal), default=0)
    if often > 1:
        new = trees.times(trees.number(often), node)
        yield Proposal(Cost.TIMES_ITS_REPEATS, Kind.MISSING_FACTOR, new)


def _is_sum(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub)


def _equal(one: torch.Tensor | None, other: object) -> bool:
    if one is None or not isinstance(other, torch.Tensor) or one.dtype != other.dtype:
        return False
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-9, atol=0.0)


def factors(place: Place, facts: Facts) -> Proposals:
    """A tensor of the forward, or its gradient, as a factor or divisor."""
    node = place.node
    if not is_value(place) or not facts.is_float(node):
        return
    assert isinstance(node, ast.expr)
    tensor = facts.tensor(node)
    assert tensor is not None
    for name in facts.tensors:
        other = facts.scope[name]
        if not _broadcast(tensor, other):
            for v in _laid_over(name, other, tensor) if name in facts.unread else ():
                yield Proposal(Cost.FACTOR, Kind.MISSING_FACTOR, trees.times(v, node))
            continue
        far = 0.0 if name in facts.relevant else Cost.FAR_FACTOR
        if name in facts.unread:
            far = -Cost.FOR_NOTHING
        if len(place.path) > 1:
            far += Cost.FACTOR_INSIDE
        v = trees.name(name)
        comes_next = name in facts.gradients and name in facts.relevant
        cost = Cost.COTANGENT if comes_next else Cost.FACTOR
        yield Proposal(cost + far, Kind.MISSING_FACTOR, trees.times(v, node))
        if other.is_floating_point():
            over = trees.binary(node, ast.Div(), v)
            yield Proposal(Cost.DIVISOR + far, Kind.MISSING_FACTOR, over)
            for power in (2, -2, 0.5, -0.5):
                new = trees.times(trees.binary(v, ast.Pow(), trees.number(power)), node)
                yield Proposal(Cost.FACTOR_POWER + far, Kind.MISSING_FACTOR, new)
            if len(place.path) <= 2 and name not in facts.gradients:
                for text in FUNCTIONS:
                    new = trees.times(put_in(trees.expression(text), "v", v), node)
                    yield Proposal(Cost.FACTOR_FUNCTION + far, Kind.MISSING_FACTOR, new)


def _laid_over(name: str, value: torch.Tensor, over: torch.Tensor) -> Iterator[ast.expr]:
    """A value with as many axes of length 1 behind its own as make it line up: `g[:, None]`."""
    for behind in range(1, over.ndim - value.ndim + 1):
        if _broadcast(over, value[(..., *[None] * behind)]):
            own = ":" if value.ndim == 1 else "..."
            yield trees.expression(f"{name}[{', '.join([own, *['None'] * behind])}]")


def pieces(place: Place, facts: Facts) -> Proposals:
    """A part of a value, as the text has it elsewhere: `a[:, t]`, `b.unsqueeze(1)`."""
    node = place.node
    if not facts.pieces or not is_value(place) or not facts.is_float(node):
        return
    assert isinstance(node, ast.expr)
    tensor = facts.tensor(node)
    assert tensor is not None
    for piece in facts.pieces:
        other = facts.tensor(piece)
        if other is None or not _broadcast(tensor, other) or same(piece, node):
            continue
        if isinstance(node, ast.Subscript) and other.shape == tensor.shape:
            yield Proposal(Cost.PIECE, Kind.WRONG_NAME, piece)
        if len(place.path) <= 3:
            idle = any(isinstance(n, ast.Name) and n.id in facts.unread for n in ast.walk(piece))
            cost = Cost.FACTOR - Cost.FOR_NOTHING * idle
            yield Proposal(cost, Kind.MISSING_FACTOR, trees.times(piece, node))
            yield Proposal(Cost.TERM, Kind.MISSING_TERM, trees.binary(node, ast.Add(), piece))
            yield Proposal(Cost.TERM, Kind.MISSING_TERM, trees.binary(node, ast.Sub(), piece))


def _broadcast(one: torch.Tensor, other: torch.Tensor) -> bool:
    if other.dtype == torch.int64:
        return False
    pairs = list(zip_longest(reversed(one.shape), reversed(other.shape), fillvalue=1))
    size = math.prod(max(pair) for pair in pairs)
    return size <= LARGEST and all(a == b or 1 in (a, b) for a, b in pairs)


def products(place: Place, facts: Facts) -> Proposals:
    """A matrix that should be multiplied by."""
    node = place.node
    tensor = facts.tensor(node)
    if not is_value(place) or tensor is None or tensor.ndim < 2 or not facts.is_float(node):
        return
    assert isinstance(node, ast.expr)
    for name in facts.tensors:
        other = facts.scope[name]
        if other.ndim < 2 or not other.is_floating_point():
            continue
        far = 0.0 if name in facts.relevant else Cost.FAR_FACTOR
        for v in (trees.name(name), ast.Attribute(trees.name(name), "T", ast.Load())):
            if isinstance(v, ast.Attribute) and other.ndim > 2:
                continue
            shape = other.shape if isinstance(v, ast.Name) else tuple(reversed(other.shape))
            if tensor.shape[-1] == shape[-2]:
                new = trees.binary(node, ast.MatMult(), v)
                yield Proposal(Cost.MATRIX + far, Kind.MISSING_FACTOR, new)
            if shape[-1] == tensor.shape[-2]:
                new = trees.binary(v, ast.MatMult(), node)
                yield Proposal(Cost.MATRIX + far, Kind.MISSING_FACTOR, new)


def terms(place: Place, facts: Facts) -> Proposals:
    """A term that is missing: another tensor, or `1 - x` for `x`."""
    node = place.node
    if not is_value(place) or not facts.is_float(node):
        return
    assert isinstance(node, ast.expr)
    tensor = facts.tensor(node)
    assert tensor is not None
    for value in facts.literals:
        if value > 0:
            number = trees.number(value)
            yield Proposal(
                Cost.NUMBER_ADDED, Kind.MISSING_TERM, trees.binary(number, ast.Sub(), node)
            )
            yield Proposal(
                Cost.NUMBER_ADDED, Kind.MISSING_TERM, trees.binary(node, ast.Add(), number)
            )
            new = trees.binary(node, ast.Sub(), number)
            yield Proposal(Cost.NUMBER_TAKEN_OFF, Kind.MISSING_TERM, new)
    for scalar in facts.scalars:
        if type(facts.value(scalar)) is float:
            added = trees.binary(node, ast.Add(), scalar)
            yield Proposal(Cost.SETTING_ADDED, Kind.MISSING_TERM, added)
            added = trees.binary(node, ast.Sub(), scalar)
            yield Proposal(Cost.SETTING_ADDED, Kind.MISSING_TERM, added)
    for name in facts.tensors:
        if not _broadcast(tensor, facts.scope[name]):
            continue
        far = 0.0 if name in facts.relevant else Cost.FAR_TERM
        far = -Cost.FOR_NOTHING if name in facts.unread else far
        v = trees.name(name)
        yield Proposal(Cost.TERM + far, Kind.MISSING_TERM, trees.binary(node, ast.Add(), v))
        yield Proposal(Cost.TERM + far, Kind.MISSING_TERM, trees.binary(node, ast.Sub(), v))
        new = trees.binary(v, ast.Sub(), node)
        yield Proposal(Cost.TERM_TAKEN_FROM + far, Kind.MISSING_TERM, new)


def carried(place: Place, facts: Facts) -> Proposals:
    """What a loop's turn leaves for the next and none takes: `dh = dy[t] + dh_next`."""
    node, loop = place.node, place.parents[0]
    if not (isinstance(loop, ast.For) and is_value(place) and place.field == "value"):
        return
    if not isinstance(place.parent, ast.Assign | ast.AugAssign) or not facts.is_float(node):
        return
    assert isinstance(node, ast.expr)
    names = [n for n in ast.walk(loop) if isinstance(n, ast.Name)]
    read = {n.id for n in names if isinstance(n.ctx, ast.Load)}
    tensor = facts.tensor(node)
    for name in sorted({n.id for n in names if isinstance(n.ctx, ast.Store)} - read):
        other = facts.tensor(trees.name(name))
        if other is not None and tensor is not None and other.shape == tensor.shape:
            new = trees.binary(node, ast.Add(), trees.name(name))
            yield Proposal(Cost.CARRIED, Kind.MISSING_TERM, new)


def powers(place: Place, facts: Facts) -> Proposals:
    """A power or an elementwise function that is missing."""
    node = place.node
    if not is_value(place) or not facts.is_float(node):
        return
    assert isinstance(node, ast.expr)
    one = trees.binary(trees.number(1), ast.Div(), node)
    yield Proposal(Cost.RECIPROCAL, Kind.RECIPROCAL, one)
    if _is_gated(facts.tensor(node)):
        yield Proposal(Cost.GATE, Kind.WRONG_OPERATOR, trees.positive(node))
    for power in dict.fromkeys((2, -2, 3, 0.5, -0.5, *facts.literals)):
        if power not in (0, 1, -1):
            new = trees.binary(node, ast.Pow(), trees.number(power))
            yield Proposal(Cost.POWER, Kind.WRONG_CONSTANT, new)
    for function in ("exp", "log", "sqrt", "rsqrt", "abs", "sign", "tanh", "sigmoid", "square"):
        yield Proposal(Cost.FUNCTION_OF_IT, Kind.WRONG_OPERATOR, trees.method(node, function))


def gates(place: Place, facts: Facts) -> Proposals:
    """`h > 0` for another function of what a gate lets through: it stands for the gate."""
    node = place.node
    if not is_value(place):
        return
    inside = None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        owner = node.func.value
        library = isinstance(owner, ast.Name) and owner.id in ("torch", "F")
        inside = (node.args[0] if node.args else None) if library else owner
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        inside = node.left
    of, value = facts.tensor(inside) if inside is not None else None, facts.tensor(node)
    if of is None or value is None or value.shape != of.shape:
        return
    assert isinstance(inside, ast.expr)
    sign = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".sign")
    if _is_gated(of) or sign:
        yield Proposal(Cost.GATE_FOR_A_FUNCTION, Kind.WRONG_OPERATOR, trees.positive(inside))


def _is_gated(value: torch.Tensor | None) -> bool:
    """Whether it may have come through a gate: nothing is negative, and something is zero."""
    if value is None or not value.is_floating_point():
        return False
    return bool((value >= 0).all()) and bool((value == 0).any())


def links(place: Place, facts: Facts) -> Proposals:
    """One link of the chain put in: what a forward line's derivative does to a gradient."""
    node = place.node
    if not is_value(place) or not isinstance(node, ast.expr):
        return
    whole = len(place.path) == 1
    is_gradient = isinstance(node, ast.Name) and node.id in facts.gradients
    if not (whole or is_gradient) or not facts.is_float(node):
        return
    for contribution in facts.contributions:
        if contribution.value is None or isinstance(contribution.value, ast.Name):
            continue
        cotangents = [
            gradient
            for gradient, of in facts.gradients.items()
            if of in contribution.line.targets and gradient in contribution.reads
        ]
        if len(cotangents) != 1:
            continue
        if not contribution.reads - {cotangents[0]} <= facts.reach:
            continue
        new = put_in(contribution.value, cotangents[0], node)
        mine = contribution.of == facts.variable
        cost = Cost.FAR_LINK
        if mine:
            cost = Cost.LINK if whole and is_gradient else Cost.LINK_INSIDE
        kind = Kind.SKIPPED_LINK if is_gradient else Kind.MISSING_FACTOR
        if _is_share(contribution.value, facts):
            cost, kind = max(cost, Cost.LINK_OF_A_COUNT), Kind.MISSING_COUNT
        yield Proposal(cost, kind, new)


def _is_share(value: ast.expr, facts: Facts) -> bool:
    """`g / n` or `1 / n * g`: what is skipped is no more than the count of a mean."""
    match value:
        case ast.BinOp(ast.Name(), ast.Div(), count):
            return facts.is_count(count)
        case ast.BinOp(ast.BinOp(one, ast.Div(), count), ast.Mult(), ast.Name()):
            return trees.number_of(one) == 1 and facts.is_count(count)
    return False


def put_in(tree: ast.expr, name: str, new: ast.expr) -> ast.expr:
    """A copy of a tree with an expression in the place of a name."""

    class Put(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return new if node.id == name else node

    found: ast.expr = Put().visit(copy.deepcopy(tree))
    return found
