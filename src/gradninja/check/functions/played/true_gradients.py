"""What the gradients of a Function should be: autograd's through its plain forward, or slopes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gradninja.check.functions.played.running import Played
from gradninja.check.given.execution import copy_of
from gradninja.lines.scope import vjp

STEP = 6e-6  # of central differences in float64
MOST = 1500  # elements that are moved
CLOSE, SLOPES = 1e-9, 1e-6  # what autograd and differences are right to, relative


@dataclass(frozen=True)
class True_:
    """The gradients of the inputs `wanted`, by place, right to `allowed` of the largest element.

    `symmetric`: the places of matrices that may only be symmetric, so that of their gradients only
    the symmetric part is told.
    """

    gradients: dict[int, torch.Tensor]
    allowed: float
    symmetric: frozenset[int] = frozenset()

    def right(self, found: Sequence[Any]) -> frozenset[int]:
        """The places whose gradients are right."""
        return frozenset(
            at
            for at, true in self.gradients.items()
            if at < len(found) and self._close(at, found[at], true)
        )

    def _close(self, at: int, found: Any, true: torch.Tensor) -> bool:
        if at in self.symmetric and isinstance(found, torch.Tensor) and found.ndim > 1:
            found, true = found + found.mT, true + true.mT
        return _close(found, true, self.allowed)


def true_gradients(
    played: Played, plain: Callable[..., Any] | None, digits: float = 0.0
) -> True_ | None:
    """What the Function should give on its values; None where that cannot be told.

    Args:
        plain: its forward as autograd sees it; without one, central differences are taken.
        digits: how far the text's constants are rounded, relative.
    """
    if plain is None:
        return _differences(played)
    taken = [copy_of(value) for value in played.inputs]
    leaves = [taken[at].requires_grad_() for at in played.wanted]
    with torch.enable_grad():
        found = plain(*taken)
        outputs = list(found) if isinstance(found, tuple) else [found]
        pairs = [
            (o, g)
            for o, g in zip(outputs, played.cotangents, strict=True)
            if g is not None and isinstance(o, torch.Tensor) and o.requires_grad
        ]
        if not pairs:
            return None
        given = [g.to(o.dtype) for o, g in pairs]
        got = vjp([o for o, _ in pairs], leaves, given)
    zeros = (torch.zeros_like(v) if g is None else g for g, v in zip(got, leaves, strict=True))
    return True_(dict(zip(played.wanted, zeros, strict=True)), max(CLOSE, digits))


def _differences(played: Played) -> True_ | None:
    if sum(played.inputs[at].numel() for at in played.wanted) > MOST:
        return None
    found: dict[int, torch.Tensor] = {}
    for at in played.wanted:
        value = played.inputs[at]
        slopes = torch.zeros_like(value)
        for place in range(value.numel()):
            for unit in (1.0, 1j) if value.is_complex() else (1.0,):
                ends = [_sum(played, at, place, sign * STEP * unit) for sign in (1, -1)]
                slopes.view(-1)[place] += unit * (ends[0] - ends[1]) / (2 * STEP)
        found[at] = slopes
    return True_(found, SLOPES)


def _sum(played: Played, at: int, place: int, step: complex) -> float:
    """The loss whose gradients the outputs are given, with one element moved."""
    moved = played.inputs[at].clone(memory_format=torch.contiguous_format)
    moved.view(-1)[place] += step
    inputs = [moved if i == at else value for i, value in enumerate(played.inputs)]
    outputs = zip(played.outputs_of(inputs), played.cotangents, strict=True)
    return sum(float((o * g.conj()).real.sum()) for o, g in outputs if g is not None)


def _close(found: Any, true: torch.Tensor, allowed: float) -> bool:
    if not isinstance(found, torch.Tensor) or found.shape != true.shape:
        return False
    if found.is_complex() != true.is_complex():
        return False
    scale = float(true.abs().max()) if true.numel() else 0.0
    off = (found - true).abs()
    return bool((off <= allowed * max(scale, 1e-3)).all())
