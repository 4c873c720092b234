"""The arguments of a call, and an operation that is applied to them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

import torch

from gradninja.lines import fence
from gradninja.lines.plain import is_plain, literal
from gradninja.lines.program import STATIC, TUPLE, Expr
from gradninja.lines.reading.naming import name_outputs
from gradninja.lines.reading.state import Reading
from gradninja.lines.reading.values import read_elements, value_of


def read_arguments(reading: Reading, node: ast.Call) -> tuple[list[Expr], dict[str, Expr]]:
    """The arguments by place and by keyword, stars and all."""
    kwargs: dict[str, Expr] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            held = reading.read(keyword.value)
            if not isinstance(held.value, dict):
                reading.fail(node, "`**` in a call is outside", "write the keyword arguments out")
            if held.op == TUPLE:
                kwargs.update(zip(held.value, held.args, strict=True))
                continue
            for key, value in held.value.items():
                kwargs[key] = value_of(
                    reading, keyword.value, value, literal(value) if is_plain(value) else node
                )
            continue
        if keyword.arg == "out":
            into = _out(reading, node, keyword.value)
            kwargs.setdefault("dtype", reading.static(node, into.dtype, literal(into.dtype)))
            continue
        if keyword.arg in kwargs:
            reading.fail(node, f"the keyword argument `{keyword.arg}` is repeated")
        kwargs[keyword.arg] = _operand(reading, reading.read(keyword.value))
    return [_operand(reading, arg) for arg in read_elements(reading, node.args)], kwargs


def _out(reading: Reading, node: ast.Call, target: ast.expr) -> torch.Tensor:
    """What `out=` writes to, where nobody else has it: `torch.arange(n, out=torch.LongTensor(n))`.

    Raises:
        ReadError: it has a name, so that who reads that reads what was written.
    """
    made = reading.read(target) if isinstance(target, ast.Call) else None
    if made is None or not isinstance(made.value, torch.Tensor):
        reading.fail(node, "`out=` writes in place", "use the value that is returned")
    found: torch.Tensor = made.value
    return found


def _operand(reading: Reading, expr: Expr) -> Expr:
    """An argument; the outputs of an operation that gives several are named one by one."""
    if expr.op in (STATIC, TUPLE) or not isinstance(expr.value, tuple):
        return expr
    return name_outputs(reading, expr.op.rpartition(".")[2], expr)


def apply(
    reading: Reading,
    node: ast.AST,
    op: str,
    func: ast.expr,
    run: Callable[..., Any],
    args: list[Expr],
    kwargs: Mapping[str, Expr],
    *first: Expr,
) -> Expr:
    """An operation as a call in the text; `first`: operands that `func` names already."""
    syntax = ast.Call(
        func,
        [e.syntax for e in args],
        [ast.keyword(name, e.syntax) for name, e in kwargs.items()],
    )
    return reading.operation(node, op, (*first, *args), syntax, run, kwargs)


def method_on(reading: Reading, node: ast.AST, name: str, owner: Expr, *args: Expr) -> Expr:
    """A call of a tensor's method that the reader itself writes."""
    attribute = ast.Attribute(owner.syntax, name, ast.Load())
    run = getattr(torch.Tensor, name)
    return apply(reading, node, f"Tensor.{name}", attribute, run, list(args), {}, owner)


def like(reading: Reading, node: ast.AST, function: str, owner: Expr, *args: Expr) -> Expr:
    """A call of `torch.zeros_like` and its kin that the reader itself writes."""
    path = f"torch.{function}"
    run = getattr(torch, function)
    return apply(reading, node, path, fence.callee_syntax(path), run, [owner, *args], {})


def refuse_outside(reading: Reading, node: ast.AST, op: str) -> None:
    """Raise ReadError where an operation is known as one that is not read."""
    name = op.rpartition(".")[2]
    if op in fence.REFUSED:
        reading.fail(node, f"`{name}` is outside of what is read", fence.REFUSED[op])
    if name.endswith("_") and not name.endswith("__"):
        plain = name.rstrip("_")
        reading.fail(
            node,
            f"`{name}` changes a tensor in place, so its earlier value is lost to the backward",
            f"write `y = ...` with `{plain}` instead",
        )
