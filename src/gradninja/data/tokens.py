"""What words become: a vocabulary, and flat tokens that give contexts when asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gradninja.errors import DataError

END = "."  # how the end mark, token 0, is shown; a "." of the data is a symbol of its own
PIECE = 1 << 20  # tokens handled at a time where numpy would need a wide temporary for each

Tokens = NDArray[np.unsignedinteger]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of the words, one Unicode code point each; a symbol's place is its token.

    Attributes:
        symbols: `END` first (token 0, the end mark), then the symbols of the data, sorted.
    """

    symbols: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many tokens there are, the end mark included."""
        return len(self.symbols)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest unsigned type that holds every token."""
        return np.min_scalar_type(self.size - 1)

    def encode(self, word: str) -> Tokens:
        """The tokens of a word, (len(word),), without an end mark.

        Raises:
            DataError: the word has a symbol that the vocabulary has not.
        """
        unknown = [symbol for symbol in word if symbol not in self._tokens]
        if unknown:
            raise DataError(
                f"{word!r} has the symbol {unknown[0]!r}, which is not in the vocabulary",
                hint=f"the symbols are: {''.join(self.symbols[1:])}",
            )
        return np.array([self._tokens[symbol] for symbol in word], dtype=self.dtype)

    def decode(self, tokens: Iterable[int]) -> str:
        """The word that the tokens spell, up to the first end mark or the last token."""
        word = []
        for token in tokens:
            if token == 0:
                break
            word.append(self.symbols[token])
        return "".join(word)

    def spell(self, stream: Tokens) -> Iterator[str]:
        """The words of a stream in which each word is followed by an end mark."""
        points = np.array([0, *map(ord, self.symbols[1:])], dtype="<u4")
        rest = ""
        for start in range(0, stream.size, PIECE):
            text = points[stream[start : start + PIECE]].tobytes().decode("utf-32-le")
            *words, rest = (rest + text).split("\0")
            yield from words

    @cached_property
    def _tokens(self) -> dict[str, int]:
        return {symbol: token for token, symbol in enumerate(self.symbols) if token}


@dataclass(frozen=True, eq=False)
class Split:
    """Words as one flat array of tokens; every token of it is the target of one example.

    Attributes:
        stream: (len,) of the vocabulary's dtype: the words, each followed by the end mark 0.
        words: how many words.
        vocabulary: what the tokens stand for.
    """

    stream: Tokens = field(repr=False)
    words: int
    vocabulary: Vocabulary = field(repr=False)

    def __len__(self) -> int:
        """The number of examples, which is the number of tokens."""
        return int(self.stream.size)

    def contexts(self, positions: NDArray[np.integer], context: int) -> tuple[Integers, Integers]:
        """The examples at `positions`: what comes before, and what comes next.

        Args:
            positions: (n,) places in the stream, 0 <= position < len.
            context: how many tokens a context has.

        Returns:
            X, int64 (n, context): the tokens before each position, the nearest last; from the
                previous word's end mark backwards all are 0, so no context reaches into another
                word.
            Y, int64 (n,): the tokens at the positions.
        """
        positions = np.asarray(positions, dtype=np.int64)
        X = np.zeros((positions.size, context), dtype=np.int64)
        inside = np.ones(positions.size, dtype=np.bool_)
        for back in range(1, min(context, len(self)) + 1):
            # Before the first word the index turns negative: -1 is the last end mark, and all
            # beyond it is outside.
            token = self.stream[positions - back]
            inside &= token != 0
            X[:, context - back] = token * inside
        return X, self.stream[positions].astype(np.int64)

    @cached_property
    def starts(self) -> Integers:
        """Where each word begins in the stream, int64 (words,)."""
        ends = np.flatnonzero(self.stream == 0)
        return np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])[: self.words]

    @cached_property
    def longest(self) -> int:
        """The letters of the longest word, 0 where there is none."""
        return int(np.diff(self.starts, append=len(self)).max(initial=1)) - 1

    def whole(self, starts: NDArray[np.integer], context: int) -> tuple[Integers, Integers]:
        """The words that begin at `starts`, each a row: what is read, and what comes next.

        Args:
            starts: (n,) places in the stream, some of `self.starts`.
            context: columns; a longer word is cut off there.

        Returns:
            X, int64 (n, context): 0 and the word's letters, and 0 in all columns after them.
            Y, int64 (n, context): the letters and the end mark 0, and -1 after it.
        """
        starts = np.asarray(starts, dtype=np.int64)
        places = np.minimum(starts[:, None] + np.arange(context), len(self) - 1)
        Y = self.stream[places].astype(np.int64)
        after = np.zeros(Y.shape, np.bool_)  # whether the end mark came before
        np.logical_or.accumulate(Y[:, :-1] == 0, axis=1, out=after[:, 1:])
        Y[after] = -1
        X = np.zeros_like(Y)
        X[:, 1:] = np.maximum(Y[:, :-1], 0)
        return X, Y

    def contains(self, word: str) -> bool:
        """Whether the word is one of this split's. The first call builds the set of its words."""
        return word in self._lexicon

    @cached_property
    def _lexicon(self) -> frozenset[str]:
        return frozenset(self.vocabulary.spell(self.stream))


@dataclass(frozen=True, eq=False)
class Dataset:
    """The words of a file, shuffled and split.

    Attributes:
        name: the file's name without its ending.
        vocabulary: the symbols of all words.
        train, validation, test: the splits, views of one stream.
        sha256: of the file's bytes, as hexadecimal text.
    """

    name: str
    vocabulary: Vocabulary
    train: Split
    validation: Split
    test: Split
    sha256: str

    def contains(self, word: str) -> bool:
        """Whether the word is one of the file, whatever its split."""
        return any(split.contains(word) for split in (self.train, self.validation, self.test))

    @property
    def longest(self) -> int:
        """The letters of the longest word."""
        return max(split.longest for split in (self.train, self.validation, self.test))
