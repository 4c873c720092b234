"""Fused gradients have the dtypes that the derived ones have, whatever dtype the inputs have."""

from __future__ import annotations

from gradninja.derive import Backward
from gradninja.derive.dtypes import PROBED, gradient_dtypes


def other_dtype(fused: Backward, derived: Backward) -> str:
    """Whose gradient is of another dtype than the derived one; empty where none is."""
    for dtype in PROBED:
        mine, want = gradient_dtypes(fused, dtype), gradient_dtypes(derived, dtype)
        if mine is not None and want is not None and mine != want:
            return next(name for name in want if mine[name] != want[name])
    return ""
