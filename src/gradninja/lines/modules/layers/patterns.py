"""einops by what it means: a pattern is splits, a permutation, reductions and merges of axes."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gradninja.lines.modules.layers.registry import NAMED, computed, reads

TOKEN = re.compile(r"\.\.\.|[()]|\w+")
Groups = list[list[str]]


def _groups(side: str, rest: int | None, rank: int = 0) -> tuple[Groups, int]:
    """The axes of one side, each the names that it is made of, and how many `...` stands for.

    A number is an axis of that size, with a name of its own.
    """
    found: list[list[str] | None] = []  # None: axes of their own that `...` stands for
    inner: list[str] | None = None
    for place, token in enumerate(TOKEN.findall(side)):
        if token.isdigit() and token != "1":
            token = f"{token}@{place}{'l' if rest is None else 'r'}"
        if token == "(":
            inner = []
        elif token == ")":
            found.append(inner or [])
            inner = None
        elif inner is not None:
            inner.append(token)
        else:
            found.append(None if token == "..." else [token])
    if rest is None:
        rest = rank - (len(found) - 1)
    others = [f"...{i}" for i in range(rest)]
    expanded: Groups = []
    for group in found:
        if group is None:
            expanded += [[name] for name in others]
        else:
            expanded.append([n for g in group for n in (others if g == "..." else [g])])
    return [[name for name in group if name != "1"] for group in expanded], rest


def _sides(pattern: str, rank: int) -> tuple[Groups, Groups]:
    left, _, right = pattern.partition("->")
    read, rest = _groups(left, None, rank)
    return read, _groups(right, rest)[0]


def _size(name: str, sizes: Mapping[str, int], unknown: int | None = None) -> int:
    number = name.partition("@")[0]
    if number.isdigit():
        return int(number)
    return sizes[name] if unknown is None else sizes.get(name, unknown)


def _hold(pattern: str, rank: int, sizes: Mapping[str, int], one_sided: str) -> Groups:
    """The left side's axes; raise ValueError where einops takes no such pattern.

    `one_sided`: which side may have axes of its own, "left", "right" or "".
    """
    left, right = _sides(pattern, rank)
    if len(left) != rank:
        raise ValueError(f"`{pattern}` names {len(left)} axes, and the tensor has {rank}")
    named = [
        {name for group in side for name in group if "@" not in name} for side in (left, right)
    ]
    alone = {"left": named[1] - named[0], "right": named[0] - named[1]}.get(
        one_sided, named[0] ^ named[1]
    )
    if alone:
        raise ValueError(f"`{min(alone)}` is on one side of `{pattern}` only")
    unknown = set(sizes) - named[0] - named[1]
    if unknown:
        raise ValueError(f"`{min(unknown)}` has a size, and is no axis of `{pattern}`")
    return left


@computed
def split_of(pattern: str, rank: int, sizes: Mapping[str, int], one_sided: str) -> tuple[Any, ...]:
    """((axis, sizes) to unflatten, last axis first; axes of size 1 to drop, last first)."""
    left = _hold(pattern, rank, sizes, one_sided)
    splits = [
        (at, tuple(_size(name, sizes, -1) for name in group))
        for at, group in enumerate(left)
        if len(group) > 1
    ]
    places, at = [], 0
    for group in left:
        if not group:
            places.append(at)
        at += max(len(group), 1)
    return splits[::-1], places[::-1]


@computed
def order_of(pattern: str, rank: int, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The places that the axes that stay come from; empty where they are in order."""
    left, right = _sides(pattern, rank)
    names = [name for group in left for name in group]
    wanted = [name for group in right for name in group if name in names]
    kept = [name for name in names if name in wanted]
    found = tuple(kept.index(name) for name in wanted)
    return () if found == tuple(range(len(found))) else found


@computed
def reduced_of(pattern: str, rank: int) -> tuple[int, ...]:
    """The axes that are not on the right."""
    left, right = _sides(pattern, rank)
    names = [name for group in left for name in group]
    kept = {name for group in right for name in group}
    return tuple(at for at, name in enumerate(names) if name not in kept)


