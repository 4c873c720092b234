"""Batch-invariance: whether a row alone has the gradient that it has in its batch, to the bit.

Where each row stands for itself, a kernel that splits its sums by the batch's size rounds them
otherwise. That is no mistake, and told: who compares runs with others wants to know.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gradninja.check.functions.conditions.condition import (
    WIDE,
    Call,
    Condition,
    Values,
    gradients_under,
)
from gradninja.check.functions.conditions.tried import SINGLE_OFF, first_rows
from gradninja.check.reference.tolerance import comparable, distance
from gradninja.check.reference.truth import size

NAME = "a row alone as in its batch, to the bit in float32"
Gradients = dict[str, torch.Tensor]


def batch_invariance(call: Call, plain: Call, given: Values, wanted: Sequence[str]) -> str | None:
    """What is to be told; empty where the bits are the same, None where rows hang together.

    Args:
        call: the Function's `apply`.
        plain: its forward as a plain function.
        given: the inputs, floats in float64.
        wanted: the inputs that have a gradient.
    """
    true = _in_both(plain, given, wanted, WIDE)
    if true is None or not _each_for_itself(*true):
        return None
    mine, usual = (_in_both(f, given, wanted, torch.float32) for f in (call, plain))
    if mine is None or usual is None:
        return None
    apart = _apart(*mine)
    if not apart:
        return ""
    name, far = max(apart.items(), key=lambda one: one[1])
    both = "; so does that of its plain forward" if _apart(*usual) else ""
    return (
        f"not batch-invariant: the gradient of a row of `{name}` differs by {far:.1e} of its "
        f"largest element between the row alone and in its batch, in float32{both}"
    )


def _in_both(
    call: Call, given: Values, wanted: Sequence[str], dtype: torch.dtype
) -> tuple[Gradients, Gradients] | None:
    """The gradients of the first row in its batch and alone, of the inputs that have rows."""
    alone = first_rows(given, 1)
    rows = [name for name in wanted if alone[name].shape != given[name].shape]
    condition = Condition("", "", cotangent=_same_for_each, dtype=dtype)
    found = [gradients_under(call, values, wanted, condition) for values in (given, alone)]
    if not rows or any(isinstance(one, Exception) for one in found):
        return None
    several, one = ({n: g[n] for n in rows if g[n] is not None} for g in found)  # type: ignore[index]
    return {name: gradient[:1] for name, gradient in several.items()}, one


def _same_for_each(cotangent: torch.Tensor) -> torch.Tensor:
    """One of the same numbers for each row, however many there are."""
    if not cotangent.ndim:
        return cotangent.clone()
    row = torch.arange(1, cotangent[:1].numel() + 1, dtype=WIDE).cos().to(cotangent.dtype)
    return row.reshape(cotangent[:1].shape).expand_as(cotangent).clone()


def _each_for_itself(several: Gradients, one: Gradients) -> bool:
    """Whether a row's true gradient is that of the row alone."""
    return all(
        comparable(several[name], true) and distance(several[name], true) <= SINGLE_OFF * size(true)
        for name, true in one.items()
    )


def _apart(several: Gradients, one: Gradients) -> dict[str, float]:
    """By how much rows differ, relative to their largest elements; none where no bit does."""
    return {
        name: distance(several[name], alone) / max(size(alone), 1e-300)
        for name, alone in one.items()
        if not torch.equal(several[name], alone)
    }
