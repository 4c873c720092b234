"""The lecture's form of cross-entropy: take 1 off in place where the right class is."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import replace

from gradninja.derive.statement import Statement, is_view


def in_place(statements: Iterable[Statement]) -> Iterator[Statement]:
    """`dlogits = (probs - F.one_hot(Yb, c)) / n` as three lines that make no one-hot.

    dlogits = F.softmax(logits, 1)
    dlogits[range(n), Yb] -= 1
    dlogits /= n
    """
    for statement in statements:
        parts = None if statement.value is None or statement.adds else _parts(statement.value)
        if parts is None:
            yield statement
            continue
        whole, index, divisors = parts
        target = ast.Name(statement.target, ast.Load())
        yield replace(statement, value=whole, clone=is_view(whole))
        rows = ast.parse(f"range({statement.target}.shape[0])", mode="eval").body
        picked = ast.Subscript(target, ast.Tuple([rows, index], ast.Load()), ast.Store())
        less = ast.AugAssign(picked, ast.Sub(), ast.Constant(1))
        yield replace(statement, value=None, scatter=less, adds=True)
        for divisor in divisors:
            store = ast.Name(statement.target, ast.Store())
            shorter = ast.AugAssign(store, ast.Div(), divisor)
            yield replace(statement, value=None, scatter=shorter, adds=True)


def _parts(value: ast.expr) -> tuple[ast.expr, ast.expr, list[ast.expr]] | None:
    """What 1 is taken off, the index of where, and what it is divided by."""
    divisors = []
    while isinstance(value, ast.BinOp) and isinstance(value.op, ast.Div):
        divisors.append(value.right)
        value = value.left
    if not (isinstance(value, ast.BinOp) and isinstance(value.op, ast.Sub)):
        return None
    hot = value.right
    if not (isinstance(hot, ast.Call) and ast.unparse(hot.func) == "F.one_hot"):
        return None
    return value.left, hot.args[0], divisors
