"""Writing through a view: `torch.diagonal(c).add_(1)` changes c, so it makes a new version of c.

Each view has an operation that puts its elements back where they came from.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from gradninja.lines import fence
from gradninja.lines.plain import literal
from gradninja.lines.program import STATIC, Expr
from gradninja.lines.reading.calls.arguments import apply, method_on
from gradninja.lines.reading.in_place.parts import parts_of, put_part
from gradninja.lines.reading.state import Reading
from gradninja.lines.reading.values import elements_of, static_operation

# Views of the same elements in another shape, and such of which the same one goes back.
SHAPES = frozenset(
    "view reshape flatten ravel unsqueeze squeeze unflatten view_as reshape_as".split()
)


SWAPS = frozenset("transpose swapaxes swapdims t T mT".split())


def beneath(reading: Reading, node: ast.AST, view: Expr, value: Expr) -> Expr | None:
    """What the operand of a view becomes where the view becomes `value`; None if not known."""
    base = view.args[0] if view.args else None
    if base is None or not base.is_tensor:
        return None
    name = view.op.rpartition(".")[2]
    if name == "detach":
        return unseen(reading, node, base, value)
    if name == "[]":
        parts = parts_of(base, _indices(reading, node, view.args[1]))
        return None if parts is None else put_part(reading, node, base, parts, value)
    if name in SHAPES:
        return method_on(reading, node, "reshape_as", value, base)
    if name in SWAPS and view.op.startswith("."):
        swapped = ast.Attribute(value.syntax, name, ast.Load())
        return reading.operation(node, view.op, (value,), swapped, lambda t: getattr(t, name))
    if name == "narrow" and len(view.args) == 4:
        dim, start, length = view.args[1:]
        end = static_operation(
            reading,
            node,
            operator.add,
            (start, length),
            ast.BinOp(start.syntax, ast.Add(), length.syntax),
        )
        return method_on(reading, node, "slice_scatter", base, value, dim, start, end)
    if name in SWAPS or name in {"diagonal", "select"}:
        scatter = name if name in SWAPS else f"{name}_scatter"
        owner, more = (value, ()) if name in SWAPS else (base, (value,))
        attribute = ast.Attribute(owner.syntax, scatter, ast.Load())
        run = getattr(torch.Tensor, scatter)
        args = [*more, *view.args[1:]]
        return apply(reading, node, f"Tensor.{scatter}", attribute, run, args, view.kwargs, owner)
    if name == "permute" and all(e.op == STATIC for e in view.args[1:]):
        given = [e.value for e in view.args[1:]]
        order = list(given[0]) if isinstance(given[0], tuple | list) else given
        order = [axis % len(order) for axis in order]
        back = [order.index(axis) for axis in range(len(order))]
        axes = [reading.static(node, axis, literal(axis)) for axis in back]
        return method_on(reading, node, "permute", value, *axes)
    return None


def unseen(reading: Reading, node: ast.AST, base: Expr, value: Expr) -> Expr:
    """`base` with other values, which its gradient does not know of: `base.data = value`."""
    if not base.differentiable:
        return value
    change = reading.operation(
        node, "-", (value, base), ast.BinOp(value.syntax, ast.Sub(), base.syntax), operator.sub
    )
    change = method_on(reading, node, "detach", change)
    syntax = ast.BinOp(base.syntax, ast.Add(), change.syntax)
    return reading.operation(node, "+", (base, change), syntax, operator.add)


def _indices(reading: Reading, node: ast.AST, index: Expr) -> list[Expr]:
    """The parts of an index, each in its own words."""
    if not isinstance(index.value, tuple):
        return [index]
    found = elements_of(reading, node, index)
    if not isinstance(index.syntax, ast.Tuple):
        return found
    said = index.syntax.elts
    return [replace(part, syntax=own) for part, own in zip(found, said, strict=True)]


def seen_again(reading: Reading, node: ast.AST, view: Expr, base: Expr) -> Expr:
    """The same view of another tensor."""
    syntax = _Swapped(view.args[0].syntax, base.syntax).visit(view.syntax)
    args = (base, *view.args[1:])
    return reading.operation(node, view.op, args, syntax, _run(view.op), view.kwargs)


def _run(op: str) -> Callable[..., Any]:
    if op == "[]":
        return operator.getitem
    if op.startswith("."):
        return operator.attrgetter(op[1:])
    found: Callable[..., Any] = fence.find(op)
    return found


class _Swapped(ast.NodeTransformer):
    """One node of a tree, that very one, in another's place; trees are shared and not changed."""

    def __init__(self, old: ast.AST, new: ast.expr) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        if node is self.old:
            return self.new
        fields = {}
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                value = [self.visit(v) if isinstance(v, ast.AST) else v for v in value]
            fields[name] = self.visit(value) if isinstance(value, ast.AST) else value
        return type(node)(**fields)
