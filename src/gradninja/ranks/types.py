"""Types of a value on a mesh axis: what the ranks along it hold of one whole.

The vocabulary and the table of gradients are those of `spmd_types` (Meta, PyPI):

- replicated (R): every rank holds the whole;
- invariant (I): the same, of a value whose gradient is wanted whole on every rank: a weight;
- varying (V): each rank holds other numbers; `S(0)`: its share of the tensor's axis 0;
- partial (P): the whole is the sum of what the ranks hold.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Type:
    """A value's type on one mesh axis; `dim` is the axis of the tensor that a varying one has."""

    letter: str
    dim: int | None = None

    def __str__(self) -> str:
        return self.letter if self.dim is None else f"S({self.dim})"

    @property
    def varies(self) -> bool:
        return self.letter == "V"

    @property
    def partial(self) -> bool:
        return self.letter == "P"


R, P = Type("R"), Type("P")


def V(dim: int | None = None) -> Type:
    """A share of the tensor's axis `dim`; of none where each rank has another tensor."""
    return Type("V", dim)


WORDS = {"R": "replicated", "I": "invariant", "V": "varying", "P": "partial"}

# A value's type -> its gradient's, before any collective: what is the same on every rank is used
# by every rank, each use gives a part of the gradient, and the reverse.
GRADIENT = {"R": "P", "I": "I", "V": "V", "P": "R"}
