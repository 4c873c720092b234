"""The space of single edits: what one may have meant to write at one place of a line.

Every function takes a place in the person's statement and gives proposals: what to put there
instead, which kind of mistake that would have been, and a cost. Cheap ones are tried first, so the
costs say which of two edits with the same value is the better explanation.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from gradninja.check.diagnosis.candidates import trees
from gradninja.check.diagnosis.candidates.costs import Cost
from gradninja.check.diagnosis.candidates.tree_edits import Place, same, shallow
from gradninja.check.diagnosis.facts import UNKNOWN, Facts
from gradninja.check.diagnosis.kinds import Kind


@dataclass(frozen=True, eq=False)
class Proposal:
    """Put `new` at a place; `kind` is the mistake that this mends."""

    cost: float
    kind: Kind
    new: ast.AST


Proposals = Iterator[Proposal]

FLIPPED: dict[type[ast.operator], ast.operator] = {ast.Add: ast.Sub(), ast.Sub: ast.Add()}
OPERATORS: tuple[ast.operator, ...] = (
    ast.Add(),
    ast.Sub(),
    ast.Mult(),
    ast.Div(),
    ast.Pow(),
    ast.MatMult(),
)
COMPARISONS: tuple[ast.cmpop, ...] = (
    ast.Lt(),
    ast.LtE(),
    ast.Gt(),
    ast.GtE(),
    ast.Eq(),
    ast.NotEq(),
)
TURNED: tuple[set[type[ast.cmpop]], ...] = ({ast.Lt, ast.Gt}, {ast.LtE, ast.GtE})
# Functions that are mistaken for one another.
FAMILIES = (
    "sum mean amax amin prod logsumexp",
    "max amax argmax min amin argmin",
    "exp log tanh sigmoid sqrt rsqrt square abs sign relu sin cos sinh cosh reciprocal erf "
    "log1p expm1 log_softmax softmax",
    "zeros_like ones_like",
    "scatter_add_ scatter_",
    "add_ sub_ copy_",
    "mul_ div_",
    "index_add_ index_copy_",
    "maximum minimum",
    "triu tril",
    "cumsum cumprod",
    "logical_not logical_and logical_or",
)


def is_value(place: Place) -> bool:
    """Whether an expression stands for a value of its own: no target, callee or module."""
    node, parent = place.node, place.parent
    if not isinstance(node, ast.expr) or isinstance(node, ast.Tuple | ast.List | ast.Slice):
        return False
    if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
        return False
    if isinstance(parent, ast.Call) and place.field == "func":
        return False
    if isinstance(node, ast.Name) and node.id in ("torch", "F", "math", "np"):
        return False
    inside_range = any(
        isinstance(p, ast.Call) and isinstance(p.func, ast.Name) for p in place.parents
    )
    return not inside_range or isinstance(node, ast.Name)


def name_swaps(place: Place, facts: Facts) -> Proposals:
    node = place.node
    if isinstance(node, ast.Subscript) and is_value(place):
        picked = facts.tensor(node)
        for name in facts.tensors:
            alike = picked is not None and facts.scope[name].shape == picked.shape
            if alike and facts.scope[name].ndim:  # `prev` for `hs[:, t]`
                yield Proposal(Cost.NAME_FOR_A_PART, Kind.WRONG_NAME, trees.name(name))
    if not (isinstance(node, ast.Name) and is_value(place)):
        return
    value = facts.value(node)
    tensor = facts.tensor(node)
    if tensor is None:
        if value is not UNKNOWN and type(value) is not int:
            return
        names = [e for e in facts.scalars if isinstance(e, ast.Name)]
        others = names if value is not UNKNOWN else []
        for other in others:
            if other.id != node.id:
                yield Proposal(Cost.OTHER_NUMBER, Kind.WRONG_NAME, other)
        if value is not UNKNOWN and not isinstance(place.parent, ast.Attribute):
            return  # `n.sum(0)` is of no number
    for name in facts.tensors:
        if name == node.id:
            continue
        other_value = facts.scope[name]
        cost = Cost.NAME
        if tensor is not None and tensor.is_floating_point() != other_value.is_floating_point():
            cost = Cost.NAME_OF_OTHER_KIND
        if name == f"d{node.id}" or node.id == f"d{name}":
            cost = Cost.GRADIENT_FOR_VARIABLE
        elif name in facts.relevant:
            kind_differs = cost == Cost.NAME_OF_OTHER_KIND
            cost = Cost.RELEVANT_NAME_OF_OTHER_KIND if kind_differs else Cost.RELEVANT_NAME
        elif tensor is not None and tensor.shape == other_value.shape:
            cost = Cost.NAME_OF_THE_SHAPE
        yield Proposal(cost, facts.kind_of_swap(node.id, name), trees.name(name))


def constants(place: Place, facts: Facts) -> Proposals:
    node, parent = place.node, place.parent
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        named = parent.arg if isinstance(parent, ast.keyword) else None
        kind = {
            "keepdim": Kind.LOST_KEEPDIM,
            "keepdims": Kind.LOST_KEEPDIM,
            "accumulate": Kind.LOST_REPEATS,
        }.get(named or "", Kind.WRONG_CONSTANT)
        yield Proposal(Cost.FLAG, kind, ast.Constant(not node.value))
        return
    value = trees.number_of(node)
    if value is None or (isinstance(parent, ast.UnaryOp) and trees.number_of(parent) is not None):
        return
    if is_axis(place):
        return
    kind = Kind.WRONG_CONSTANT
    if isinstance(parent, ast.BinOp) and type(parent.op) in FLIPPED and abs(value) <= 1:
        counts = facts.is_count(parent.left) and not _in_an_index(place)
        kind = Kind.BESSEL if counts else kind
    tried: dict[float, float] = {value: 0.0}
    if isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Mult):
        tried[1] = 0.0  # a factor of one is taken out whole
    near = [
        (-value, Cost.NUMBER_NEGATED),
        (value + 1, Cost.NUMBER_ONE_OFF),
        (value - 1, Cost.NUMBER_ONE_OFF),
        (2 * value, Cost.NUMBER_DOUBLED),
        (value / 2, Cost.NUMBER_DOUBLED),
    ]
    near += [(1 / value, Cost.NUMBER_INVERTED)] if value else []
    for other, cost in [*near, *((literal, Cost.LITERAL) for literal in facts.literals)]:
        if other not in tried:
            tried[other] = cost
            sign = other == -value and kind is Kind.WRONG_CONSTANT
            yield Proposal(cost, Kind.SIGN if sign else kind, trees.number(_tidy(other)))
    if type(value) is int or value == int(value):
        for scalar in facts.scalars:
            yield Proposal(Cost.COUNT_FOR_A_NUMBER, kind, scalar)


def _tidy(value: float) -> float:
    return int(value) if value == int(value) else value


def counts(place: Place, facts: Facts) -> Proposals:
    """n for n - 1, and other numbers of elements."""
    node = place.node
    if not is_value(place):
        return
    if len(place.path) == 1 and type(facts.value(node)) in (int, float):
        for scalar in facts.scalars:
            for sign in (1, -1):
                share = trees.binary(trees.number(sign), ast.Div(), scalar)
                yield Proposal(Cost.SHARE, Kind.WRONG_CONSTANT, share)
    if isinstance(node, ast.Name) and facts.tensor(node) is not None:
        for scalar in facts.scalars:
            yield Proposal(Cost.COUNT_FOR_A_TENSOR, Kind.WRONG_NAME, scalar)
    if not facts.is_count(node):
        return
    mine = facts.value(node)
    for name in facts.tensors:
        if not facts.scope[name].ndim:  # a count that the data make
            yield Proposal(Cost.COUNT_OF_DATA, Kind.WRONG_NAME, trees.name(name))
    for scalar in facts.scalars:
        other = facts.value(scalar)
        if type(other) is not int or same(scalar, node):
            continue
        close = abs(other - mine) == 1
        counts = close and not _in_an_index(place)
        kind = Kind.BESSEL if counts else Kind.WRONG_CONSTANT
        yield Proposal(Cost.COUNT_ONE_OFF if close else Cost.OTHER_COUNT, kind, scalar)


def shifts(place: Place, facts: Facts) -> Proposals:
    """The element before, or after: `h[t - 1]` for `h[t]`."""
    node = place.node
    if not (is_value(place) and isinstance(node, ast.Name | ast.BinOp) and _in_an_index(place)):
        return
    outer = place.parent
    alone = isinstance(outer, ast.Subscript | ast.Tuple | ast.Slice)
    if alone and type(facts.value(node)) is int:
        for op in (ast.Sub(), ast.Add()):
            yield Proposal(
                Cost.ELEMENT_BESIDE, Kind.WRONG_CONSTANT, trees.binary(node, op, trees.number(1))
            )


def conjugates(place: Place, facts: Facts) -> Proposals:
    """A complex factor's conjugate, and the factor itself."""
    node, tensor = place.node, facts.tensor(place.node)
    if not is_value(place) or tensor is None or not tensor.is_complex():
        return
    assert isinstance(node, ast.expr)
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".conj"):
        return  # to drop it is a call's own edit
    yield Proposal(Cost.CONJUGATE, Kind.CONJUGATE, trees.method(node, "conj"))


