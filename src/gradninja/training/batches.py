"""Minibatches that depend on the seed and the step alone.

Positions are drawn for a block of steps at once, by a generator of the block's own whose seed is
(seed, block number). So a run that is resumed at any step sees the batches that it would have
seen, whatever happened before, and a step costs no draw.
"""

from __future__ import annotations

from collections.abc import Iterator

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


def block_positions(split: Split, *, batch: int, seed: int, block: int) -> NDArray[np.int64]:
    """The examples of a block's steps, by their places in the split's stream: (steps, batch)."""
    generator = np.random.default_rng((seed, block))
    return generator.integers(0, len(split), size=(block_steps(batch), batch))


def batches(
    split: Split, *, context: int, batch: int, seed: int, start: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless minibatches, drawn with replacement, from step `start` on.

    Each is (Xb, Yb): int64, shapes (batch, context) and (batch,).
    """
    steps = block_steps(batch)
    block, skip = divmod(start, steps)
    while True:
        positions = block_positions(split, batch=batch, seed=seed, block=block)
        contexts, targets = split.contexts(positions.ravel(), context)
        inputs = torch.from_numpy(contexts).view(steps, batch, context).unbind()
        outputs = torch.from_numpy(targets).view(steps, batch).unbind()
        yield from zip(inputs[skip:], outputs[skip:], strict=True)
        block, skip = block + 1, 0


def blocks(split: Split, context: int, width: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    """All examples of a split in their order, many at a time, as (Xb, Yb).

    `width` is how many numbers each leads to: where they are many, blocks are shorter.
    """
    size = min(_BLOCK, rows_at_once(width))
    for start in range(0, len(split), size):
        positions = np.arange(start, min(start + size, len(split)))
        contexts, targets = split.contexts(positions, context)
        yield torch.from_numpy(contexts), torch.from_numpy(targets)
