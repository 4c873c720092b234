"""Other sizes than those that a forward was read with: what was fused must hold there, too."""

from __future__ import annotations

import re
from typing import Any

import torch

from gradninja.algebra.widened import as_valued
from gradninja.derive import Backward
from gradninja.derive.holding.sizes import difference, points
from gradninja.errors import DeriveError
from gradninja.lines import Program
from gradninja.lines.scope import value_of


def other_shapes(program: Program) -> dict[str, tuple[int, ...]]:
    """Each input's shape with all sizes larger by one; 1 stays: what is broadcast is again.

    An axis is known by its name in the annotation, else by its size.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    named = [given for given in program.inputs if isinstance(given.value, torch.Tensor)]
    sizes: dict[str, int] = {}
    for given in named:
        if given.axes is not None and len(given.axes) == given.value.ndim:
            sizes.update(zip(given.axes, given.value.shape, strict=True))
    sizes = {axis: size + (size > 1) for axis, size in sizes.items() if axis.isidentifier()}
    for given in named:
        axes = given.axes if given.axes and len(given.axes) == given.value.ndim else None
        shapes[given.name] = tuple(
            _size(axes[place], sizes) if axes else size + (size > 1)
            for place, size in enumerate(given.value.shape)
        )
    return shapes


def _size(axis: str, sizes: dict[str, int]) -> int:
    if not re.fullmatch(r"[\w\s*+\-/]+", axis):
        raise ValueError(axis)
    return int(value_of(axis, dict(sizes)))


def differs(fused: Backward, derived: Backward) -> str:
    """Which gradient is not autograd's on other sizes; empty where all are, or none can be told.

    Nothing is told where the derived lines are not right, either: both were written for one size.
    """
    values: dict[str, Any] = {given.name: given.value for given in fused.program.inputs}
    try:
        for name, shape in other_shapes(fused.program).items():
            values[name] = values[name].new_empty(shape)
    except (ValueError, ArithmeticError, NameError, SyntaxError):  # an axis that is no arithmetic
        return ""
    with as_valued(fused.program):
        wrong = _wrong(fused, values)
        return "" if wrong and _wrong(derived, values) else wrong


def _wrong(back: Backward, values: dict[str, Any]) -> str:
    try:
        return difference(back, points(back.program, values)) or ""
    except DeriveError:  # it was written for one size
        return back.program.differentiable[0]