def _in_an_index(place: Place) -> bool:
    """Whether a place is a position, as in `h[t + 1]`, and no count."""
    return any(
        isinstance(parent, ast.Subscript) and place.node in [*ast.walk(parent.slice)]
        for parent in place.parents
    )


def signs(place: Place, facts: Facts) -> Proposals:
    node = place.node
    if not (is_value(place) and isinstance(node, ast.expr)):
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield Proposal(Cost.NO_MINUS, Kind.SIGN, node.operand)
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert | ast.Not):
        yield Proposal(Cost.NO_INVERSION, Kind.WRONG_OPERATOR, node.operand)
    tensor = facts.tensor(node)
    if tensor is not None and tensor.dtype == torch.bool:
        yield Proposal(Cost.INVERTED, Kind.WRONG_OPERATOR, ast.UnaryOp(ast.Invert(), node))
        return
    if trees.number_of(node) is None and type(facts.value(node)) is not tuple:
        depth = min(len(place.path), 8)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
            swapped = trees.binary(node.right, node.op, node.left)
            yield Proposal(Cost.DIFFERENCE_TURNED + Cost.INSIDE / 2 * depth, Kind.SIGN, swapped)
        new = trees.leading(trees.negative, node)
        yield Proposal(Cost.MINUS + Cost.INSIDE * depth, Kind.SIGN, new)
    if isinstance(node, ast.BinOp) and type(node.op) in FLIPPED:
        new = trees.binary(node.left, FLIPPED[type(node.op)], node.right)
        yield Proposal(Cost.PLUS_FOR_MINUS, Kind.SIGN, new)


