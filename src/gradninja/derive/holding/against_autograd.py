"""A net under the walk: what was derived is compared with autograd before it is handed out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from gradninja.derive.holes import FULL, empty_of
from gradninja.errors import DeriveError
from gradninja.lines import Program
from gradninja.lines.scope import LIBRARY, run, vjp

# Relative to the largest element. Reading is in float64, so a right gradient is within 1e-10; a
# wrong rule is off by parts of one. Programs that cast to less themselves get that precision.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 2e-2, torch.float16: 2e-2, torch.bfloat16: 5e-2}
# Of the largest gradient on the way: what cancels further up leaves them behind.
ROUNDINGS = {torch.float64: 1000, torch.float32: 1000, torch.float16: 4, torch.bfloat16: 4}

SUSPECTS = (
    "a row of the rule book is wrong here: please report the forward. "
    "A rule of your own, given with gradninja.rule, is the first suspect"
)


def cotangents_of(
    program: Program, values: Mapping[str, Any], seed: int
) -> dict[str, torch.Tensor]:
    """A cotangent for each output that has a gradient, on its device; 1 for a loss alone."""
    generator = torch.Generator().manual_seed(seed)
    floats = program.flowing
    return {
        name: torch.ones_like(values[name])
        if values[name].ndim == 0 and len(floats) == 1
        else drawn_like(values[name], generator)
        for name in floats
    }


def drawn_like(value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Normal numbers of a value's shape and dtype, the same on any device."""
    return torch.randn(value.shape, generator=generator, dtype=value.dtype).to(value.device)


def truth(
    program: Program,
    cotangents: Mapping[str, torch.Tensor],
    values: Mapping[str, Any] | None = None,
    on_the_way: bool = False,
) -> dict[str, torch.Tensor]:
    """Autograd's gradients of the wanted inputs, by default on the values that were read.

    With `on_the_way` also of every name that a gradient flows through.

    Lines that no gradient flows through keep the values that they had then, so that random ones
    are the same.
    """
    scope: dict[str, Any] = {**LIBRARY, **program.namespace, **(values or program.values)}
    leaves = {}
    for name in program.differentiable:
        leaves[name] = scope[name] = scope[name].detach().clone().requires_grad_()
    lines = [line for line in program.lines if line.expr.differentiable]
    with torch.enable_grad():
        for line in lines:
            run([line.code], scope, "<forward>")
        if on_the_way:
            made = {name: scope[name] for line in lines for name in line.targets}
            leaves.update({name: value for name, value in made.items() if value.requires_grad})
        outputs = [scope[name] for name in cotangents]
        found = vjp(
            [o for o in outputs if o.requires_grad],
            list(leaves.values()),
            [g for o, g in zip(outputs, cotangents.values(), strict=True) if o.requires_grad],
        )
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }


def largest_of(tensors: Iterable[torch.Tensor]) -> float:
    """The largest finite element's size; 0 where there is none."""
    return max((_size(t) for t in tensors if t.numel()), default=0.0)


def _size(tensor: torch.Tensor) -> float:
    """The largest finite element's size."""
    if tensor.is_floating_point():
        least, most = tensor.aminmax()
        found = max(float(most), -float(least))
        if math.isfinite(found):
            return found
    finite = tensor[torch.isfinite(tensor)]
    return float(finite.abs().max()) if finite.numel() else 0.0


def verify(
    program: Program,
    derived: Mapping[str, torch.Tensor],
    cotangents: Mapping[str, torch.Tensor],
    on_the_way: Iterable[torch.Tensor],
) -> None:
    """Compare derived gradients with autograd's.

    Args:
        derived: those of the wanted inputs.
        on_the_way: the gradients of everything else; where they are huge and cancel, both sides
            are their rounding.

    Raises:
        DeriveError: they differ: a wrong row of the rule book is refused, never handed out.
    """
    try:
        true = truth(program, cotangents)
    except (RuntimeError, NotImplementedError):
        if program.namespace:  # a function with a rule of its own that autograd cannot go through
            return
        raise
    wrong = differs(program, program.values, derived, true, on_the_way)
    if wrong:
        broken = [of for of in cotangents if bool(program.values[of].isnan().any())]
        if broken:
            raise DeriveError(
                f"`{broken[0]}` has a nan on the values that the forward was read with, so its "
                "gradients cannot be held to autograd's",
                hint="give `inputs` on which the forward is finite",
            )
        empty = empty_of(program.values)
        if empty:
            raise DeriveError(
                f"`{empty}` has no elements, and there the gradient derived for `{wrong}` is not "
                "autograd's",
                hint=FULL,
            )
        raise DeriveError(
            f"the gradient derived for `{wrong}` is not autograd's, so it is not given",
            hint=SUSPECTS,
        )


def differs(
    program: Program,
    values: Mapping[str, Any],
    derived: Mapping[str, torch.Tensor],
    true: Mapping[str, torch.Tensor],
    on_the_way: Iterable[torch.Tensor],
) -> str:
    """Whose gradient is not the true one; empty where all are."""
    among = {value.dtype for value in values.values() if isinstance(value, torch.Tensor)}
    dtype = next((coarse for coarse in reversed(TOLERANCE) if coarse in among), torch.float64)
    tolerance = TOLERANCE[dtype]
    scale = max(1.0, largest_of(true.values()))
    rounding = ROUNDINGS[dtype] * torch.finfo(dtype).eps * largest_of(on_the_way)
    for name, expected in true.items():
        got = derived[name]
        largest = largest_of([expected])
        bound = tolerance * (scale * 1e-3 + largest) + rounding
        if got.shape != expected.shape:
            return name
        if _within(got, expected, bound):  # as most are, and quicker seen
            continue
        if not torch.isclose(got, expected, rtol=tolerance, atol=bound, equal_nan=True).all():
            return name
    return ""


def _within(got: torch.Tensor, expected: torch.Tensor, bound: float) -> bool:
    """Whether all elements are finite and no further off than that."""
    if not expected.numel() or not expected.is_floating_point():
        return False
    least, most = (got - expected).aminmax()
    return float(most) <= bound and -float(least) <= bound
