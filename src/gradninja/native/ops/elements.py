"""Rows for operations on elements, for those whose row in the rule book does not say it all."""

from __future__ import annotations

import math
from string import Formatter
from typing import Any

import torch

from gradninja.native.maps.graph import Node
from gradninja.native.maps.lowering import DTYPES, At, Lowered, Row
from gradninja.rules.rule import CHEAP, DIVISION, FUNCTION

INTEGERS = {"neg", "abs", "sign"}  # functions that ints are given to as well
QUESTIONS = {"isnan": "np.isnan({0})", "isinf": "np.isinf({0})", "isfinite": "np.isfinite({0})"}
COMPARE = {
    "eq": "{0} == {1}", "ne": "{0} != {1}",
    "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}", "ge": "{0} >= {1}",
}  # fmt: skip
LOGIC = {"and": "{0} & {1}", "or": "{0} | {1}", "xor": "{0} ^ {1}"}


def looped(template: str, weight: int, ints: bool) -> Row:
    """The row of a function of elements: `{0}`, `{1}` are those of its first operands."""
    count = len({field for _, field, _, _ in Formatter().parse(template) if field})

    def row(at: At) -> Lowered:
        if not ("float" in at.dtype or (ints and at.dtype == "int64")):
            raise at.refuse("this is compiled for floats alone")
        operands = [at.node(formal, at.dtype) for formal in list(at.site.bound)[:count]]
        return at.graph.map(template, at.dtype, *operands, weight=weight)

    return row


def _product(template: str, weight: int) -> Row:
    def row(at: At) -> Lowered:
        if at.value("rounding_mode") is not None:
            return _rounded(at)
        a, b = at.node("a", at.dtype), at.node("b", at.dtype)
        if at.dtype == "bool":
            raise at.refuse("arithmetic on truth values is not compiled", "use `&` and `|`")
        return at.graph.map(template, at.dtype, a, b, weight=weight)

    return row


def _rounded(at: At) -> Lowered:
    """A quotient rounded down, or towards 0."""
    down = at.value("rounding_mode", "floor") == "floor"
    if "float" in at.dtype:
        a, b = at.node("a", at.dtype), at.node("b", at.dtype)
        return _floored(at, a, b) if down else at.graph.map("np.trunc({0} / {1})", at.dtype, a, b)
    if not down:
        raise at.refuse("this rounding is compiled for floats alone")
    return _whole("{0} // {1}", at)


def _floored(at: At, a: Node, b: Node) -> Node:
    """As in PyTorch and Python: what is left of a is taken off first, so that b goes in evenly."""
    graph, dtype = at.graph, at.dtype
    zero, one = graph.number(0, dtype), graph.number(1, dtype)
    left = graph.map("np.fmod({0}, {1})", dtype, a, b, weight=FUNCTION)
    even = graph.map("({0} - {1}) / {2}", dtype, a, left, b, weight=DIVISION)
    unlike = "({0} != {2}) & (({1} < {2}) != ({0} < {2}))"
    more = graph.map(f"select({unlike}, {{3}}, {{2}})", dtype, left, b, zero, one)
    found = graph.map("np.rint({0} - {1})", dtype, even, more)
    return graph.map("select({1} == {2}, {0} / {1}, {3})", dtype, a, b, zero, found)


def _whole(template: str, at: At) -> Lowered:
    """Division of ints by a number that is not 0."""
    by = None if at.site.is_tensor("b") else at.value("b")
    if at.dtype != "int64" or not isinstance(by, int) or by == 0:
        raise at.refuse("ints are divided by plain numbers alone")
    found = at.graph.map(template, at.dtype, at.node("a", at.dtype), at.node("b", at.dtype))
    if by > 0 and "%" in template:
        found.range = (0, by - 1)
    return found


def _compare(template: str) -> Row:
    def row(at: At) -> Lowered:
        values = [at.site.value(formal) for formal in "ab"]
        kind = DTYPES.get(torch.result_type(*values))
        if kind is None:
            raise at.refuse("these types are not compared")
        if kind == "bool":
            kind = "int64"
        return at.graph.map(template, "bool", at.node("a", kind), at.node("b", kind))

    return row