@computed
def repeated_of(
    pattern: str, rank: int, sizes: Mapping[str, int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The places of new axes, and the sizes that all axes are expanded to, -1 for those there."""
    left, right = _sides(pattern, rank)
    names = {name for group in left for name in group}
    flat = [name for group in right for name in group]
    new = tuple(at for at, name in enumerate(flat) if name not in names)
    wide = tuple(-1 if name in names else _size(name, sizes) for name in flat)
    return new, wide


@computed
def merged_of(pattern: str, rank: int) -> tuple[Any, ...]:
    """((first, last) of axes to flatten, last group first; places of new axes of size 1)."""
    _, right = _sides(pattern, rank)
    merges, at = [], 0
    for group in right:
        if len(group) > 1:
            merges.append((at, at + len(group) - 1))
        at += len(group)
    return merges[::-1], [place for place, group in enumerate(right) if not group]


@computed
def equation_of(pattern: str) -> str:
    """`b i d, b j d -> b i j` in one letter an axis."""
    names = dict.fromkeys(re.findall(r"\w+", pattern))
    letters = dict(zip(names, string.ascii_letters, strict=False))
    sides = [
        ",".join(
            "".join(letters.get(t, t) for t in TOKEN.findall(part)) for part in side.split(",")
        )
        for side in pattern.split("->")
    ]
    return "->".join(sides)


def _split(x: Any, pattern: str, rank: int, sizes: Mapping[str, int], one_sided: str = "") -> Any:
    splits, ones = split_of(pattern, rank, sizes, one_sided)
    for dim, parts in splits:
        x = x.unflatten(dim, parts)
    for dim in ones:
        x = x.squeeze(dim)
    return x


def _merged(x: Any, pattern: str, rank: int) -> Any:
    merges, ones = merged_of(pattern, rank)
    for first, last in merges:
        x = x.flatten(first, last)
    for dim in ones:
        x = x.unsqueeze(dim)
    return x


def _permuted(x: Any, order: Sequence[int]) -> Any:
    return x.permute(order) if order else x


@reads("einops.rearrange")
def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Any:
    x = torch.stack(tensor) if isinstance(tensor, list) else tensor
    rank = x.dim()
    x = _split(x, pattern, rank, axes_lengths)
    x = _permuted(x, order_of(pattern, rank, axes_lengths))
    return _merged(x, pattern, rank)


@reads("einops.reduce")
def reduce(tensor: Any, pattern: str, reduction: str, **axes_lengths: int) -> Any:
    x = torch.stack(tensor) if isinstance(tensor, list) else tensor
    rank = x.dim()
    x = _split(x, pattern, rank, axes_lengths, "left")
    dims = reduced_of(pattern, rank)
    if dims and reduction == "prod":
        for dim in dims[::-1]:
            x = x.prod(dim)
    elif dims and reduction == "mean":
        x = x.mean(dims)
    elif dims and reduction == "sum":
        x = x.sum(dims)
    elif dims and reduction == "max":
        x = x.amax(dims)
    elif dims and reduction == "min":
        x = x.amin(dims)
    elif dims:
        call: Any = reduction  # a function of the tensor and its axes
        x = call(x, dims)
    x = _permuted(x, order_of(pattern, rank, axes_lengths))
    return _merged(x, pattern, rank)


@reads("einops.repeat")
def repeat(tensor: Any, pattern: str, **axes_lengths: int) -> Any:
    x = torch.stack(tensor) if isinstance(tensor, list) else tensor
    rank = x.dim()
    x = _split(x, pattern, rank, axes_lengths, "right")
    x = _permuted(x, order_of(pattern, rank, axes_lengths))
    new, wide = repeated_of(pattern, rank, axes_lengths)
    for dim in new:
        x = x.unsqueeze(dim)
    if new:
        x = x.expand(wide)
    return _merged(x, pattern, rank)


@reads("einops.einsum")
def einsum(*tensors_and_pattern: Any) -> Any:
    return torch.einsum(equation_of(tensors_and_pattern[-1]), *tensors_and_pattern[:-1])


def rearrange_layer(self: Any, x: Any) -> Any:
    return rearrange(x, self.pattern, **self.axes_lengths)


def reduce_layer(self: Any, x: Any) -> Any:
    return reduce(x, self.pattern, self.reduction, **self.axes_lengths)


NAMED.update(Rearrange=rearrange_layer, Reduce=reduce_layer)