def operators(place: Place, facts: Facts) -> Proposals:
    node = place.node
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for op in COMPARISONS:
            if type(op) is not type(node.ops[0]):
                copy = shallow(node)
                copy.ops = [op]
                turned = {type(op), type(node.ops[0])} in TURNED
                yield Proposal(
                    Cost.COMPARISON_TURNED if turned else Cost.COMPARISON, Kind.WRONG_OPERATOR, copy
                )
    if not isinstance(node, ast.BinOp):
        return
    for other in OPERATORS:
        if type(other) is not type(node.op) and type(other) is not type(FLIPPED.get(type(node.op))):
            new = trees.binary(node.left, other, node.right)
            yield Proposal(Cost.OPERATOR, Kind.WRONG_OPERATOR, new)
    if isinstance(node.op, ast.BitAnd | ast.BitOr):
        bits: ast.operator = ast.BitOr() if isinstance(node.op, ast.BitAnd) else ast.BitAnd()
        new = trees.binary(node.left, bits, node.right)
        yield Proposal(Cost.OPERATOR, Kind.WRONG_OPERATOR, new)
    if isinstance(node.op, ast.Div | ast.Pow):
        new = trees.binary(node.right, node.op, node.left)
        yield Proposal(Cost.OPERANDS_TURNED, Kind.WRONG_OPERATOR, new)