def _question(template: str) -> Row:
    return lambda at: at.graph.map(template, "bool", at.node("a", "float64"))


def _logic(template: str, *formals: str) -> Row:
    def row(at: At) -> Lowered:
        if at.dtype != "bool":
            raise at.refuse("bits of ints are not compiled")
        return at.graph.map(template, "bool", *(truth(at, at.node(f)) for f in formals))

    return row


def truth(at: At, node: Node) -> Node:
    """Whether elements are not 0."""
    if node.dtype == "bool":
        return node
    zero = at.graph.number(0, node.dtype)
    return at.graph.map("{0} != {1}", "bool", node, zero)


def _sum(sign: str) -> Row:
    def row(at: At) -> Lowered:
        if at.dtype == "bool":
            raise at.refuse("arithmetic on truth values is not compiled", "use `&` and `|`")
        a, b = at.node("a", at.dtype), at.node("b", at.dtype)
        if at.value("alpha", 1) != 1:
            alpha = at.graph.number(at.value("alpha"), at.dtype)
            b = at.graph.map("{0} * {1}", at.dtype, alpha, b)
        return at.graph.map(f"{{0}} {sign} {{1}}", at.dtype, a, b)

    return row


# x**p as products, where PyTorch's result is theirs to the last digit or close
_POWERS = {
    1: ("{0}", CHEAP),
    2: ("{0} * {0}", CHEAP),
    3: ("{0} * {0} * {0}", CHEAP),
    4: ("({0} * {0}) * ({0} * {0})", CHEAP),
    0.5: ("np.sqrt({0})", DIVISION),
    -1: ("{1} / {0}", DIVISION),
    -2: ("{1} / ({0} * {0})", DIVISION),
    -0.5: ("{1} / np.sqrt({0})", DIVISION),
    1.5: ("{0} * np.sqrt({0})", DIVISION),
    -1.5: ("{1} / ({0} * np.sqrt({0}))", DIVISION),
}


def _pow(at: At) -> Lowered:
    if "float" not in at.dtype:
        if not at.site.is_tensor("b") and at.value("b") == 2:
            a = at.node("a", at.dtype)
            return at.graph.map("{0} * {0}", at.dtype, a)
        raise at.refuse("powers are compiled for floats alone")
    power = None if at.site.is_tensor("b") else at.value("b")
    if isinstance(power, bool | int | float) and power in _POWERS:
        template, weight = _POWERS[power]
        one = at.graph.number(1, at.dtype)
        return at.graph.map(template, at.dtype, at.node("a", at.dtype), one, weight=weight)
    a, b = at.node("a", at.dtype), at.node("b", at.dtype)
    return at.graph.map("{0} ** {1}", at.dtype, a, b, weight=2 * FUNCTION)


def _remainder(template: str) -> Row:
    def row(at: At) -> Lowered:
        if "float" not in at.dtype:
            if "%" not in template:
                raise at.refuse("this remainder is compiled for floats alone")
            return _whole(template, at)
        a, b = at.node("a", at.dtype), at.node("b", at.dtype)
        return at.graph.map(template, at.dtype, a, b, weight=FUNCTION)

    return row


def _where(at: At) -> Lowered:
    condition = at.node("condition")
    a, b = at.node("a", at.dtype), at.node("b", at.dtype)
    return at.graph.map("select({0}, {1}, {2})", at.dtype, truth(at, condition), a, b)


def _masked_fill(at: At) -> Lowered:
    a, value = at.node("a", at.dtype), at.node("value", at.dtype)
    return at.graph.map("select({0}, {1}, {2})", at.dtype, at.node("mask"), value, a)


def _clamp(at: At) -> Lowered:
    """nan stays; where the bounds cross, the upper one holds."""
    found = at.node("a", at.dtype)
    for formal, sign in (("min", "<"), ("max", ">")):
        if at.has(formal):
            bound = at.node(formal, at.dtype)
            template = f"select(({{0}} {sign} {{1}}) | ({{1}} != {{1}}), {{1}}, {{0}})"
            found = at.graph.map(template, at.dtype, found, bound)
    return found


