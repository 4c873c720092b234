"""Complex inputs and outputs as pairs of real numbers, which central differences can move.

Of a real loss and z = a + ib PyTorch's gradient is dL/da + i dL/db ("Autograd mechanics", complex
numbers): its parts are the gradient of `view_as_real(z)`. Through y = f(z) it is the gradient of y
times the conjugate of f'(z).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from gradninja.check.reference.tolerance import distance
from gradninja.check.tell.findings import LineReport, Verdict

MISSING, TOO_MANY = "missing conjugate", "conjugated"
CONVENTION = (
    "PyTorch's gradient of a complex input z = a + ib is dL/da + i dL/db, so through y = f(z) the "
    "gradient of y is multiplied by the conjugate of f'(z)"
)


@dataclass(frozen=True)
class InParts:
    """A Function whose inputs at these places are pairs; complex outputs become pairs.

    `conjugate`: of outputs the conjugate.
    """

    function: Any
    places: frozenset[int]
    conjugate: bool = False

    def apply(self, *values: Any) -> Any:
        pairs = (torch.view_as_complex(v) if i in self.places else v for i, v in enumerate(values))
        found = self.function.apply(*pairs)
        several = found if isinstance(found, tuple) else (found,)
        parts = tuple(map(self._part, several))
        return parts if isinstance(found, tuple) else parts[0]

    def _part(self, output: Any) -> Any:
        if not (isinstance(output, torch.Tensor) and output.is_complex()):
            return output
        return torch.view_as_real((output.conj() if self.conjugate else output).resolve_conj())


def complex_places(given: Mapping[str, Any]) -> frozenset[int]:
    return frozenset(i for i, v in enumerate(given.values()) if is_complex(v))


def is_complex(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_complex()


def in_parts(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same values, complex ones as pairs."""
    return {
        name: torch.view_as_real(value.detach().resolve_conj().clone())
        if is_complex(value)
        else value
        for name, value in given.items()
    }


def told(
    line: LineReport,
    got: torch.Tensor,
    true: torch.Tensor,
    crossed: Callable[[], torch.Tensor],
    allowed: float,
) -> LineReport:
    """The row of a complex input: its own shape, and what is said of a conjugate.

    Args:
        got, true: in pairs.
        crossed: the true gradient, in pairs, where the outputs' gradients are conjugated.
    """
    shape = tuple(true.shape[:-1])
    line = replace(line, shape=shape, expected_shape=shape)
    if line.verdict is not Verdict.WRONG or got.shape != true.shape:
        return line
    other = torch.tensor([1.0, -1.0], dtype=got.dtype)
    if distance(got, (true * other).to(got.dtype)) <= allowed:
        said = f"It is the conjugate of what it should be. {CONVENTION}."
        return replace(line, kind=TOO_MANY, diagnosis=said)
    if distance(got, (crossed() * other).to(got.dtype)) <= allowed:
        said = "A factor's conjugate is missing: `f'(z)` stands where `f'(z).conj()` belongs."
        return replace(line, kind=MISSING, diagnosis=f"{said} {CONVENTION}.")
    return replace(line, notes=(*line.notes, CONVENTION))
