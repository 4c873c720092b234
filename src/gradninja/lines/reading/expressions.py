"""Expressions of operators, sequences and conditions, by the values of their operands."""

from __future__ import annotations

import ast
import operator
from typing import Any

from gradninja.errors import ReadError
from gradninja.lines import fence
from gradninja.lines.operators import BINARY, COMPARE, UNARY
from gradninja.lines.plain import is_plain, literal
from gradninja.lines.program import STATIC, TUPLE, Expr, Record
from gradninja.lines.reading.naming import bind
from gradninja.lines.reading.numbers import Logged, logged
from gradninja.lines.reading.state import Reading, Reads
from gradninja.lines.reading.values import (
    ask,
    decide,
    elements_of,
    placed,
    read_elements,
    static_operation,
    truth_of,
)


def read_constant(reading: Reading, node: ast.Constant) -> Expr:
    return reading.static(node, node.value, node)


def read_tuple(reading: Reading, node: ast.Tuple) -> Expr:
    return reading.container(node, read_elements(reading, node.elts))


def read_list(reading: Reading, node: ast.List) -> Expr:
    return reading.container(node, read_elements(reading, node.elts), list)


def read_set(reading: Reading, node: ast.Set) -> Expr:
    """A set of plain values: what `in` asks."""
    elements = read_elements(reading, node.elts)
    if any(e.op != STATIC for e in elements):
        reading.fail(node, "a set of tensors is outside of what is read", "use a list")
    return reading.static(node, {e.value for e in elements}, node, elements)


def read_slice(reading: Reading, node: ast.Slice) -> Expr:
    parts = [None if p is None else reading.read(p) for p in (node.lower, node.upper, node.step)]
    given = [p for p in parts if p is not None]
    for part in given:
        if part.op != STATIC:
            reading.fail(node, "a slice's bounds must be plain ints")
    syntax = ast.Slice(*(None if p is None else p.syntax for p in parts))
    value = slice(*(None if p is None else p.value for p in parts))
    return reading.static(node, value, syntax, given)


def read_subscript(reading: Reading, node: ast.Subscript) -> Expr:
    owner, index = reading.read(node.value), placed(reading, reading.read(node.slice))
    syntax = ast.Subscript(owner.syntax, index.syntax, ast.Load())
    if owner.is_tensor:
        return reading.operation(node, "[]", (owner, index), syntax, operator.getitem)
    if index.op != STATIC:
        reading.fail(node, "an index into a Python sequence must be a plain int")
    if owner.op == STATIC:
        found = static_operation(reading, node, operator.getitem, (owner, index), syntax)
        named = isinstance(owner.syntax, ast.Name | ast.Attribute)
        written = isinstance(owner.value, list | tuple | dict) and not named
        if written and found.op == STATIC and is_plain(found.value) and not owner.sized:
            return reading.static(node, found.value, literal(found.value))
        return found
    if owner.op != TUPLE and isinstance(index.value, int) and 0 <= index.value < len(owner.value):
        return reading.item(node, owner, index.value)  # there, however many come after it
    keyed = owner.op == TUPLE and isinstance(owner.value, dict)
    keyed = keyed and not (isinstance(owner.value, Record) and isinstance(index.value, int))
    elements: Any = (
        dict(zip(owner.value, owner.args, strict=True))
        if keyed
        else elements_of(reading, node, owner)
    )
    try:
        picked = elements[index.value]
    except (LookupError, TypeError) as error:
        said = f"KeyError: {error}" if isinstance(error, KeyError) else str(error)
        reading.fail(node, f"this line does not run: {said}")
    return picked if isinstance(picked, Expr) else reading.container(node, picked)


def read_operator(reading: Reading, node: ast.BinOp) -> Expr:
    op, function = BINARY[type(node.op)]
    args = (reading.read(node.left), reading.read(node.right))
    syntax = ast.BinOp(args[0].syntax, node.op, args[1].syntax)
    if any(e.is_tensor for e in args):
        return reading.operation(node, op, args, syntax, function)
    if TUPLE in (args[0].op, args[1].op):
        return _sequence(reading, node, op, args)
    return static_operation(reading, node, function, args, syntax)


