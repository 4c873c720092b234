"""A value of the text while its lines are gone through: the whole, and what each rank holds."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from gradninja.ranks.mesh import Mesh, cut
from gradninja.ranks.types import R, Type

DRAWS = 3  # numbers on which an operation is tried: those that were read, and two others


@dataclass(eq=False)
class Value:
    """What an expression stands for.

    `types` has one for each mesh axis, None for what is no tensor. `syntax` is how one rank writes
    it; `whole_syntax` how it writes a size of the whole, where its own is another. `zero`: zeros
    by construction, which are whole and partial alike. `parts`: of several tensors, each.
    """

    whole: Any
    held: list[Any]
    types: tuple[Type, ...] | None
    syntax: ast.expr
    whole_syntax: ast.expr | None = None
    zero: bool = False
    parts: tuple[Value, ...] = ()
    drawn: list[Any] = field(default_factory=list)
    cuts: dict[int, list[Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name that it is bound to; empty for what stands inside an expression."""
        return self.syntax.id if isinstance(self.syntax, ast.Name) else ""

    @property
    def sized(self) -> bool:
        """Whether it is a size that differs from the whole's."""
        return self.types is None and not self.parts and any(h != self.whole for h in self.held)

    def named(self, name: str) -> Value:
        """The same, bound to a name."""
        return replace(self, syntax=ast.Name(name, ast.Load()))

    def becomes(self, axis: int, kind: Type, held: Sequence[Tensor]) -> Value:
        """The same value with another type on one mesh axis; `held` is what each rank then has."""
        assert self.types is not None
        types = tuple(kind if at == axis else t for at, t in enumerate(self.types))
        # The draws stay those of the same whole.
        return replace(self, types=types, held=list(held), drawn=self.wholes, cuts={})

    @property
    def wholes(self) -> list[Any]:
        """The whole in each draw: what was read, and other numbers of the same types.

        In the second draw rows change places along what is split, and what is partial has other
        summands; in the third all floats are others.
        """
        if not self.drawn:
            self.drawn = [self.whole, *(self._draw(number) for number in range(1, DRAWS))]
        return self.drawn

    def _draw(self, number: int) -> Any:
        if self.types is None or self.zero:
            return self.whole
        generator = torch.Generator().manual_seed(number)
        whole = self.whole
        for kind in self.types:
            if kind.dim is not None:
                order = torch.randperm(whole.shape[kind.dim], generator=generator)
                whole = whole.index_select(kind.dim, order)
        if whole.is_floating_point() and number == 2:
            whole = torch.randn(whole.shape, generator=generator, dtype=whole.dtype)
        elif number == 2 and any(kind.partial for kind in self.types):  # a count
            whole = whole + torch.randint(1, 9, whole.shape, generator=generator)
        if whole.dtype == torch.bool:
            # One that is not as the others: `all` and `any` then tell shares from the whole, and
            # what a mask has taken away is not taken for zeros by construction.
            whole = torch.full_like(whole, number == 1)
            whole.flatten()[:1] = number != 1
        return whole

    def on_ranks(self, number: int, mesh: Mesh) -> list[Any]:
        """What each rank holds in a draw."""
        if number == 0 or self.types is None or self.zero:
            return self.held
        if number not in self.cuts:
            self.cuts[number] = cut(
                self.wholes[number], self.types, mesh, like=self.held, seed=number
            )
        return self.cuts[number]


def exactly(whole: Tensor, held: list[Tensor], types: Sequence[Type], mesh: Mesh) -> list[Tensor]:
    """What ranks hold, so that it makes up the whole to the last bit.

    Rounding that lines have left would else grow to differences where a value is zero in truth.
    """
    if not any(kind.partial for kind in types):
        return cut(whole, types, mesh, like=held)
    found = list(held)
    for axis, kind in enumerate(types):
        if kind.partial and len(mesh.axes) == 1:
            (line,) = mesh.lines(axis)
            found[line[-1]] = whole - sum(held[rank] for rank in line[:-1])
    return found


def constant(value: Any, syntax: ast.expr, mesh: Mesh) -> Value:
    """What no rank's share is in: the same everywhere."""
    types = (R,) * len(mesh.axes) if isinstance(value, Tensor) else None
    return Value(value, [value] * len(mesh.ranks), types, syntax)
