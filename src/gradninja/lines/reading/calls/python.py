"""Calls of Python's own functions: `len`, `zip`, `getattr`, `super`."""

from __future__ import annotations

import ast
import builtins
import types
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from gradninja.lines import fence
from gradninja.lines.plain import is_plain, literal
from gradninja.lines.program import STATIC, TUPLE, Expr
from gradninja.lines.reading import numbers
from gradninja.lines.reading.containers import replace_container
from gradninja.lines.reading.members import write_member
from gradninja.lines.reading.state import Function, Reading
from gradninja.lines.reading.values import elements_of, static_operation, take_out


def call_builtin(
    reading: Reading, node: ast.Call, name: str, args: list[Expr], kwargs: Mapping[str, Expr]
) -> Expr:
    """A call of Python's own function; of objects here, and of what runs through elements."""
    if name == "setattr" and len(args) == 3 and isinstance(args[1].value, str):
        write_member(reading, args[0], args[1].value, args[2])
        return reading.static(node, None, ast.Constant(None))
    known = {"hasattr", "getattr", "callable", "type", "next", "iter", "str", "super", "print"}
    if name not in known:
        return _sequence_or_number(reading, node, name, args, kwargs)
    if name == "super":
        return _super(reading, node, args)
    if not args or kwargs:
        reading.fail(node, f"`{name}` takes its arguments by place")
    first = args[0]
    if name in {"hasattr", "getattr"}:
        wanted = args[1].value if len(args) > 1 else None
        if not isinstance(wanted, str):
            reading.fail(node, f"`{name}` takes the name of an attribute")
        written = (id(first.value), wanted) in reading.state
        if name == "hasattr" or (len(args) > 2 and not written):
            has = written or hasattr(first.value, wanted)
            if name == "hasattr":
                return reading.static(node, has, ast.Constant(has))
            if not has:
                return args[2]
        syntax = ast.copy_location(ast.Attribute(node.args[0], wanted, ast.Load()), node)
        return reading.read(syntax)
    if name == "next":
        elements = elements_of(reading, node, first)
        if elements:
            if isinstance(node.args[0], ast.Name):  # what is left, for who reads on
                rest = reading.container(node, elements[1:], list)
                replace_container(reading, node.args[0], first, rest)
            return elements[0]
        if len(args) > 1:
            return args[1]
        reading.fail(node, "there is nothing next")
    if name == "iter":
        several = elements_of(reading, node, first)
        return reading.container(node, several, list) if first.op == TUPLE else first
    if name == "callable":
        called = isinstance(first.value, Function) or callable(first.value)
        return reading.static(node, called, ast.Constant(called))
    if name == "type" and len(args) == 1:
        kind = types.FunctionType if isinstance(first.value, Function) else type(first.value)
        return reading.static(node, kind, node)
    if first.op != STATIC:
        reading.fail(node, f"`{name}` of a tensor leaves the lines")
    value = getattr(builtins, name)(first.value)
    return reading.static(node, value, literal(value) if is_plain(value) else node)