def _sequence(reading: Reading, node: ast.BinOp, op: str, args: tuple[Expr, ...]) -> Expr:
    """`outs + [y]` and `[h] * 3`."""
    kind = list if any(isinstance(e.value, list) for e in args) else tuple
    sequences = not any(type(e.value) is dict for e in args)
    if sequences and op == "+":
        return reading.container(
            node, [x for e in args for x in elements_of(reading, node, e)], kind
        )
    count = next((e.value for e in args if isinstance(e.value, int)), None)
    if sequences and op == "*" and count is not None and count <= fence.MOST_STEPS:
        several = args[0] if args[0].op == TUPLE else args[1]
        return reading.container(node, list(several.args) * count, kind)
    reading.hold_single(node, args, (dict, list, tuple))
    reading.fail(node, "this is outside of what is read")


def read_unary(reading: Reading, node: ast.UnaryOp) -> Expr:
    op, function = UNARY[type(node.op)]
    arg = reading.read(node.operand)
    arg = ask(reading, arg) if op == "not" else arg
    syntax = ast.UnaryOp(node.op, arg.syntax)
    if arg.is_tensor and op != "not":
        return reading.operation(node, op, (arg,), syntax, function)
    if op == "not" and arg.op == TUPLE:
        return reading.static(node, not arg.args, ast.Constant(not arg.args))
    if arg.op != STATIC:
        if op != "not":
            reading.hold_single(node, (arg,), (dict, list, tuple))
        reading.fail(node, "this asks for the truth of a tensor", "branches on data are outside")
    return static_operation(reading, node, function, (arg,), syntax)


def read_compare(reading: Reading, node: ast.Compare) -> Expr:
    args = [reading.read(node.left), *(reading.read(c) for c in node.comparators)]
    syntax = ast.Compare(args[0].syntax, node.ops, [e.syntax for e in args[1:]])
    if any(e.is_tensor for e in args) and not isinstance(node.ops[0], ast.Is | ast.IsNot):
        if len(node.ops) > 1:
            reading.fail(node, "a chained comparison of tensors", "write `(a < b) & (b < c)`")
        op, function = COMPARE[type(node.ops[0])]
        return reading.operation(node, op, tuple(args), syntax, function)
    value = True
    for op_node, left, right in zip(node.ops, args, args[1:], strict=False):
        step = static_operation(reading, node, COMPARE[type(op_node)][1], (left, right), syntax)
        if isinstance(step.value, Logged):
            return step
        value = value and bool(step.value)
    return reading.static(node, value, syntax, args)


def read_boolean(reading: Reading, node: ast.BoolOp) -> Expr:
    args = []
    for value in node.values:  # as Python does: no further than needed, and that one as it is
        args.append(ask(reading, reading.read(value)))
        last = value is node.values[-1]
        if not last and truth_of(reading, args[-1], node) != isinstance(node.op, ast.And):
            break
    if args[-1].op != STATIC:
        return args[-1]
    syntax = ast.BoolOp(node.op, [e.syntax for e in args]) if len(args) > 1 else args[0].syntax
    return reading.static(node, args[-1].value, syntax, args)


def read_named(reading: Reading, node: ast.NamedExpr) -> Expr:
    return bind(reading, node.target.id, reading.read(node.value))


def read_conditional(reading: Reading, node: ast.IfExp) -> Expr:
    return reading.read(node.body if decide(reading, node.test) else node.orelse)


def read_f_string(reading: Reading, node: ast.JoinedStr) -> Expr:
    """`f"layer{i}"` of plain values: the name of an attribute, say."""
    parts = []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            expr = reading.read(part.value)
            error = ReadError("text has no place in a forward", spot=reading.source.spot(node))
            told = logged(expr.value)
            if expr.op != STATIC or told is not None:
                return reading.static(node, told or Logged(error), node)
            spec = "" if part.format_spec is None else reading.read(part.format_spec).value
            parts.append(format(expr.value, spec))
        else:
            assert isinstance(part, ast.Constant)
            parts.append(str(part.value))
    return reading.static(node, "".join(parts), ast.Constant("".join(parts)))


READS: dict[type, Reads] = {
    ast.Constant: read_constant,
    ast.Tuple: read_tuple,
    ast.List: read_list,
    ast.Set: read_set,
    ast.Slice: read_slice,
    ast.Subscript: read_subscript,
    ast.BinOp: read_operator,
    ast.UnaryOp: read_unary,
    ast.Compare: read_compare,
    ast.BoolOp: read_boolean,
    ast.NamedExpr: read_named,
    ast.IfExp: read_conditional,
    ast.JoinedStr: read_f_string,
}
