"""Minibatches that depend on the seed and the step alone.

Positions are drawn for a block of steps at once, by a generator of the block's own whose seed is
(seed, block number). So a run that is resumed at any step sees the batches that it would have
seen, whatever happened before, and a step costs no draw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradninja.data import Split

_BLOCK = 2**15  # examples in a block: 1024 steps of the lecture's 32, about 1 MB of contexts

_BUDGET = 2**28  # bytes that the temporaries of a block may take


def rows_at_once(width: int) -> int:
    """How many rows of so many numbers each may be worked on at once, with what comes of them.

    32 bytes a number: float32 and float64 side by side, and two more of the latter.
    """
    return max(1, _BUDGET // (32 * width))


def block_steps(batch: int) -> int:
    """How many steps a block has."""
    return max(1, _BLOCK // batch)


@dataclass(frozen=True)
class Examples:
    """What a model is trained on: letters with what came before them, or whole words.

    `context` is how many letters of the past an example has, or room for the longest word.
    """

    split: Split
    context: int
    whole: bool = False

    def __len__(self) -> int:
        return self.split.words if self.whole else len(self.split)

    def at(self, positions: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        """Examples by their places in the split's stream: (Xb, Yb), int64, as a model has them."""
        take = self.split.whole if self.whole else self.split.contexts
        inputs, targets = take(positions, self.context)
        return torch.from_numpy(inputs), torch.from_numpy(targets)

    def positions(self, *, batch: int, seed: int, block: int) -> NDArray[np.int64]:
        """The examples of a block's steps, by their places in the stream: (steps, batch)."""
        generator = np.random.default_rng((seed, block))
        found = generator.integers(0, len(self), size=(block_steps(batch), batch))
        return self.split.starts[found] if self.whole else found

    def batches(
        self, *, batch: int, seed: int, start: int = 0, padded: bool = True
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless minibatches, drawn with replacement, from step `start` on.

        Each is (Xb, Yb): int64, shapes (batch, context) and (batch,), or twice (batch, context);
        unless they are to be `padded`, whole words have as many columns as the longest of a batch.
        """
        steps = block_steps(batch)
        block, skip = divmod(start, steps)
        while True:
            positions = self.positions(batch=batch, seed=seed, block=block)
            inputs, targets = self.at(positions.ravel())
            inputs = inputs.view(steps, batch, -1)
            targets = targets.view(steps, batch, *targets.shape[1:])
            columns = [self.context] * steps
            if self.whole and not padded:
                columns = (targets >= 0).sum(2).amax(1).tolist()
            for step in range(skip, steps):
                if self.whole:
                    length = columns[step]
                    yield inputs[step, :, :length], targets[step, :, :length]
                else:
                    yield inputs[step], targets[step]
            block, skip = block + 1, 0

    def blocks(self, width: int = 1, limit: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """All examples, or the first `limit`, many at a time, as (Xb, Yb).

        Letters come in their order, whole words by length, with as many columns as a block's
        longest. `width` is how many numbers each letter leads to: where they are many, blocks are
        shorter.
        """
        count = len(self) if limit is None else min(limit, len(self))
        places = np.arange(count)
        if self.whole:
            starts = self.split.starts
            lengths = np.diff(starts, append=len(self.split))[:count]
            places = starts[:count][np.argsort(lengths, kind="stable")]
            width *= self.context
        size = min(_BLOCK, rows_at_once(width))
        for start in range(0, count, size):
            inputs, targets = self.at(places[start : start + size])
            if self.whole:
                length = int((targets >= 0).sum(1).max())
                inputs, targets = inputs[:, :length], targets[:, :length]
            yield inputs, targets
