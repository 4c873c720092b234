"""Minibatches within compiled code: contexts are made on the way, from the flat tokens."""

from __future__ import annotations

from typing import Any

from numba import njit


@njit
def contexts(stream: Any, positions: Any, Xb: Any, Yb: Any) -> None:
    """Fill a batch with the examples at `positions` of a stream of tokens.

    Args:
        stream: (len,), unsigned: words, each followed by the end mark 0.
        positions: (n,), integers, 0 <= position < len.
        Xb: (n, context), written: the tokens before each position, the nearest last; from the
            previous word's end mark backwards all are 0.
        Yb: (n,), written: the tokens at the positions.
    """
    size = Xb.shape[1]
    for i in range(positions.size):
        position = positions[i]
        Yb[i] = stream[position]
        inside = True
        for back in range(1, size + 1):
            token = 0
            if inside and position >= back:
                token = stream[position - back]
            inside = token != 0
            Xb[i, size - back] = token
