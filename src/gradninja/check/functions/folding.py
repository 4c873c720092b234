"""Tests whose answer is known before a line runs: flags, `is None`, `needs_input_grad`."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping
from typing import Any

from gradninja.lines.scope import value_of

SAFE = ("len", "isinstance", "any", "all", "bool", "int", "float", "abs", "min", "max")
NAME = ast.Name("_", ast.Load())
UNSAFE = (ast.Attribute, ast.Lambda, ast.Await, ast.NamedExpr, ast.Yield)


class A:
    """Stands for a tensor, of which only is known that it is there."""


def answer(test: ast.expr, known: Mapping[str, Any]) -> bool | None:
    """What a test comes to; None where that depends on what is not known.

    `known`: plain values by name, `A()` for a tensor.
    """
    if isinstance(test, ast.BoolOp):
        parts = [answer(part, known) for part in test.values]
        decisive = isinstance(test.op, ast.Or)
        if decisive in parts:
            return decisive
        return None if None in parts else not decisive
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = answer(test.operand, known)
        return None if inner is None else not inner
    alone = isinstance(test, ast.Compare) and all(
        isinstance(o, ast.Is | ast.IsNot) for o in test.ops
    )
    for node in ast.walk(test):
        if isinstance(node, ast.Name) and node.id not in SAFE:
            if node.id not in known or (isinstance(known[node.id], A) and not alone):
                return None
        elif isinstance(node, UNSAFE) or not isinstance(getattr(node, "func", NAME), ast.Name):
            return None
    scope = {name: getattr(builtins, name) for name in SAFE}
    try:
        return bool(value_of(test, {"__builtins__": {}, **scope, **known}))
    except Exception:  # of the person's own types
        return None
