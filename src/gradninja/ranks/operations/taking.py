"""An expression or statement as one operation on operands: a text with places to put them in."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gradninja.derive.template import rebuild
from gradninja.lines.scope import run, value_of

TARGET = "_into"  # the tensor that a statement writes into
STRUCTURE = (ast.Tuple, ast.List, ast.Starred, ast.Slice, ast.keyword)


@dataclass(frozen=True, eq=False)
class Operation:
    """`syntax` with names `_0`, `_1`, ... where `operands` stand.

    An expression gives its value; a statement that of the tensor that it writes into.
    """

    syntax: ast.expr | ast.stmt
    operands: tuple[ast.expr, ...]

    @cached_property
    def text(self) -> str:
        return ast.unparse(self.syntax)

    def run(self, values: Sequence[Any], scope: Mapping[str, Any], into: Any = None) -> Any:
        """The result on values of the operands."""
        names = {f"_{at}": value for at, value in enumerate(values)}
        if isinstance(self.syntax, ast.expr):
            return value_of(self.text, {**scope, **names})
        names = {**scope, **names, TARGET: into.clone()}
        run([self.text], names)
        return names[TARGET]

    def filled(self, operands: Sequence[ast.expr], into: str = "") -> Any:
        """The syntax with operands' syntax in their places."""
        names: dict[str, ast.expr] = {f"_{at}": syntax for at, syntax in enumerate(operands)}
        if into:
            names[TARGET] = ast.Name(into, ast.Load())

        def replacement(node: ast.AST) -> ast.AST | None:
            return names.get(node.id) if isinstance(node, ast.Name) else None

        return rebuild(self.syntax, replacement)


class Taker:
    """Takes an expression apart into its outermost operation and that one's operands."""

    def __init__(self, known: Callable[[str], bool]) -> None:
        self.known = known  # whether a name is a value, and not a library's
        self.operands: list[ast.expr] = []

    def has_values(self, node: ast.AST) -> bool:
        return any(isinstance(n, ast.Name) and self.known(n.id) for n in ast.walk(node))

    def take(self, node: ast.AST) -> Any:
        """A place for an operand; what only holds operands together is gone into."""
        if not self.has_values(node):
            return node
        if isinstance(node, STRUCTURE):
            return self.children(node)
        assert isinstance(node, ast.expr)
        self.operands.append(node)
        return ast.Name(f"_{len(self.operands) - 1}", ast.Load())

    def children(self, node: ast.AST) -> Any:
        """The node with a place for each child that is an operand."""
        fields: dict[str, Any] = {}
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                fields[name] = [self.take(v) if _holds(v) else v for v in value]
            else:
                fields[name] = self.take(value) if _holds(value) else value
        return type(node)(**fields)

    def expression(self, node: ast.expr) -> Operation:
        """The outermost operation of an expression."""
        if isinstance(node, ast.Call):
            func: ast.expr = node.func
            if isinstance(func, ast.Attribute) and self.has_values(func):
                func = ast.Attribute(self.take(func.value), func.attr, ast.Load())
            args = [self.take(arg) for arg in node.args]
            keywords = [self.take(keyword) for keyword in node.keywords]
            return Operation(ast.Call(func, args, keywords), tuple(self.operands))
        simple = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.Subscript, ast.Attribute)
        if isinstance(node, (*simple, *STRUCTURE)):
            return Operation(self.children(node), tuple(self.operands))
        return Operation(self._names(node), tuple(self.operands))

    def statement(self, node: ast.stmt, target: str) -> Operation:
        """A statement that writes into the tensor `target`."""
        into = ast.Name(TARGET, ast.Load())

        def chain(part: ast.expr) -> Any:
            """What hands out a view of the target; the arguments on the way are operands."""
            if isinstance(part, ast.Name) and part.id == target:
                return into
            if isinstance(part, ast.Attribute):
                return ast.Attribute(chain(part.value), part.attr, ast.Load())
            if isinstance(part, ast.Subscript):
                return ast.Subscript(chain(part.value), self.take(part.slice), part.ctx)
            assert isinstance(part, ast.Call)
            args = [self.take(arg) for arg in part.args]
            keywords = [self.take(keyword) for keyword in part.keywords]
            return ast.Call(chain(part.func), args, keywords)

        if isinstance(node, ast.AugAssign):
            written: ast.stmt = ast.AugAssign(chain(node.target), node.op, self.take(node.value))
        elif isinstance(node, ast.Assign):
            written = ast.Assign([chain(node.targets[0])], self.take(node.value), lineno=0)
        else:
            assert isinstance(node, ast.Expr)
            written = ast.Expr(chain(node.value))
        return Operation(written, tuple(self.operands))

    def _names(self, node: ast.AST) -> Any:
        """A form that is not gone into (a comprehension, a conditional): its names are operands."""

        def replacement(part: ast.AST) -> ast.AST | None:
            if isinstance(part, ast.Name) and self.known(part.id):
                place: ast.AST = self.take(part)
                return place
            return None

        return rebuild(node, replacement)


def _holds(value: Any) -> bool:
    return isinstance(value, ast.expr | ast.keyword)


def target_of(node: ast.stmt) -> str:
    """The name of the tensor that a statement writes into; empty where it binds names."""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
        return _root(node.targets[0])
    if isinstance(node, ast.AugAssign):
        return _root(node.target)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return _root(node.value)
    return ""


def _root(node: ast.expr) -> str:
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            return ""
    return node.id
