"""Making syntax."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradninja.lines.operators import BINARY, COMPARE

SIGNS: dict[str, type[ast.AST]] = {
    **{sign: node for node, (sign, _) in BINARY.items()},
    **{sign: node for node, (sign, _) in COMPARE.items()},
}


def integer(value: int) -> ast.expr:
    return ast.Constant(value) if value >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-value))


def path_of(path: str) -> ast.expr:
    found = ast.parse(path, mode="eval").body
    for part in ast.walk(found):
        for name in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
            part.__dict__.pop(name, None)
    return found


def call_of(path: str, args: list[ast.expr], keywords: list[ast.keyword] | None = None) -> ast.Call:
    return ast.Call(path_of(path), args, keywords or [])


def method_of(
    owner: ast.expr,
    name: str,
    args: Sequence[ast.expr] = (),
    keywords: list[ast.keyword] | None = None,
) -> ast.Call:
    return ast.Call(ast.Attribute(owner, name, ast.Load()), list(args), keywords or [])


def operator_of(sign: str, left: ast.expr, right: ast.expr) -> ast.expr:
    node = SIGNS[sign]
    if issubclass(node, ast.cmpop):
        return ast.Compare(left, [node()], [right])
    assert issubclass(node, ast.operator)
    return ast.BinOp(left, node(), right)


def is_several(node: ast.expr) -> bool:
    return isinstance(node, ast.Tuple | ast.List)


def is_backwards(part: ast.expr) -> bool:
    """Whether a slice is `::-1`."""
    step = part.step if isinstance(part, ast.Slice) and not (part.lower or part.upper) else None
    return step is not None and ast.unparse(step) == "-1"


def is_whole(part: ast.expr) -> bool:
    return isinstance(part, ast.Slice) and not (part.lower or part.upper or part.step)


def is_none(keyword: ast.keyword) -> bool:
    return isinstance(keyword.value, ast.Constant) and keyword.value.value is None


def truths_in(function: ast.FunctionDef) -> set[str]:
    """The names of a function that are bound to comparisons alone."""
    bound = [part for part in ast.walk(function) if isinstance(part, ast.Assign)]
    pairs = [(t.id, part.value) for part in bound for t in part.targets if isinstance(t, ast.Name)]
    return {n for n, _ in pairs if all(is_truth(v, set()) for name, v in pairs if name == n)}


def is_truth(node: ast.expr, names: set[str]) -> bool:
    """Whether an expression is a comparison, or several joined."""
    match node:
        case ast.Name(id=name):
            return name in names
        case ast.UnaryOp(op=ast.Invert(), operand=part):
            return is_truth(part, names)
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr() | ast.BitXor(), left=left, right=right):
            return is_truth(left, names) and is_truth(right, names)
    return isinstance(node, ast.Compare)


def subtracted(node: ast.AST, names: set[str]) -> ast.AST:
    """`p - (j == y)`: a truth is the number 1 beside numbers, which torch does not take it for."""

    def counted(part: ast.expr) -> ast.expr:
        return operator_of("*", integer(1), part) if is_truth(part, names) else part

    match node:
        case ast.BinOp(op=ast.Sub(), left=left, right=right):
            if not (is_truth(left, names) and is_truth(right, names)):  # NumPy takes no two
                node.left, node.right = counted(left), counted(right)
        case ast.AugAssign(op=ast.Sub(), value=value):
            node.value = counted(value)
    return node
