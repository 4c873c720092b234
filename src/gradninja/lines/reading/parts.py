"""An index that is written to, part by part: the axis of each, without what takes all of it."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from gradninja.lines.program import STATIC, Expr

if TYPE_CHECKING:
    from gradninja.lines.reading.building import Builder


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
