"""A tensor with a new value at an index: by a mask, by positions, by slices."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from gradninja.lines import fence
from gradninja.lines.plain import literal
from gradninja.lines.program import STATIC, TUPLE, Expr
from gradninja.lines.reading.calls.arguments import apply, like, method_on
from gradninja.lines.reading.state import Reading


@dataclass(frozen=True)
class Part:
    """What stands for one axis: an int, a slice, a mask or positions."""

    dim: int
    index: Expr

    def lowered(self, by: int) -> Part:
        """The same where an axis before it was taken out."""
        return replace(self, dim=self.dim - 1) if self.dim > by else self

    def at(self) -> Expr:
        """The index that takes this part of the whole: `[:, :, 1:3]`."""
        every: list[ast.expr] = [ast.Slice() for _ in range(self.dim)]
        syntax = ast.Tuple([*every, self.index.syntax], ast.Load()) if every else self.index.syntax
        value = (*(slice(None) for _ in every), self.index.value)
        return replace(self.index, op=STATIC, syntax=syntax, value=value if every else value[0])


def parts_of(owner: Expr, indices: Sequence[Expr]) -> list[Part] | None:
    """The parts of an index into a tensor; None where an axis is new."""
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


def listed(reading: Reading, node: ast.AST, index: Expr) -> Expr:
    """Positions, or a mask, in a list of plain numbers as the tensor that they are."""
    if index.op != STATIC or not isinstance(index.value, list):
        return index
    call = ast.Call(fence.callee_syntax("torch.tensor"), [index.syntax], [])
    return reading.operation(node, "torch.tensor", (index,), call, torch.tensor)


def _axes(index: Expr) -> int:
    value = index.value
    if value is Ellipsis:
        return 0
    mask = isinstance(value, torch.Tensor) and value.dtype == torch.bool
    return int(value.ndim) if mask else 1


def fitted(reading: Reading, node: ast.AST, held: Expr, value: Expr) -> Expr:
    """The value in the shape and type that is there."""
    if value.op == TUPLE:
        reading.fail(node, "a list is written into a tensor", "write a tensor: torch.stack(...)")
    if not value.is_tensor:
        return like(reading, node, "full_like", held, value)
    if value.value.dtype != held.value.dtype:
        kind = reading.static(node, held.value.dtype, literal(held.value.dtype))
        value = method_on(reading, node, "to", value, kind)
    first = reading.static(node, 0, ast.Constant(0))
    while value.value.ndim > held.value.ndim and value.shape[0] == 1:  # PyTorch drops these
        value = method_on(reading, node, "squeeze", value, first)
    if value.shape != held.shape:
        value = method_on(reading, node, "expand_as", value, held)
    return value


def put_part(reading: Reading, node: ast.AST, owner: Expr, parts: list[Part], value: Expr) -> Expr:
    """`owner` with `value` in the place that the parts of an index take."""
    if not parts:
        return fitted(reading, node, owner, value)
    tensors = [part for part in parts if part.index.is_tensor and part.index.value.ndim]
    if tensors:
        return _put_at(reading, node, owner, parts, tensors, value)
    first, rest = parts[0], parts[1:]
    dim = reading.static(node, first.dim, ast.Constant(first.dim))
    if isinstance(first.index.value, slice):
        cut = first.index.value
        bounds = cut.indices(owner.shape[first.dim])
        if bounds[2] < 1:
            reading.fail(node, "a slice with a negative step is not written to")
        syntax = first.index.syntax
        assert isinstance(syntax, ast.Slice)
        settings = {
            name: reading.static(node, bound, at)
            for name, bound, at in (
                ("start", cut.start, syntax.lower),
                ("end", cut.stop, syntax.upper),
                ("step", cut.step, syntax.step),
            )
            if at is not None and bound is not None
        }
        piece = reading.operation(
            node,
            "[]",
            (owner, first.at()),
            ast.Subscript(owner.syntax, first.at().syntax, ast.Load()),
            lambda t, i: t[i],
        )
        inner = put_part(reading, node, piece, rest, value)
        if owner.value.is_complex() and bounds[2] == 1:
            return _joined(reading, node, owner, inner, dim, bounds[0])
        return _scattered(reading, node, "slice_scatter", owner, inner, dim, settings)
    piece = method_on(reading, node, "select", owner, dim, first.index)
    inner = put_part(reading, node, piece, [part.lowered(first.dim) for part in rest], value)
    if owner.value.is_complex():
        at = first.index.value % owner.shape[first.dim]
        return _joined(
            reading, node, owner, method_on(reading, node, "unsqueeze", inner, dim), dim, at
        )
    return method_on(reading, node, "select_scatter", owner, inner, dim, first.index)


def _joined(
    reading: Reading, node: ast.AST, owner: Expr, inner: Expr, dim: Expr, start: int
) -> Expr:
    """What stands before, what is new, what stands behind: complex parts have no scatter."""
    parts, end = [inner], start + inner.shape[dim.value]
    for place, begin, stop in ((0, 0, start), (2, end, owner.shape[dim.value])):
        if stop > begin:
            bounds = [reading.static(node, n, ast.Constant(n)) for n in (begin, stop - begin)]
            parts.insert(place, method_on(reading, node, "narrow", owner, dim, *bounds))
    several = reading.container(node, parts, list)
    call = ast.Call(fence.callee_syntax("torch.cat"), [several.syntax, dim.syntax], [])
    return reading.operation(node, "torch.cat", (several, dim), call, torch.cat)


def _scattered(
    reading: Reading,
    node: ast.AST,
    name: str,
    owner: Expr,
    inner: Expr,
    dim: Expr,
    settings: Mapping[str, Expr],
) -> Expr:
    attribute = ast.Attribute(owner.syntax, name, ast.Load())
    run = getattr(torch.Tensor, name)
    return apply(reading, node, f"Tensor.{name}", attribute, run, [inner, dim], settings, owner)


def _put_at(
    reading: Reading,
    node: ast.AST,
    owner: Expr,
    parts: list[Part],
    tensors: list[Part],
    value: Expr,
) -> Expr:
    """By a mask, or by positions."""
    first = tensors[0]
    mask = first.index.value.dtype == torch.bool
    if len(parts) > 1 and len(tensors) != len(parts):
        reading.fail(
            node,
            "positions beside a slice or an int are not written to",
            "write to one axis at a time, or use torch.where",
        )
    if mask and len(parts) == 1 and first.dim == 0 and _single(value):
        wide = first.index
        for _ in range(owner.value.ndim - wide.value.ndim):
            last = reading.static(node, -1, ast.Constant(-1))
            wide = method_on(reading, node, "unsqueeze", wide, last)
        return method_on(reading, node, "masked_fill", owner, wide, value)
    if len(parts) == 1 and not mask and first.dim:
        dim = reading.static(node, first.dim, ast.Constant(first.dim))
        piece = method_on(reading, node, "index_select", owner, dim, first.index)
        new = fitted(reading, node, piece, value)
        return method_on(reading, node, "index_copy", owner, dim, first.index, new)
    if [part.dim for part in parts] != list(range(len(parts))):
        reading.fail(node, "positions on these axes are not written to", "use torch.where")
    indices = reading.container(node, [part.index for part in parts])
    piece = reading.operation(
        node,
        "[]",
        (owner, indices),
        ast.Subscript(owner.syntax, indices.syntax, ast.Load()),
        lambda t, i: t[i],
    )
    new = fitted(reading, node, piece, value)
    return method_on(reading, node, "index_put", owner, indices, new)


def _single(value: Expr) -> bool:
    return not value.is_tensor or value.value.ndim == 0
