"""From a row's text to the syntax and the value of one gradient.

Syntax trees are put in for names, never strings for strings: parentheses are then right by
construction. The same text, with values in place of names, gives the gradient's value, and with
it the shape and dtype that the next step can rely on.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import torch

from gradninja.lines.scope import LIBRARY, run, value_of
from gradninja.rules import Site

# Where an argument stands only for its shape, any tensor of that shape may be printed for it.
SHAPE_ATTRIBUTES = frozenset({"shape", "numel", "ndim", "size", "dim"})
SHAPE_CALLS = frozenset({"expand_as", "view_as", "reshape_as"})
# ... and here for its dtype as well.
TYPE_ATTRIBUTES = frozenset({"dtype"})
TYPE_CALLS = frozenset({"zeros_like", "ones_like", "full_like", "empty_like", "type_as"})

Node = TypeVar("Node", bound=ast.AST)


@dataclass(frozen=True)
class Gradient:
    """A gradient: how it is written, and what it is on the values that were read."""

    syntax: ast.expr
    value: torch.Tensor

    @property
    def is_name(self) -> bool:
        return isinstance(self.syntax, ast.Name)


def is_statement(text: str) -> bool:
    """Whether a row's text adds into the gradient so far instead of giving one."""
    return text.startswith(("d[", "d."))


def is_passing(tree: ast.stmt) -> bool:
    """Whether a row hands the cotangent on as it is."""
    return isinstance(tree, ast.Expr) and isinstance(tree.value, ast.Name) and tree.value.id == "g"


@lru_cache(maxsize=4096)
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def expand_macros(site: Site, text: str) -> ast.stmt:
    """The text as syntax, `keep(t)` and `count(a)` written out."""
    tree = _parsed(text).body[0]
    if "keep(" not in text and "count(" not in text:
        return tree

    def written_out(node: ast.AST) -> ast.AST | None:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            return None
        macro = {"keep": site.keep, "count": site.count}.get(node.func.id)
        if macro is None:
            return None
        inner = rebuild(node.args[0], written_out)
        form = ast.parse(macro("_"), mode="eval").body
        written: ast.AST = substitute(form, {"_": lambda: inner})
        return written

    return rebuild(tree, written_out)


def rebuild(node: Node, replacement: Callable[[ast.AST], ast.AST | None]) -> Node:
    """A tree in which some nodes are replaced; trees are shared and never changed.

    What has nothing replaced in it stays the same object: an `Expr` knows its part by that.
    """
    found = replacement(node)
    if found is not None:
        return found  # type: ignore[return-value]
    fields: dict[str, Any] = {}
    for name, value in ast.iter_fields(node):
        if isinstance(value, ast.AST):
            fields[name] = rebuild(value, replacement)
        elif isinstance(value, list):
            items = [
                rebuild(item, replacement) if isinstance(item, ast.AST) else item for item in value
            ]
            same = all(new is old for new, old in zip(items, value, strict=True))
            fields[name] = value if same else items
        else:
            fields[name] = value
    if all(fields[name] is value for name, value in ast.iter_fields(node)):
        return node
    new = type(node)(**fields)
    # A statement without a line cannot be written.
    return ast.copy_location(new, node) if isinstance(node, ast.stmt) else new


Names = Mapping[str, Callable[[], ast.expr]]
Shapes = Mapping[str, Callable[[bool], ast.expr]]


def substitute(tree: ast.AST, names: Names, shapes: Shapes | None = None) -> Any:
    """Put syntax in for names, and for elements of lists such as `tensors[0]`.

    `shapes` gives the syntax where a name stands only for its shape, or for its shape and dtype.
    """
    shapes = shapes or {}

    def shape_of(node: ast.AST, typed: bool) -> ast.expr | None:
        found = shapes.get(_key(node))
        return None if found is None else found(typed)

    def replacement(node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.Attribute) and node.attr in SHAPE_ATTRIBUTES | TYPE_ATTRIBUTES:
            like = shape_of(node.value, node.attr in TYPE_ATTRIBUTES)
            if like is not None:
                return ast.Attribute(like, node.attr, ast.Load())
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in SHAPE_CALLS | TYPE_CALLS
            and node.args
        ):
            like = shape_of(node.args[-1], node.func.attr in TYPE_CALLS)
            if like is not None:
                func = rebuild(node.func, replacement)
                before = [rebuild(arg, replacement) for arg in node.args[:-1]]
                keywords = [rebuild(keyword, replacement) for keyword in node.keywords]
                return ast.Call(func, [*before, like], keywords)
        found = names.get(_key(node))
        return None if found is None else found()

    return rebuild(tree, replacement)


def _key(node: ast.AST) -> str:
    """`a`, or `tensors[0]`; nothing for what no name can stand for."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        return ast.unparse(node)
    return ""


def evaluate(tree: ast.stmt, values: Mapping[str, Any]) -> torch.Tensor:
    """A text's value, where names stand for values."""
    found = value_of(ast.unparse(tree), {**LIBRARY, **values})
    return found if isinstance(found, torch.Tensor) else torch.as_tensor(found)


def execute(tree: ast.stmt, values: Mapping[str, Any], into: torch.Tensor) -> torch.Tensor:
    """The value of `into` after a statement that adds into it."""
    scope = {**LIBRARY, **values, "d": into}
    run([ast.unparse(tree)], scope)
    return into


def complex_in(site: Site) -> dict[str, str]:
    """The names of a row's text that stand for complex values, and what conjugates each.

    None where the text holds as it is.
    """
    if "z" in site.bound:
        return {}
    values = {"y": site.y, **{name: operand.value for name, operand in site.bound.items()}}
    return {
        name: "conjugate" if isinstance(value, complex) else "conj"
        for name, value in values.items()
        if _is_complex(value)
    }


def _is_complex(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_is_complex(part) for part in value)
    return value.is_complex() if isinstance(value, torch.Tensor) else isinstance(value, complex)


def conjugated(names: Mapping[str, str], tree: Node) -> Node:
    """The text for complex values: a derivative is conjugated, and so is all that it is made of."""
    if not names:
        return tree

    def replacement(node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.Attribute) and node.attr in SHAPE_ATTRIBUTES | TYPE_ATTRIBUTES:
            return node
        func = node.func if isinstance(node, ast.Call) else None
        method = func.attr if isinstance(func, ast.Attribute) else ""
        if method in SHAPE_CALLS | TYPE_CALLS and isinstance(node, ast.Call):
            return ast.Call(rebuild(node.func, replacement), node.args, node.keywords)
        name = _key(node).partition("[")[0]
        if name in names and isinstance(node, ast.expr):
            return ast.Call(ast.Attribute(node, names[name], ast.Load()), [], [])
        return None

    return rebuild(tree, replacement)


def uses(tree: ast.AST, name: str) -> int:
    """How often a name stands in a tree."""
    return sum(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))
