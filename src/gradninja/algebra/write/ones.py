"""A gradient that is the number 1 is left out of products, in lines as deriving has them."""

from __future__ import annotations

import ast
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from gradninja.derive.statement import Statement
from gradninja.derive.template import rebuild
from gradninja.lines.scope import value_of


def without_ones(
    statements: Sequence[Statement], values: Mapping[str, Any], wanted: Container[str]
) -> tuple[Statement, ...]:
    """The statements without factors `dy` for `dy = torch.full_like(y, 1)` of a number y.

    `values`: all that the statements may name. What would change a value, or its dtype, stays, and
    so do the gradients that are `wanted`.
    """
    found = list(statements)
    for one in [s for s in statements if _is_one(s) and s.of not in wanted]:
        scope = {**values, one.target: torch.ones((), dtype=values[one.of].dtype)}
        swapped = [s if s is one else _without(s, one.target, scope) for s in found]
        if not any(_names(s, one.target) for s in swapped if s is not one):
            found = [s for s in swapped if s is not one]
    return tuple(found)


def _is_one(statement: Statement) -> bool:
    value = statement.value
    if not isinstance(value, ast.Call) or statement.shape or statement.adds:
        return False
    return ast.unparse(value) in {
        f"torch.full_like({statement.of}, 1)",
        f"torch.ones_like({statement.of})",
    }


def _names(statement: Statement, name: str) -> bool:
    return any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(statement.tree()))


def _without(statement: Statement, name: str, scope: Mapping[str, Any]) -> Statement:
    """A statement whose products lose the factor, where their values stay what they are."""

    def other(node: ast.AST) -> ast.AST | None:
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mult):
            return None
        sides = [(node.left, node.right), (node.right, node.left)]
        kept = [a for a, b in sides if isinstance(b, ast.Name) and b.id == name]
        if not kept or not _same(kept[0], node, scope):
            return None
        return rebuild(kept[0], other)

    if statement.value is None or not _names(statement, name):
        return statement
    return replace(statement, value=rebuild(statement.value, other))


def _same(a: ast.expr, b: ast.expr, scope: Mapping[str, Any]) -> bool:
    first, second = (value_of(tree, dict(scope)) for tree in (a, b))
    tensors = isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor)
    return tensors and first.dtype == second.dtype and torch.equal(first, second)
