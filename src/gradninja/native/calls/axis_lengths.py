"""Steps of whole words: each by the compiled loops that have room for its longest word, no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradninja.native.calls.training_run import Kernel

_WORTH = 0.9  # of the columns that are left, from which on a second kernel is not worth compiling


@dataclass(eq=False)
class ByLength:
    """Kernels of the same steps, the one of the fewest columns first; the last has room for all."""

    kernels: Sequence[Kernel]
    _ends: tuple[Any, np.ndarray[Any, Any]] | None = field(default=None, repr=False)

    @property
    def source(self) -> str:
        """The text of the one that has room for all."""
        return self.kernels[-1].source

    def run(
        self,
        parameters: Mapping[str, np.ndarray[Any, Any]],
        stream: np.ndarray[Any, Any],
        positions: np.ndarray[Any, Any],
        rates: np.ndarray[Any, Any],
        losses: np.ndarray[Any, Any],
    ) -> None:
        """As `Kernel.run`; each step by the first kernel with room for its words."""
        if self._ends is None or self._ends[0] is not stream:
            self._ends = stream, np.flatnonzero(stream == 0)
        columns = columns_of(positions, self._ends[1])
        rooms = [kernel.context for kernel in self.kernels[:-1]]
        which = np.searchsorted(rooms, columns.max(1))
        starts = np.flatnonzero(np.diff(which, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(which)], strict=True):
            part = slice(start, end)
            self.kernels[which[start]].run(
                parameters, stream, positions[part], rates[part], losses[part]
            )


def columns_of(positions: np.ndarray[Any, Any], ends: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """How many columns the words that begin at these positions take, their end marks with them."""
    found: np.ndarray[Any, Any] = ends[np.searchsorted(ends, positions)] - positions + 1
    return found


def shorter(columns: np.ndarray[Any, Any], batch: int, room: int) -> int | None:
    """The columns that a second kernel is best compiled for; None where it would gain too little.

    Args:
        columns: of each word.
        batch: how many words a step draws, each as likely as another.
        room: the columns of the first kernel.
    """
    counts = np.bincount(np.minimum(columns, room), minlength=room + 1)
    fits = (np.cumsum(counts) / counts.sum()) ** batch  # that all words of a batch have so few
    expected = np.arange(room + 1) * fits + room * (1 - fits)
    best = int(expected.argmin())
    return best if expected[best] < _WORTH * room else None
