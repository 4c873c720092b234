"""Sampling and evaluation from a table of what follows each context.

A network with a short context can be asked about all of them beforehand: 27**3 for the lecture's
three letters of 27. A context's number, its code, is its letters as digits, the nearest last; so
the code after a further letter is `code * vocabulary % number of codes + letter`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gradninja.native.cache import may_keep

Floats = NDArray[np.float64]


def draw(
    generator: np.random.Generator,
    boundaries: Floats,
    first: Floats,
    start: int,
    words: int,
    longest: int,
    dtype: Any,
) -> NDArray[Any]:
    """Draw words, letter by letter.

    Args:
        boundaries: (codes, vocabulary - 1), the cumulated probabilities of the letters that
            follow a context but for the last one, which is 1.
        first: (vocabulary - 1,), the same for the first letter drawn of each word.
        start: the code of the context that each word starts with.
        words: how many.
        longest: letters; a word that has so many is cut off.
        dtype: of the tokens.

    Returns:
        The drawn letters of all words as one stream of tokens, each word followed by 0.
    """
    out = np.empty(words * (longest + 1), dtype)
    return out[: _draw(generator, boundaries, first, start, words, longest, out)]


@njit(cache=may_keep(__file__))
def _draw(
    generator: Any, boundaries: Any, first: Any, start: Any, words: Any, longest: Any, out: Any
) -> Any:
    codes, vocabulary = boundaries.shape[0], boundaries.shape[1] + 1
    size = 0
    for _ in range(words):
        code, row = start, first
        for _ in range(longest):
            uniform = generator.random()
            letter = 0  # where the number falls among the cumulated probabilities
            for boundary in row:
                letter += uniform >= boundary
            out[size] = letter
            size += 1
            if letter == 0:
                break
            code = code * vocabulary % codes + letter
            row = boundaries[code]
        else:
            out[size] = 0
            size += 1
    return size


@njit(cache=may_keep(__file__))
def total(stream: Any, table: Any) -> Any:
    """The sum over a stream of words, each followed by 0, of what a table has for each letter.

    Args:
        stream: (len,), unsigned tokens.
        table: (codes, vocabulary), float64: a value for each letter after each context, such as
            the letter's cross-entropy.
    """
    codes, vocabulary = table.shape
    found, code = 0.0, 0
    for token in stream:
        letter = np.int64(token)
        found += table[code, letter]
        code = code * vocabulary % codes + letter if letter else 0
    return found