def parentheses(place: Place, facts: Facts) -> Proposals:
    """The same operations, bound otherwise."""
    node = place.node
    if isinstance(node, ast.BinOp):
        left, right = node.left, node.right
        if isinstance(left, ast.BinOp):
            inner = trees.binary(left.right, node.op, right)
            yield _bound(trees.binary(left.left, left.op, inner))
        if isinstance(right, ast.BinOp):
            inner = trees.binary(left, node.op, right.left)
            yield _bound(trees.binary(inner, right.op, right.right))
        if isinstance(left, ast.UnaryOp):
            yield _bound(ast.UnaryOp(left.op, trees.binary(left.operand, node.op, right)))
        if isinstance(right, ast.Call) and isinstance(right.func, ast.Attribute):
            whole = trees.binary(left, node.op, right.func.value)
            yield _bound(_around(right, whole))
        if isinstance(left, ast.Call) and len(left.args) == 1:
            put = trees.binary(left.args[0], node.op, right)
            yield _bound(ast.Call(left.func, [put], left.keywords))
        if isinstance(right, ast.Attribute):
            whole = trees.binary(left, node.op, right.value)
            yield _bound(ast.Attribute(whole, right.attr, ast.Load()))
    if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.BinOp):
        inner = node.operand
        yield _bound(trees.binary(ast.UnaryOp(node.op, inner.left), inner.op, inner.right))
    if isinstance(node, ast.Call) and len(node.args) == 1:
        inside = node.args[0]
        if isinstance(inside, ast.BinOp):
            called = ast.Call(node.func, [inside.left], node.keywords)
            yield _bound(trees.binary(called, inside.op, inside.right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        owner = node.func.value
        if isinstance(owner, ast.BinOp):
            yield _bound(trees.binary(owner.left, owner.op, _around(node, owner.right)))
            yield _bound(trees.binary(_around(node, owner.left), owner.op, owner.right))
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.BinOp):
        owner = node.value
        right = ast.Attribute(owner.right, node.attr, ast.Load())
        yield _bound(trees.binary(owner.left, owner.op, right))


def _bound(new: ast.expr) -> Proposal:
    return Proposal(Cost.PARENTHESES, Kind.PARENTHESES, new)


def _around(call: ast.Call, owner: ast.expr) -> ast.Call:
    assert isinstance(call.func, ast.Attribute)
    return ast.Call(ast.Attribute(owner, call.func.attr, ast.Load()), call.args, call.keywords)


def calls(place: Place, facts: Facts) -> Proposals:
    """Another function of the same family, the same one dropped, its operands swapped."""
    node = place.node
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return
    what = node.func.attr
    for family in FAMILIES:
        names = family.split()
        for other in names if what in names else ():
            if other != what:
                func = ast.Attribute(node.func.value, other, ast.Load())
                kind = {
                    ("sum", "mean"): Kind.MISSING_COUNT,
                    ("mean", "sum"): Kind.EXTRA_FACTOR,
                    ("scatter_", "scatter_add_"): Kind.LOST_REPEATS,
                    ("index_copy_", "index_add_"): Kind.LOST_REPEATS,
                }.get((what, other), Kind.WRONG_OPERATOR)
                yield Proposal(Cost.FUNCTION, kind, ast.Call(func, node.args, node.keywords))
    if what == "index_put_" and len(node.args) == 2 and not node.keywords:
        keywords = [ast.keyword("accumulate", ast.Constant(True))]
        yield Proposal(Cost.REPEATS, Kind.LOST_REPEATS, ast.Call(node.func, node.args, keywords))
    module = isinstance(node.func.value, ast.Name) and node.func.value.id in ("torch", "F")
    inside = node.args[0] if module and node.args else node.func.value
    if not module or len(node.args) == 1:
        reduces = what in FAMILIES[0].split()
        kind = Kind.CONJUGATE if what == "conj" else Kind.WRONG_OPERATOR
        yield Proposal(Cost.NO_FUNCTION, Kind.EXTRA_SUM if reduces else kind, inside)
    for i in range(len(node.args)):
        for j in range(i):
            args = list(node.args)
            args[i], args[j] = args[j], args[i]
            new = ast.Call(node.func, args, node.keywords)
            yield Proposal(Cost.ARGUMENTS_TURNED, Kind.WRONG_OPERATOR, new)


def is_axis(place: Place) -> bool:
    """Whether a number names an axis: `x.sum(0)`, `dim=1`, `x.shape[0]`."""
    outer = [
        p for p in place.parents[::-1] if not isinstance(p, ast.Tuple | ast.List | ast.UnaryOp)
    ]
    parent = outer[0]
    if isinstance(parent, ast.keyword):
        return parent.arg in ("dim", "axis", "dims", "dim0", "dim1", "start_dim")
    if isinstance(parent, ast.Subscript):
        return isinstance(parent.value, ast.Attribute) and parent.value.attr == "shape"
    if isinstance(parent, ast.Call) and isinstance(parent.func, ast.Attribute):
        return parent.func.attr not in ("full_like", "pow", "view", "reshape", "clamp", "expand")
    return False
