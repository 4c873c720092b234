"""Float32 against a float64 truth: a short form that loses digits is no gain."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gradninja.algebra.widened import as_valued
from gradninja.derive import Backward
from gradninja.derive.holding.against_autograd import drawn_like
from gradninja.lines import Program
from gradninja.lines.scope import value_of

# Errors of a few units in the last place are not told apart.
FLOOR = 16 * torch.finfo(torch.float32).eps
WORSE = 3.0  # how much further from the truth than the form that it replaces a form may be
# What the inputs are multiplied with, and shifted by; how much worse a form may be there; and the
# share of the largest gradient that errors are measured against at least. On values that a softmax
# saturates on, say, both forms live of rounding; cancellation is far worse.
DRAWS = ((1.0, 0.0, WORSE, 1e-3), (3.0, 0.0, 10 * WORSE, 0.1), (1.0, 4.0, 10 * WORSE, 0.1))


@dataclass(frozen=True)
class Errors:
    """The largest relative errors of a gradient in float32: of the fused and the derived form."""

    name: str
    fused: float
    derived: float
    worse: float = WORSE

    @property
    def kept(self) -> bool:
        """Whether the fused form is no less accurate."""
        return self.fused <= self.worse * self.derived + FLOOR

    def __str__(self) -> str:
        return f"in float32 it is off by {self.fused:.1e}, the derived form by {self.derived:.1e}"


def rounding(values: Iterable[Any]) -> float:
    """What one rounding of the coarsest floats among some values is, relative."""
    floats = (v for v in values if isinstance(v, torch.Tensor) and v.is_floating_point())
    return max((torch.finfo(v.dtype).eps for v in floats), default=0.0)


def single(value: Any) -> Any:
    """A float64 tensor in float32; anything else as it is."""
    if isinstance(value, torch.Tensor) and value.dtype == torch.float64:
        return value.float()
    return value


def held(value: Any) -> Any:
    """A float64 tensor at values that float32 has: their rounding is nobody's error."""
    low = single(value)
    return low.double() if low is not value else value


def lower(program: Program) -> Callable[[Any], Any]:
    """How the inputs of a program are taken to float32, where digits and range are short.

    What was read in several precisions stays in them: its lines are made for these.
    """
    given = (each.value for each in program.inputs)
    floats = {v.dtype for v in given if isinstance(v, torch.Tensor) and v.is_floating_point()}
    return single if len(floats) < 2 else held


def keeps_digits(candidate: ast.expr, other: ast.expr, values: Mapping[str, Any]) -> bool:
    """Whether one expression is in float32 no further from the other's float64 value."""
    named = {n.id for e in (candidate, other) for n in ast.walk(e) if isinstance(n, ast.Name)}
    read = {name: values[name] for name in named & values.keys()}
    low = {name: single(value) for name, value in read.items()}
    try:
        true = value_of(other, {name: held(value) for name, value in read.items()})
        errors = [_error(value_of(e, dict(low)), true) for e in (candidate, other)]
    except (RuntimeError, TypeError):
        return False
    return errors[0] <= WORSE * errors[1] + FLOOR


def compare(fused: Backward, derived: Backward) -> list[Errors]:
    """Both forms' errors in float32 on the inputs that the forward was read with, and near them."""
    found: list[Errors] = []
    generator = torch.Generator().manual_seed(1)
    for scale, shift, worse, share in DRAWS:
        inputs = {
            given.name: held(given.value * scale + shift)
            if isinstance(given.value, torch.Tensor) and given.value.is_floating_point()
            else given.value
            for given in derived.program.inputs
        }
        values = derived.program.values
        seeds = tuple(held(drawn_like(values[name], generator)) for name in derived.outputs)
        as_low = lower(derived.program)
        low = {name: as_low(value) for name, value in inputs.items()}
        low_seeds = tuple(as_low(seed) for seed in seeds)
        try:
            with as_valued(fused.program):
                true = derived(inputs, seeds)
            first, second = fused(low, low_seeds), derived(low, low_seeds)
        except Exception:  # a forward that does not run on these: nothing to compare
            continue
        largest = max((float(t.abs().max()) for t in true.values() if t.numel()), default=0.0)
        for name, want in true.items():
            if bool(torch.isfinite(want).all()):
                mine, other = (_error(got[name], want, share * largest) for got in (first, second))
                found.append(Errors(name, mine, other, worse))
    return found


def _error(got: torch.Tensor, want: torch.Tensor, floor: float = 1e-30) -> float:
    if not want.numel():
        return 0.0
    scale = max(float(want.abs().max()), floor, 1e-30)
    off = float((got.double() - want.double()).abs().max()) / scale
    return off if off == off else float("inf")
