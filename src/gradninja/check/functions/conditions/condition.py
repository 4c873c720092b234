"""A condition that a Function is called under, and the gradients that a call has under it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gradninja.check.reference.truth import gapped, size
from gradninja.lines.scope import seeded, vjp

Values = dict[str, Any]
Call = Callable[..., Any]
WIDE = torch.float64
BOUNDLESS = 1e25  # what stands for infinity: a log-probability of -1e30


def as_it_is(call: Call) -> Call:
    return call


@dataclass(frozen=True)
class Condition:
    """`values` and `cotangent` change what is given; `wants` are the inputs that ask for gradients.

    `bends`: at such values the forward may bend, and any slope between both sides is right. `mine`
    and `true` change how the Function and its plain forward are called. `lines` show it in code,
    with `x` for each input and `g` for the cotangent.
    """

    name: str
    lines: str
    values: Callable[[Values], Values] = dict
    cotangent: Callable[[torch.Tensor], torch.Tensor] = torch.clone
    dtype: torch.dtype = WIDE
    wants: tuple[str, ...] | None = None
    silent: int | None = None  # an output that nothing uses
    bends: bool = False
    mine: Callable[[Call], Call] = as_it_is
    true: Callable[[Call], Call] = as_it_is

    @property
    def only_values(self) -> bool:
        """Whether nothing is special but the values of the inputs."""
        usual = Condition("", "")
        mine = (self.cotangent, self.dtype, self.wants, self.silent, self.mine)
        return mine == (usual.cotangent, usual.dtype, usual.wants, usual.silent, usual.mine)


def gradients_under(
    call: Callable[..., Any],
    values: Values,
    wanted: Sequence[str],
    condition: Condition,
    dtype: torch.dtype | None = None,
) -> dict[str, Any] | Exception:
    """The gradients of a call's inputs, or what it raises."""
    taken: Values = {}
    for name, value in values.items():
        moved = as_type(value, dtype or condition.dtype)
        copy = moved.detach() if isinstance(moved, torch.Tensor) else moved
        if isinstance(copy, torch.Tensor) and copy.data_ptr() == getattr(value, "data_ptr", int)():
            copy = gapped(copy) if not copy.is_contiguous() and copy.ndim else copy.clone()
        taken[name] = copy.requires_grad_() if name in wanted else copy
    try:
        with torch.enable_grad(), seeded(0):  # a mask that is drawn is the same one in both
            output = call(*taken.values())
            several = output if isinstance(output, tuple) else (output,)
            tensors = [o.detach() for o in several if isinstance(o, torch.Tensor)]
            if any(size(o) > BOUNDLESS or bool(o.isnan().any()) for o in tensors):
                return OverflowError("no such values are meant")
            floats = [
                (place, one)
                for place, one in enumerate(several)
                if isinstance(one, torch.Tensor) and one.requires_grad and place != condition.silent
            ]
            if not floats:
                return dict.fromkeys(wanted)
            cotangents = [condition.cotangent(_drawn(one, place)) for place, one in floats]
            found = vjp([one for _, one in floats], [taken[name] for name in wanted], cotangents)
    except Exception as error:  # whatever the person's code raises
        return error
    zeros = (torch.zeros_like(taken[n]) if g is None else g for n, g in zip(wanted, found))  # noqa: B905
    return dict(zip(wanted, zeros, strict=True))


def _drawn(output: torch.Tensor, place: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(place + 1)
    return torch.randn(output.shape, generator=generator, dtype=WIDE).to(output.dtype)


def as_type(value: Any, dtype: torch.dtype) -> Any:
    floats = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.to(dtype) if floats else value
