"""Fused gradients in every dtype that inputs may have, new tensors being float32 beside them."""

from __future__ import annotations

import torch

from gradninja.algebra.widened import is_narrow
from gradninja.derive import Backward
from gradninja.derive.holding.dtypes import PROBED, gradients_in

SMALL = 1e-3
DIGITS = 1e-10  # relative, in float64: what is computed in float32 is off by 1e-8


def other_dtype(fused: Backward, derived: Backward) -> str:
    """Whose gradient is of another dtype than its input; empty where none is.

    That is the first where the fused lines do not run in a dtype and the derived lines do.
    """
    for dtype in PROBED:
        found = gradients_in(fused, dtype)
        if found is None and gradients_in(derived, dtype) is not None:
            return fused.program.differentiable[0]
        for name, gradient in (found or {}).items():
            if gradient.dtype != dtype:
                return name
    return ""


def loses_digits(fused: Backward, derived: Backward) -> str:
    """Which gradient of float64 inputs is off by a rounding of float32; empty where none is.

    New tensors are float32: two of them multiplied are less than what they are beside a float64.
    Where a gradient flows through a float32, its rounding is autograd's as well.
    """
    exprs = [expr for line in derived.program.lines for expr in line.expr.walk()]
    if any(expr.differentiable and is_narrow(expr.value) for expr in exprs):
        return ""
    mine, want = gradients_in(fused, torch.float64), gradients_in(derived, torch.float64)
    if mine is None or want is None:
        return ""
    finite = [t[t.isfinite()].abs() for t in want.values()]
    # All may be 0 for a cotangent of ones, as behind a norm: what is left is rounding.
    largest = max((float(t.max()) for t in finite if t.numel()), default=0.0) + SMALL
    for name, gradient in want.items():
        known = gradient.isfinite()
        off = (mine[name] - gradient)[known].abs()
        if off.numel() and not float(off.max()) <= DIGITS * largest:
            return name
    return ""
