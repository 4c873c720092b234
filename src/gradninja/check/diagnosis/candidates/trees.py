"""Small pieces of new syntax."""

from __future__ import annotations

import ast
from collections.abc import Callable


def name(text: str) -> ast.Name:
    return ast.Name(text, ast.Load())


def expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def number(value: float) -> ast.expr:
    if value < 0:
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    return ast.Constant(value)


def method(owner: ast.expr, what: str, *args: ast.expr, **keywords: ast.expr) -> ast.Call:
    return ast.Call(
        ast.Attribute(owner, what, ast.Load()),
        list(args),
        [ast.keyword(key, value) for key, value in keywords.items()],
    )


def binary(left: ast.expr, op: ast.operator, right: ast.expr) -> ast.BinOp:
    return ast.BinOp(left, op, right)


def negative(operand: ast.expr) -> ast.UnaryOp:
    return ast.UnaryOp(ast.USub(), operand)


def positive(operand: ast.expr) -> ast.Compare:
    """`v > 0`."""
    return ast.Compare(operand, [ast.Gt()], [ast.Constant(0)])


def leading(put: Callable[[ast.expr], ast.expr], product: ast.expr) -> ast.expr:
    """`put` done to the first factor of a product: `-a * b` and not `-(a * b)`."""
    if isinstance(product, ast.BinOp) and isinstance(product.op, ast.Mult | ast.Div):
        return ast.BinOp(leading(put, product.left), product.op, product.right)
    return put(product)


def times(factor: ast.expr, product: ast.expr) -> ast.expr:
    """The product with one more factor in front."""
    return leading(lambda first: binary(factor, ast.Mult(), first), product)


def axes(dims: tuple[int, ...]) -> ast.expr:
    """`0`, or `(0, 2)`."""
    if len(dims) == 1:
        return number(dims[0])
    return ast.Tuple([number(dim) for dim in dims], ast.Load())


def assign(target: str, value: ast.expr) -> ast.Assign:
    return ast.Assign([ast.Name(target, ast.Store())], value)


def add_to(target: str, value: ast.expr) -> ast.AugAssign:
    return ast.AugAssign(ast.Name(target, ast.Store()), ast.Add(), value)


def number_of(node: ast.AST) -> float | None:
    """The number that a literal, or minus a literal, stands for."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = number_of(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value  # type: ignore[return-value]
    return None