def _sequence_or_number(
    reading: Reading, node: ast.Call, name: str, args: list[Expr], kwargs: Mapping[str, Expr]
) -> Expr:
    """A function of sequences and numbers; of tensors where they are elements, or are counted."""
    if name in {"enumerate", "sum"} and len(args) == 1 and set(kwargs) == {"start"}:
        args, kwargs = [*args, kwargs["start"]], {}
    if name == "zip" and set(kwargs) == {"strict"}:
        if kwargs["strict"].value and len({len(elements_of(reading, node, e)) for e in args}) > 1:
            reading.fail(node, "this line does not run: zip() takes what is of one length here")
        kwargs = {}
    if name not in fence.STATIC_BUILTINS:
        reading.fail(
            node,
            f"`{name}` is not a function that can be read",
            "define it with `def` in the same file, or use torch's functions",
        )
    func = ast.Name(name, ast.Load())
    syntax = ast.Call(
        func, [e.syntax for e in args], [ast.keyword(k, e.syntax) for k, e in kwargs.items()]
    )
    if args and args[0].is_tensor and name in {"abs", "pow"}:
        run = getattr(builtins, name)
        return reading.operation(node, f"torch.{name}", tuple(args), syntax, run, kwargs)
    if args and args[0].is_tensor and name in numbers.BUILTINS:
        return take_out(reading, reading.source.spot(node), args[0], name, syntax)
    if name == "len" and len(args) == 1 and not kwargs:
        return _length(reading, node, args[0], syntax)
    if name in {"list", "tuple", "zip", "enumerate", "reversed", "sum"} and not kwargs:
        found = _rearranged(reading, node, name, args)
        if found is not None:
            return found
    if name == "map" and len(args) > 1 and args[0].op == STATIC:
        rows = zip(*(elements_of(reading, node, e) for e in args[1:]), strict=False)
        mapped = [reading.call(node, args[0], list(row), {}) for row in rows]
        return reading.container(node, mapped, list)
    if name == "isinstance" and len(args) == 2 and args[1].op == STATIC:
        of_kind = isinstance(args[0].value, args[1].value)
        return reading.static(node, of_kind, ast.Constant(of_kind))
    if any(e.op != STATIC for e in [*args, *kwargs.values()]):
        reading.fail(
            node,
            f"`{name}` of a tensor leaves the lines",
            f"use torch's function, torch.{name} say, if there is one",
        )
    for keyword, e in kwargs.items():
        if not is_plain(e.value):
            reading.fail(node, f"`{name}` takes no `{keyword}={e}` here")
    run = getattr(builtins, name)
    if kwargs:
        run = partial(run, **{keyword: e.value for keyword, e in kwargs.items()})
    if name in {"zip", "enumerate", "reversed"}:  # read once as a list, it is there again
        listed = ast.Call(ast.Name("list", ast.Load()), [syntax], [])
        return static_operation(reading, node, lambda *v: list(run(*v)), tuple(args), listed)
    return static_operation(reading, node, run, tuple(args), syntax)


def _super(reading: Reading, node: ast.Call, args: list[Expr]) -> Expr:
    if len(args) == 2:
        return reading.static(node, super(args[0].value, args[1].value), node)
    home = reading.source.outside.get("__class__")
    held = reading.scope.get(reading.source.function.args.args[0].arg)
    if not isinstance(home, type) or held is None:
        reading.fail(node, "`super()` stands in a method of a class")
    return reading.static(node, super(home, held.value), node)


def _length(reading: Reading, node: ast.AST, of: Expr, syntax: ast.expr) -> Expr:
    if of.op == TUPLE:
        return reading.static(node, len(of.args), ast.Constant(len(of.args)))
    try:
        length = len(of.value)
    except TypeError as error:
        reading.fail(node, f"this line does not run: {error}")
    found = reading.static(node, length, syntax, (of,))
    return replace(found, sized=of.is_tensor or of.sized)


def _rearranged(reading: Reading, node: ast.Call, name: str, args: list[Expr]) -> Expr | None:
    """Python's functions on sequences that hold tensors; None where only plain values enter."""
    if all(e.op == STATIC for e in args):
        return None
    rows = [elements_of(reading, node, e) for e in args[: 1 if name != "zip" else None]]
    if name in {"list", "tuple"}:
        return reading.container(node, rows[0], list if name == "list" else tuple)
    if name == "reversed":
        return reading.container(node, rows[0][::-1], list)
    if name == "zip":
        pairs = [reading.container(node, row) for row in zip(*rows, strict=False)]
        return reading.container(node, pairs, list)
    if name == "enumerate":
        start = args[1].value if len(args) > 1 else 0
        return reading.container(
            node,
            [
                reading.container(node, (reading.static(node, i, ast.Constant(i)), element))
                for i, element in enumerate(rows[0], start)
            ],
            list,
        )
    total = args[1] if len(args) > 1 else None
    for element in rows[0]:
        if total is None:
            total = element
        else:
            syntax = ast.BinOp(total.syntax, ast.Add(), element.syntax)
            total = reading.operation(node, "+", (total, element), syntax, lambda a, b: a + b)
    return total
