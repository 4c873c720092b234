"""Small inputs of the same structure: a forward's lines, and so its gradients', are found at them.

To derive, fuse and compare at the sizes of a library's loss (1024 rows of 32,000 classes) takes
a minute; the lines are those of a loss over 16 rows of 63. They are, where the forward reads the
same at both sizes, letter by letter, and each size that it makes on the way has one size that
stands for it, and the other way round. Where that is not so, nothing is made smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from gradninja.errors import GradninjaError
from gradninja.lines import Program

LARGE = 1 << 14  # elements of all inputs, from which on deriving takes longer than reading twice
HUGE = 1 << 21  # from which on even one comparison does
_KEPT = 8  # sizes up to here stay
_SMALLEST = 5  # that a size is cut down to

Values = Mapping[str, Any]


def smaller(
    values: Values, real: Program, read: Callable[[Values], Program], most: int
) -> Values | None:
    """Small inputs at which a forward reads as it does at its own; None where there are none.

    Args:
        values: the inputs, tensors and plain values.
        real: the program at these.
        read: gives the program at others.
        most: elements of all inputs; where there are fewer they stay. `HUGE` ones are cut less.
    """
    tensors = [value for value in values.values() if isinstance(value, torch.Tensor)]
    if sum(value.numel() for value in tensors) < most or _is_random(real):
        return None
    sizes = sorted({size for value in tensors for size in value.shape})
    for standing in _maps(sizes, 0.4 if most == LARGE else 0.7):
        found = _cut(values, standing)
        try:
            if alike(real, read(found)):
                return found
        except GradninjaError:  # it does not run at these
            continue
    return None


def _is_random(program: Program) -> bool:
    return any(expr.random for line in program.lines for expr in line.expr.walk())


def _maps(sizes: list[int], power: float) -> Iterator[dict[int, int]]:
    """What small size stands for each: larger ones for larger ones, and none for two."""
    powers: dict[int, int] = {}
    for size in sizes:
        least = max(powers.values(), default=0) + 1
        powers[size] = size if size <= _KEPT else max(least, _SMALLEST, round(size**power))
    yield powers
    large = [size for size in sizes if size > _KEPT]
    for factor in (2**n for n in range(12, 0, -1)):  # sizes that divide each other still do
        if large and all(size % factor == 0 for size in large) and large[0] // factor >= _SMALLEST:
            yield {size: size // factor if size > _KEPT else size for size in sizes}
            return


def _cut(values: Values, standing: Mapping[int, int]) -> dict[str, Any]:
    """The first elements along each axis; ints within the smallest axis, that they may index."""
    within = min((small for small in standing.values() if small > 1), default=1)
    found = {}
    for name, value in values.items():
        if isinstance(value, torch.Tensor):
            value = value[tuple(slice(standing[size]) for size in value.shape)].clone()
            if value.dtype == torch.int64:
                value = torch.where(value >= 0, value % within, value)
        found[name] = value
    return found


def alike(one: Program, other: Program) -> bool:
    """Whether two programs are the same lines, and their sizes stand for each other."""
    if _text(one) != _text(other):
        return False
    there: dict[int, int] = {}
    back: dict[int, int] = {}
    for mine, its in zip(_tensors(one), _tensors(other), strict=True):
        if mine.dtype != its.dtype or mine.ndim != its.ndim:
            return False
        for large, small in zip(mine.shape, its.shape, strict=True):
            if there.setdefault(large, small) != small or back.setdefault(small, large) != large:
                return False
            if (large <= 1 or small <= 1) and large != small:
                return False
    return True


def _text(program: Program) -> list[object]:
    inputs = [(given.name, given.differentiable, given.optional) for given in program.inputs]
    lines = [(line.targets, line.code, line.turns) for line in program.lines]
    return [inputs, lines, program.outputs, [_kinds(line.expr) for line in program.lines]]


def _kinds(expr: Any) -> list[tuple[str, bool]]:
    return [(part.op, part.is_tensor) for part in expr.walk()]


def _tensors(program: Program) -> Iterator[torch.Tensor]:
    """All tensors of a program, in one order; masks may pick another number of elements."""
    values = [given.value for given in program.inputs]
    for line in program.lines:
        for part in line.expr.walk():
            several = part.value if isinstance(part.value, tuple | list) else (part.value,)
            values += several
    return (value for value in values if isinstance(value, torch.Tensor))
