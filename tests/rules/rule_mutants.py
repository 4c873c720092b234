"""A row's text changed in one place, as a slip would change it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from copy import copy

MODULES = {"torch", "F", "math"}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Gt: (ast.Lt, ast.GtE),
    ast.Lt: (ast.Gt, ast.LtE),
    ast.GtE: (ast.LtE, ast.Gt),
    ast.LtE: (ast.GtE, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
}
FUNCTIONS = {"sin": "cos", "cos": "sin", "sinh": "cosh", "cosh": "sinh", "tril": "triu"}
FUNCTIONS |= {"triu": "tril", "fliplr": "flipud", "flipud": "fliplr", "zeros_like": "ones_like"}
FUNCTIONS |= {"floor": "trunc", "trunc": "floor"}


def mutants(text: str, tensors: Iterable[str], axes: Iterable[str]) -> Iterator[str]:
    """Every text that one slip makes of this one.

    `tensors` are the names that stand for tensors here, which may be mistaken for each other;
    `axes` those that stand for an int, which may be another.
    """
    tree = ast.parse(text).body[0]
    tensors, axes = sorted(tensors), frozenset(axes)
    found = {ast.unparse(tree)}
    # PyTorch's own kernels do not check what they are given: no slips in their arguments.
    inside = [] if "torch.ops" in text else [*_swapped(tree, tensors), *_parts(tree, axes)]
    for mutant in [*_whole(tree), *inside]:
        written = ast.unparse(mutant)
        if written not in found:
            found.add(written)
            yield written


def _whole(tree: ast.stmt) -> Iterator[ast.AST]:
    """The wrong sign, and twice as much."""
    for change in ("-_", "2 * _"):
        if isinstance(tree, ast.Expr) and not _adds(tree):
            yield ast.Expr(_put(change, tree.value))
        else:
            yield _Rename({}, change).visit(_copied(tree))


def _adds(tree: ast.stmt) -> bool:
    return ast.unparse(tree).startswith(("d[", "d."))


def _swapped(tree: ast.stmt, tensors: list[str]) -> Iterator[ast.AST]:
    """Two tensors mistaken for each other, and one taken for another."""
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for one in tensors:
        for other in tensors:
            if one != other and one in used:
                yield _Rename({one: other}).visit(_copied(tree))
            if one < other and {one, other} <= used:
                yield _Rename({one: other, other: one}).visit(_copied(tree))


def _parts(node: ast.AST, axes: frozenset[str]) -> Iterator[ast.AST]:
    """The tree with one node of it changed."""
    yield from _changed(node, axes)
    for name, value in ast.iter_fields(node):
        if isinstance(value, ast.AST):
            for new in _parts(value, axes):
                yield _with(node, name, new)
        elif isinstance(value, list):
            for i, item in enumerate(value):
                if isinstance(item, ast.AST):
                    for new in _parts(item, axes):
                        yield _with(node, name, [*value[:i], new, *value[i + 1 :]])


def _changed(node: ast.AST, axes: frozenset[str]) -> Iterator[ast.AST]:
    match node:
        case ast.BinOp():
            yield node.left
            yield node.right
            if not isinstance(node.op, ast.Add | ast.Mult):
                yield ast.BinOp(node.right, node.op, node.left)
            if type(node.op) in OPERATORS:
                yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
        case ast.UnaryOp():
            yield node.operand
        case ast.Compare(ops=[op]):
            for other in COMPARISONS.get(type(op), ()):
                yield ast.Compare(node.left, [other()], node.comparators)
        case ast.Constant():
            if isinstance(node.value, bool):
                yield ast.Constant(not node.value)
            elif isinstance(node.value, int):
                yield ast.Constant(node.value + 1)
            elif isinstance(node.value, float):
                yield ast.Constant(node.value * 1.5)
            elif node.value in FUNCTIONS:
                yield ast.Constant(FUNCTIONS[node.value])
        case ast.Name() if node.id in axes:
            yield _put("_ + 1", node)
        case ast.Attribute(attr="T" | "mT"):
            yield node.value
        case ast.AugAssign():
            yield ast.AugAssign(node.target, ast.Sub(), node.value)
        case ast.Call():
            yield from _changed_call(node)


def _changed_call(node: ast.Call) -> Iterator[ast.AST]:
    """The call left out, its first two arguments swapped, another function, an argument lost."""
    func = node.func
    module = isinstance(func, ast.Attribute) and ast.unparse(func).split(".")[0] in MODULES
    if isinstance(func, ast.Attribute) and not module:
        yield func.value
    elif node.args:
        yield node.args[0]
    for i in range(len(node.args) - 1):
        first, second = node.args[i : i + 2]
        yield ast.Call(func, [*node.args[:i], second, first, *node.args[i + 2 :]], node.keywords)
    if isinstance(func, ast.Attribute) and func.attr in FUNCTIONS:
        other = ast.Attribute(func.value, FUNCTIONS[func.attr], ast.Load())
        yield ast.Call(other, node.args, node.keywords)
    for i in range(len(node.keywords)):
        yield ast.Call(func, node.args, node.keywords[:i] + node.keywords[i + 1 :])


def _put(text: str, inner: ast.expr) -> ast.expr:
    """`-_` with a tree in place of `_`."""
    form = ast.parse(text, mode="eval").body
    return _Place(inner).visit(form)


def _with(node: ast.AST, name: str, value: object) -> ast.AST:
    changed = copy(node)
    setattr(changed, name, value)
    return changed


def _copied(tree: ast.stmt) -> ast.stmt:
    return ast.parse(ast.unparse(tree)).body[0]


class _Place(ast.NodeTransformer):
    def __init__(self, inner: ast.expr) -> None:
        self.inner = inner

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.inner if node.id == "_" else node


class _Rename(ast.NodeTransformer):
    """Other names for names; `change` is done to every cotangent."""

    def __init__(self, names: dict[str, str], change: str = "") -> None:
        self.names = names
        self.change = change

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if self.change and node.id in {"g", "g0", "g1", "gs"}:
            return _put(self.change, ast.Name(node.id, ast.Load()))
        return ast.Name(self.names.get(node.id, node.id), node.ctx)
