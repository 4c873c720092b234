"""Writing through a view: `torch.diagonal(c).add_(1)` changes c, so it makes a new version of c.

Each view has an operation that puts its elements back where they came from.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from gradninja.lines import fence
from gradninja.lines.plain import literal
from gradninja.lines.program import NAME, STATIC, TUPLE, Expr
from gradninja.lines.reading.building import Builder
from gradninja.lines.reading.containers import Containers

MOST_COMPARED = 1_000_000  # elements of a memory in which two views are held against each other
# Views of the same elements in another shape, and such of which the same one goes back.
SHAPES = frozenset(
    "view reshape flatten ravel unsqueeze squeeze unflatten view_as reshape_as".split()
)
SWAPS = frozenset("transpose swapaxes swapdims t T mT".split())


@dataclass(frozen=True)
class Part:
    """What stands for one axis: an int, a slice, a mask or positions."""

    dim: int
    index: Expr

    def lowered(self, by: int) -> Part:
        """The same where an axis before it was taken out."""
        return replace(self, dim=self.dim - 1) if self.dim > by else self

    def at(self, builder: Builder) -> Expr:
        """The index that takes this part of the whole: `[:, :, 1:3]`."""
        every: list[ast.expr] = [ast.Slice() for _ in range(self.dim)]
        syntax = ast.Tuple([*every, self.index.syntax], ast.Load()) if every else self.index.syntax
        value = (*(slice(None) for _ in every), self.index.value)
        return replace(self.index, op=STATIC, syntax=syntax, value=value if every else value[0])


def parts_of(owner: Expr, indices: Sequence[Expr]) -> list[Part] | None:
    """The parts of an index into a tensor; None where an axis is new, or an index is a list."""
    taken = sum(_axes(index) for index in indices)
    found, dim = [], 0
    for index in indices:
        value = index.value
        if value is Ellipsis:
            dim += owner.value.ndim - taken
            continue
        tensor = isinstance(value, torch.Tensor)
        if not (tensor or isinstance(value, slice) or type(value) is int):
            return None
        if not (isinstance(value, slice) and value == slice(None)):
            found.append(Part(dim, index))
        dim += _axes(index)
    return found


def _axes(index: Expr) -> int:
    value = index.value
    if value is Ellipsis:
        return 0
    mask = isinstance(value, torch.Tensor) and value.dtype == torch.bool
    return int(value.ndim) if mask else 1


class Through(Containers):
    """What lies beneath a view, and the view of its new version."""

    def put_part(self, node: ast.AST, owner: Expr, parts: list[Part], value: Expr) -> Expr:
        raise NotImplementedError

    def method_on(self, node: ast.AST, name: str, owner: Expr, *args: Expr) -> Expr:
        """A call of a tensor's method that the reader itself writes."""
        attribute = ast.Attribute(owner.syntax, name, ast.Load())
        run = getattr(torch.Tensor, name)
        return self._apply(node, f"Tensor.{name}", attribute, run, list(args), {}, owner)

    def beneath(self, node: ast.AST, view: Expr, value: Expr) -> Expr | None:
        """What the operand of a view becomes where the view becomes `value`; None if not known."""
        base = view.args[0] if view.args else None
        if base is None or not base.is_tensor:
            return None
        name = view.op.rpartition(".")[2]
        if name == "[]":
            parts = parts_of(base, self._indices(node, view.args[1]))
            return None if parts is None else self.put_part(node, base, parts, value)
        if name in SHAPES:
            return self.method_on(node, "reshape_as", value, base)
        if name in SWAPS and view.op.startswith("."):
            swapped = ast.Attribute(value.syntax, name, ast.Load())
            return self.operation(node, view.op, (value,), swapped, lambda t: getattr(t, name))
        if name == "narrow" and len(view.args) == 4:
            dim, start, length = view.args[1:]
            end = self._static_operation(
                node,
                operator.add,
                (start, length),
                ast.BinOp(start.syntax, ast.Add(), length.syntax),
            )
            return self.method_on(node, "slice_scatter", base, value, dim, start, end)
        if name in SWAPS or name in {"diagonal", "select"}:
            scatter = name if name in SWAPS else f"{name}_scatter"
            owner, more = (value, ()) if name in SWAPS else (base, (value,))
            attribute = ast.Attribute(owner.syntax, scatter, ast.Load())
            run = getattr(torch.Tensor, scatter)
            args = [*more, *view.args[1:]]
            return self._apply(node, f"Tensor.{scatter}", attribute, run, args, view.kwargs, owner)
        if name == "permute" and all(e.op == STATIC for e in view.args[1:]):
            given = [e.value for e in view.args[1:]]
            order = list(given[0]) if isinstance(given[0], tuple | list) else given
            order = [axis % len(order) for axis in order]
            back = [order.index(axis) for axis in range(len(order))]
            axes = [self.static(node, axis, literal(axis)) for axis in back]
            return self.method_on(node, "permute", value, *axes)
        return None

    def _indices(self, node: ast.AST, index: Expr) -> list[Expr]:
        """The parts of an index, each in its own words."""
        if not isinstance(index.value, tuple):
            return [index]
        found = self.elements_of(node, index)
        if not isinstance(index.syntax, ast.Tuple):
            return found
        said = index.syntax.elts
        return [replace(part, syntax=own) for part, own in zip(found, said, strict=True)]

    def seen_again(self, node: ast.AST, view: Expr, base: Expr) -> Expr:
        """The same view of another tensor."""
        syntax = _Swapped(view.args[0].syntax, base.syntax).visit(view.syntax)
        args = (base, *view.args[1:])
        return self.operation(node, view.op, args, syntax, _run(view.op), view.kwargs)


def is_view(expr: Expr) -> bool:
    """Whether an operation hands on the memory of its first operand, all or a part of it."""
    if expr.op in (NAME, STATIC, TUPLE) or not expr.args or not expr.is_tensor:
        return False
    base = expr.args[0].value
    return (
        isinstance(base, torch.Tensor)
        and base.untyped_storage().data_ptr() == expr.value.untyped_storage().data_ptr()
    )


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


def same_place(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are the same elements in the same order."""
    return one is other or (
        one.shape == other.shape
        and one.stride() == other.stride()
        and one.data_ptr() == other.data_ptr()
        and one.numel() > 0
        and one.dtype == other.dtype
    )


def overlap(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors share an element of memory."""
    mine, others = one.untyped_storage(), other.untyped_storage()
    if mine.data_ptr() != others.data_ptr() or not one.numel() or not other.numel():
        return False
    size = mine.nbytes() // one.element_size()
    if size > MOST_COMPARED or one.dtype != other.dtype:
        return True
    taken = torch.zeros(size, dtype=torch.bool)
    taken[_places(one)] = True
    return bool(taken[_places(other)].any())


def _places(tensor: torch.Tensor) -> torch.Tensor:
    """The places in its memory that a tensor's elements lie at."""
    found = torch.tensor(tensor.storage_offset())
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        found = found.unsqueeze(-1) + torch.arange(size) * stride
    return found.reshape(-1)
