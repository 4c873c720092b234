"""How well guessed values fit a Function: whether its backward runs on them, and is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any

import torch

from gradninja.check.given.execution import counted, precision, quiet
from gradninja.lines.scope import vjp

CLOSE = {torch.float64: 1e-9, torch.float32: 1e-4}  # relative


class Fit(IntEnum):
    """How far a Function comes on values."""

    NOT = 0
    RUNS = 1
    SHAPES = 2  # each gradient that its backward returns is of its input's shape
    RIGHT = 3


def fit_of(plain: Callable[..., Any], call: Callable[..., Any], values: Mapping[str, Any]) -> Fit:
    """How far it comes in float64; in float32 where it takes nothing else.

    Args:
        plain: its forward as a plain function.
        call: its `apply`.
    """
    fits = (_fit_in(dtype, plain, call, values) for dtype in CLOSE)
    return next((fit for fit in fits if fit > Fit.NOT), Fit.NOT)


def _fit_in(
    dtype: torch.dtype,
    plain: Callable[..., Any],
    call: Callable[..., Any],
    values: Mapping[str, Any],
) -> Fit:
    fit = Fit.NOT
    try:
        with precision(dtype), quiet(), counted():
            leaves = _leaves(values, dtype)
            outputs = _outputs(call(*_taken(values, leaves).values()))
            flowing = [o for o in outputs if isinstance(o, torch.Tensor) and o.requires_grad]
            given = [torch.randn_like(o) for o in flowing]
            in_shape = _in_shape(outputs, given, values, leaves)  # before the engine frees it
            got = vjp(flowing, list(leaves.values()), given)
            fit = Fit.SHAPES if in_shape else Fit.RUNS
            outputs = _outputs(plain(**_taken(values, leaves)))
            flowing = [o for o in outputs if isinstance(o, torch.Tensor) and o.requires_grad]
            true = vjp(flowing, list(leaves.values()), given)
    except Exception:  # values that do not fit
        return fit
    pairs = [(a, b) for a, b in zip(got, true, strict=True) if a is not None and b is not None]
    right = pairs and all(_close(mine, known, CLOSE[dtype]) for mine, known in pairs)
    return Fit.RIGHT if right else fit


def _leaves(values: Mapping[str, Any], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {
        name: value.detach().to(dtype).requires_grad_()
        for name, value in values.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    }


def _taken(values: Mapping[str, Any], leaves: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """What is handed in, which may be written into."""
    return {n: leaves[n].clone() if n in leaves else v for n, v in values.items()}


def _outputs(found: Any) -> list[Any]:
    return list(found) if isinstance(found, tuple) else [found]


def _in_shape(
    outputs: Sequence[Any],
    given: Sequence[torch.Tensor],
    values: Mapping[str, Any],
    leaves: Mapping[str, torch.Tensor],
) -> bool:
    """Whether the backward itself gives each input's shape: autograd would sum what is larger."""
    cotangents = iter(given)
    flowing = [isinstance(o, torch.Tensor) and o.requires_grad for o in outputs]
    handed = [
        next(cotangents) if flows else torch.zeros_like(o) if isinstance(o, torch.Tensor) else None
        for o, flows in zip(outputs, flowing, strict=True)
    ]
    node = next(o.grad_fn for o, flows in zip(outputs, flowing, strict=True) if flows)
    with torch.no_grad():
        found = node.apply(*handed)
    back = dict(zip(values, _outputs(found), strict=False))
    return all(
        back[name].shape == leaf.shape
        for name, leaf in leaves.items()
        if back.get(name) is not None
    )


def _close(mine: torch.Tensor, known: torch.Tensor, relative: float) -> bool:
    largest = float(known.abs().max()) if known.numel() else 0.0
    return bool(((mine - known).abs() <= relative * largest).all())
