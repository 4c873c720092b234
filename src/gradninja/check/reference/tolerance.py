"""How far a right value may be from autograd's: measured, never one magic number.

Each line is run in float32 and in float64 on the same inputs. How far the two are apart is the
rounding of this line, on these values, in float32: the condition of the problem and the order of
all sums are in it. Rounding is proportional to the unit roundoff, so in float64 it is 2**-29 of
that. To this comes what a sum of T terms may lose even where that measure is zero by luck, T times
the unit roundoff of the largest element (Higham, "Accuracy and Stability of Numerical Algorithms",
2nd ed., section 4.2). The two are a bound on rounding; a mistake in a formula is larger by orders.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from gradninja.check.reference.truth import Truth, size

# The two runs are one sample of rounding, and tensors of few elements are small samples.
SAFETY = 256.0
ROUNDOFF = torch.finfo(torch.float64).eps
RATIO = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class Tolerance:
    """What rounding explains on one draw in float64, absolute; and the largest true element."""

    absolute: float
    scale: float

    @property
    def relative(self) -> float:
        return self.absolute / self.scale if self.scale else math.inf


def tolerance(
    truth: Truth, gradient: torch.Tensor, spread: float, digits: float = 0.0
) -> Tolerance:
    """The tolerance for one gradient on one float64 draw.

    `spread`: the rounding seen between float32 and float64, as a part of the draw's largest
    gradient (`relative_spread`). What it explains is capped where half of all digits are gone, so
    that an overflow in float32 excuses nothing. `digits`: how far constants are rounded, relative.
    """
    scale = size(gradient)
    measured = min(SAFETY * RATIO * spread, math.sqrt(ROUNDOFF)) * truth.scale
    return Tolerance(measured + (truth.terms * ROUNDOFF + digits) * scale, scale)


def relative_spread(wide: Truth, pairs: Iterable[tuple[Any, Any]]) -> float:
    """The largest difference between float32 and float64 values of the same things."""
    largest = 0.0
    for single, double in pairs:
        if not isinstance(double, torch.Tensor) or not double.is_floating_point():
            continue
        if not comparable(single, double):
            continue
        difference = (single.double() - double)[torch.isfinite(double)].abs()
        if difference.numel():
            found = float(difference.max())
            largest = max(largest, math.inf if math.isnan(found) else found)
    return largest / wide.scale if wide.scale else largest


def comparable(value: Any, expected: torch.Tensor) -> bool:
    """Whether a value is a real tensor in memory, of the shape that is expected."""
    return (
        isinstance(value, torch.Tensor)
        and value.shape == expected.shape
        and value.device == expected.device
        and value.layout == expected.layout
        and not value.is_complex()
    )


def distance(value: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference where the truth is finite; infinite where only the value is not."""
    sound = torch.isfinite(expected)
    difference = (value.to(expected.dtype) - expected)[sound].abs()
    if not difference.numel():
        return 0.0
    largest = float(difference.max())
    return math.inf if math.isnan(largest) else largest


def same_bits(value: torch.Tensor, expected: torch.Tensor) -> bool:
    """Equal in every element; nan where the truth is nan."""
    if value.dtype != expected.dtype:
        return False
    same = (value == expected) | (value.isnan() & expected.isnan())
    return bool(same.all())


def told(terms: int, relative: float) -> str:
    """The tolerance in words, for the report."""
    return (
        f"right means: in float64 within {SAFETY:.0f} times the rounding that the same line shows "
        f"between float32 and float64, and sums of up to {terms:,} terms; here at most "
        f"{relative:.1e} of the largest element. exact means: the same bits in float32."
    )
