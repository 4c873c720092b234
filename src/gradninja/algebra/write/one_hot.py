"""A one-hot in an expression: what is left without it, and what it adds where its ones are."""

from __future__ import annotations

import ast
from dataclasses import dataclass

CASTS = ("to", "float", "double", "type_as")


@dataclass(frozen=True)
class Hot:
    """`rest + amount * one_hot(index)`. `rest` is None for 0, `amount` None for 1.

    `negative`: the amount is taken off. `scales`: what the whole is multiplied and divided by,
    where nothing but 1 was added or taken off before that: `(probs - one_hot) / n`.
    """

    index: ast.expr
    rest: ast.expr | None = None
    amount: ast.expr | None = None
    negative: bool = False
    inner: ast.expr | None = None
    scales: tuple[tuple[ast.operator, ast.expr], ...] = ()


def hot_in(tree: ast.expr) -> Hot | None:
    """The one term with a one-hot of an expression; None where there is none, or several."""
    hots = [node for node in ast.walk(tree) if _is_hot(node)]
    return _found(tree) if len(hots) == 1 else None


def _is_hot(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "F.one_hot"


def _found(tree: ast.expr) -> Hot | None:
    if isinstance(tree, ast.Call):
        if _is_hot(tree):
            return Hot(_plain(tree.args[0]))
        cast = isinstance(tree.func, ast.Attribute) and tree.func.attr in CASTS
        return _found(tree.func.value) if cast else None  # type: ignore[attr-defined]
    if not isinstance(tree, ast.BinOp):
        return None
    left, operator, right = tree.left, tree.op, tree.right
    first = _found(left)
    found = first or _found(right)
    if found is None:
        return None
    if isinstance(operator, ast.Add | ast.Sub):
        return _added(found, operator, left, right, bool(first))
    if isinstance(operator, ast.Mult | ast.Div) and (first or isinstance(operator, ast.Mult)):
        return _scaled(found, operator, right if first else left, bool(first))
    return None


def _plain(index: ast.expr) -> ast.expr:
    """`Yb` of `Yb % classes`: where it picks, a negative index needs no help."""
    modulo = isinstance(index, ast.BinOp) and isinstance(index.op, ast.Mod)
    return index.left if modulo else index  # type: ignore[attr-defined]


def _added(found: Hot, operator: ast.operator, left: ast.expr, right: ast.expr, first: bool) -> Hot:
    """`found + right`, `found - right`, `left + found` or `left - found`."""
    less = isinstance(operator, ast.Sub)
    rest: ast.expr
    if first and found.rest is None:
        rest = ast.UnaryOp(ast.USub(), right) if less else right
    elif first:
        assert found.rest is not None
        rest = ast.BinOp(found.rest, operator, right)
    else:
        rest = left if found.rest is None else ast.BinOp(left, operator, found.rest)
    negative = found.negative != (less and not first)
    bare = found.rest is None and found.amount is None and not found.scales
    return Hot(found.index, rest, found.amount, negative, rest if bare else None)


def _scaled(found: Hot, operator: ast.operator, scale: ast.expr, first: bool) -> Hot:
    """`found * scale`, `found / scale` or `scale * found`."""

    def of(tree: ast.expr) -> ast.expr:
        return ast.BinOp(tree, operator, scale) if first else ast.BinOp(scale, operator, tree)

    rest = None if found.rest is None else of(found.rest)
    amount = found.amount or (ast.Constant(1) if isinstance(operator, ast.Div) else None)
    scales = (*found.scales, (operator, scale))
    return Hot(
        found.index,
        rest,
        scale if amount is None else of(amount),
        found.negative,
        found.inner,
        scales,
    )
