"""Ranks as a mesh, and a whole tensor as what each of them holds of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gradninja.ranks.types import P, R, Type, V

CLOSE = 1e-8  # in float64, relative to an element: another order of the same sum
ROUNDING = 1e-12  # ... and to the largest of them all


@dataclass(frozen=True)
class Mesh:
    """Named axes of ranks: `{"data": 2, "model": 3}` is six ranks."""

    axes: tuple[str, ...]
    sizes: tuple[int, ...]

    @cached_property
    def ranks(self) -> tuple[tuple[int, ...], ...]:
        """The coordinates of each rank, the last axis fastest, as torch's meshes have it."""
        return tuple(itertools.product(*map(range, self.sizes)))

    def lines(self, axis: int) -> list[list[int]]:
        """The groups of ranks along an axis: those whose other coordinates are the same."""
        found: dict[tuple[int, ...], list[int]] = {}
        for rank, at in enumerate(self.ranks):
            found.setdefault((*at[:axis], *at[axis + 1 :]), []).append(rank)
        return list(found.values())


def shares(size: int, ranks: int) -> list[tuple[int, int]]:
    """(start, length) of each rank's share: as even as can be, the longer ones first."""
    short, longer = divmod(size, ranks)
    lengths = [short + (rank < longer) for rank in range(ranks)]
    return [(sum(lengths[:rank]), length) for rank, length in enumerate(lengths)]


def cut(
    whole: Tensor,
    types: Sequence[Type],
    mesh: Mesh,
    like: Sequence[Tensor] | None = None,
    seed: int = 0,
) -> list[Tensor]:
    """What each rank holds of a whole; a partial one is cut into random summands.

    `like`: tensors whose lengths the shares have; as even as can be without them.
    """
    held = [whole] * len(mesh.ranks)
    for axis, kind in enumerate(types):
        if kind.dim is not None:
            for line in mesh.lines(axis):
                size = whole.shape[kind.dim]
                lengths = [length for _, length in shares(size, mesh.sizes[axis])]
                if like is not None:
                    lengths = [like[rank].shape[kind.dim] for rank in line]
                for rank, start, length in zip(line, _starts(lengths), lengths, strict=True):
                    held[rank] = held[rank].narrow(kind.dim, start, length)
    for axis, kind in enumerate(types):
        if kind.partial:
            for line in mesh.lines(axis):
                # The same for each line: what is replicated on other axes stays so.
                generator = torch.Generator().manual_seed(seed)
                rest = held[line[0]]
                for rank in line[1:]:
                    drawn = torch.randn(rest.shape, generator=generator, dtype=torch.float64)
                    held[rank] = (drawn * _scale(rest)).to(rest.dtype)
                    rest = rest - held[rank]
                held[line[0]] = rest
    return [value.clone() for value in held]


def _starts(lengths: Sequence[int]) -> list[int]:
    return list(itertools.accumulate(lengths, initial=0))[:-1]


def _scale(value: Tensor) -> float:
    return float(value.abs().double().mean()) if value.numel() else 1.0


def join(
    held: Sequence[Tensor], types: Sequence[Type], mesh: Mesh, scale: float = 0.0
) -> Tensor | None:
    """The whole that ranks hold together; None where they do not agree on one."""
    now = list(held)
    for axis, kind in enumerate(types):
        for line in mesh.lines(axis):
            parts = [now[at] for at in line]
            if kind.dim is not None:
                rest = {(*p.shape[: kind.dim], *p.shape[kind.dim + 1 :]) for p in parts}
                if len(rest) > 1:
                    return None
                whole = torch.cat(parts, kind.dim)
            elif kind.partial:
                if len({part.shape for part in parts}) > 1:
                    return None
                whole = torch.stack(parts).sum(0)
            else:
                whole = parts[0]
                if not all(same(part, whole, scale=scale) for part in parts[1:]):
                    return None
            for at in line:
                now[at] = whole
    return now[0]


def same(
    found: Tensor, true: Tensor, *beside: Tensor, scale: float = 0.0, share: float = ROUNDING
) -> bool:
    """Whether two tensors are one but for rounding.

    That is beside each element, and a `share` of the largest element here, of `beside` and of
    `scale`: the size of what they were made of, where it may have cancelled.
    """
    if found.shape != true.shape or found.dtype != true.dtype:
        return False
    if not true.is_floating_point():
        return torch.equal(found, true)
    if true.dtype != torch.float64:
        share = max(share, 1e-5)
    bound = share * max([scale, *map(largest, (true, *beside))])
    close = CLOSE if true.dtype == torch.float64 else 1e-4
    return bool(torch.isclose(found, true, rtol=close, atol=bound, equal_nan=True).all())


def largest(value: Any) -> float:
    """The size of a float tensor's largest finite element."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or not value.numel():
        return 0.0
    return float(value.nan_to_num(0, 0, 0).abs().max())


def fits(whole: Tensor, held: Sequence[Any], mesh: Mesh) -> list[tuple[Type, ...]]:
    """The types that what the ranks hold may have, by its shapes alone."""
    if not all(isinstance(v, Tensor) and v.ndim == whole.ndim for v in held):
        return []
    choices: list[list[Type]] = []
    for axis in range(len(mesh.axes)):
        found = []
        for dim in range(whole.ndim):
            lengths = [[held[at].shape[dim] for at in line] for line in mesh.lines(axis)]
            if all(sum(each) == whole.shape[dim] for each in lengths):
                found.append(V(dim))
        if all(len({tuple(held[at].shape) for at in line}) == 1 for line in mesh.lines(axis)):
            found += [R] if whole.dtype == torch.bool else [R, P]
        choices.append(found)
    return [
        types
        for types in itertools.product(*choices)
        if len(dims := [t.dim for t in types if t.varies]) == len(set(dims))
    ]


def numel(shape: Sequence[int]) -> int:
    return math.prod(shape)