def _nan_to_num(at: At) -> Lowered:
    largest = torch.finfo(at.site.value("a").dtype).max
    high = "posinf" if at.has("posinf") else repr(largest)
    low = "neginf" if at.has("neginf") else repr(-largest)
    finite = f"torch.where(a == math.inf, {high}, torch.where(a == -math.inf, {low}, a))"
    return at.lowering.written_out(at, f"torch.where(torch.isnan(a), nan, {finite})")


def _gelu(at: At) -> Lowered:
    if at.value("approximate") == "tanh":
        scale = repr(math.sqrt(2 / math.pi))
        inner = f"{scale} * (a + 0.044715 * (a * a * a))"
        return at.lowering.written_out(at, f"0.5 * a * (1 + torch.tanh({inner}))")
    return at.lowering.written_out(at, "0.5 * a * (1 + torch.erf(a * 0.7071067811865476))")


def _cast(at: At) -> Lowered:
    node = at.node("a")
    return truth(at, node) if at.dtype == "bool" else at.graph.cast(node, at.dtype)


def _copy_into(at: At) -> Lowered:
    return at.graph.expand(at.node("b", at.dtype), at.shape)


def _filled(value: Any) -> Row:
    return lambda at: at.graph.number(value, at.dtype, at.shape)


def _full(at: At) -> Lowered:
    return at.graph.expand(at.node("value", at.dtype), at.shape)


def _arange(at: At) -> Lowered:
    ends = at.value("ends")
    if not all(isinstance(end, int) for end in ends):
        raise at.refuse("`arange` is compiled for ints alone")
    start, _, step = {1: (0, *ends, 1), 2: (*ends, 1)}.get(len(ends), ends)
    return at.graph.arange(start, step, at.shape[0], at.dtype)


def _eye(at: At) -> Lowered:
    rows, columns = (at.graph.arange(0, 1, size) for size in at.shape)
    down = at.graph.reshape(rows, (at.shape[0], 1))
    return at.graph.cast(at.graph.map("{0} == {1}", "bool", down, columns), at.dtype)


def _one_hot(at: At) -> Lowered:
    graph, index, classes = at.graph, at.node("a"), at.shape[-1]
    if at.value("num_classes") < 0:
        raise at.refuse("the number of classes must stand there", "one_hot(index, num_classes)")
    graph.check(index, classes, f"an index in `{at.told}` is outside of 0 to {classes - 1}")
    wide = graph.reshape(index, (*index.shape, 1))
    each = graph.arange(0, 1, classes)
    return graph.cast(graph.map("{0} == {1}", "bool", wide, each), at.dtype)


def _same(at: At) -> Lowered:
    return at.node("a")


ROWS: dict[str, Row] = {
    "mul": _product("{0} * {1}", CHEAP),
    "div": _product("{0} / {1}", DIVISION),
    "maximum": looped("select(({0} > {1}) | ({0} != {0}), {0}, {1})", CHEAP, ints=True),
    "minimum": looped("select(({0} < {1}) | ({0} != {0}), {0}, {1})", CHEAP, ints=True),
    **{name: _compare(template) for name, template in COMPARE.items()},
    **{name: _question(template) for name, template in QUESTIONS.items()},
    **{f"logical_{name}": _logic(template, "a", "b") for name, template in LOGIC.items()},
    "logical_not": _logic("{0} == False", "a"),
    "add": _sum("+"),
    "sub": _sum("-"),
    "pow": _pow,
    "remainder": _remainder("{0} % {1}"),
    "fmod": _remainder("np.fmod({0}, {1})"),
    "floor_divide": _rounded,
    "where": _where,
    "masked_fill": _masked_fill,
    "clamp": _clamp,
    "gelu": _gelu,
    "nan_to_num": _nan_to_num,
    "cast": _cast,
    "long": _cast,
    "copy": _same,
    "pos": _same,
    "detach": _same,
    "copy_into": _copy_into,
    "zeros": _filled(0),
    "zeros_like": _filled(0),
    "zeroed": _filled(0),
    "ones": _filled(1),
    "ones_like": _filled(1),
    "full": _full,
    "full_like": _full,
    "filled": _full,
    "arange": _arange,
    "eye": _eye,
    "one_hot": _one_hot,
}
