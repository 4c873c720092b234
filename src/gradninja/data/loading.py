"""A text file of one word a line -> shuffled, split, flat tokens.

Three million words would be 2.6 GB as lists of Python ints, so no step here holds all words as
Python objects: the file is read a block at a time, and each block becomes code points.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import random
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradninja.data.formats import refuse_other_formats
from gradninja.data.tokens import END, PIECE, Dataset, Split, Tokens, Vocabulary
from gradninja.errors import DataError, Spot
from gradninja.files import opened

EMBEDDED = Path(__file__).with_name("names.txt")

_ONE_WORD_A_LINE = "give a text file in UTF-8 with one word a line"
_NAMES = ("train", "validation", "test")


def load_words(
    path: Path | None = None,
    *,
    seed: int = 42,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    vocabulary: Vocabulary | None = None,
) -> Dataset:
    """Read words, one a line, shuffle them, and split them by word.

    The file is UTF-8, with or without a byte order mark, lines ended by LF, CRLF or CR. Spaces
    around a word and blank lines are dropped; everything else is kept as it stands, repeated words
    too. The words are put in the order that `random.Random(seed).shuffle` gives a list of them,
    and cut at `int(train * words)` and `int((train + validation) * words)`.

    Args:
        path: the file; None for the embedded list of names.
        seed: of the shuffle.
        fractions: of the words that go to train, validation and test; they add up to 1. A split
            whose fraction is 0 may stay empty.
        vocabulary: use these tokens (a trained network's) in place of the data's own.

    Raises:
        DataError: the file is missing, no plain file, unreadable, empty, of another format (JSON,
            a table, UTF-16, packed, ...), binary, not UTF-8 (with the line), has a line that does
            not end, fewer words than the splits need, or a symbol that the given vocabulary has
            not (with the line).
        ValueError: the fractions are negative or do not add up to 1.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions {fractions} are not three shares of 1")
    path = EMBEDDED if path is None else Path(path)
    try:
        blocks, digest = _read(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    stream, vocabulary = _tokens(path, blocks, vocabulary)
    ends = np.flatnonzero(stream == 0).astype(np.uint32)
    cuts = _cuts(path, ends.size, fractions)
    stream, ends = _reorder(stream, ends, _shuffled(ends.size, seed))
    places = [0 if cut == 0 else int(ends[cut - 1]) + 1 for cut in cuts]
    train, validation, test = (
        Split(stream[places[k] : places[k + 1]], cuts[k + 1] - cuts[k], vocabulary)
        for k in range(3)
    )
    return Dataset(path.stem, vocabulary, train, validation, test, digest)


def _read(path: Path) -> tuple[list[Tokens], str]:
    """The file's words as code points, each word followed by 0, in blocks; and its SHA-256."""
    blocks: list[Tokens] = []
    digest = hashlib.sha256()
    line = 1
    rest = b""  # of the last block: a line that goes on
    with opened(path) as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            if line == 1 and not blocks:
                refuse_other_formats(path, piece)
                piece = piece.removeprefix(codecs.BOM_UTF8)
            block, rest = _whole_lines(path, rest + piece, line)
            blocks.append(_code_points(path, block, line))
            line += _line_ends(block)
    blocks.append(_code_points(path, rest, line))
    return blocks, digest.hexdigest()


def _whole_lines(path: Path, block: bytes, line: int) -> tuple[bytes, bytes]:
    """A block up to its last line end, and what comes after."""
    end = block.rfind(b"\n") + 1 or block.rfind(b"\r", 0, -1) + 1
    if len(block) - end > PIECE:
        number = line + _line_ends(block[:end])
        if b"\0" in block[end:]:
            raise _binary(path, block, line)
        raise DataError(
            f"line {number} of {path} is longer than {PIECE:,} bytes", hint=_ONE_WORD_A_LINE
        )
    return block[:end], block[end:]


def _code_points(path: Path, block: bytes, line: int) -> Tokens:
    """The words of a block that starts at `line`, as code points in the smallest type for them."""
    if b"\0" in block:
        raise _binary(path, block, line)
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _undecodable(path, block, line, error) from error
    lines = text.replace("\r", "\n").split("\n")
    # No word holds a NUL, so it can mark the ends, and token 0 falls out by itself.
    words = "\0".join([word for line in lines if (word := line.strip())] + [""])
    if words.isascii():
        return np.frombuffer(words.encode("ascii"), dtype=np.uint8)
    points = np.frombuffer(words.encode("utf-32-le"), dtype="<u4")
    return points.astype(np.min_scalar_type(int(points.max())))


def _tokens(
    path: Path, blocks: list[Tokens], vocabulary: Vocabulary | None
) -> tuple[Tokens, Vocabulary]:
    """The stream in the file's order. Empties `blocks` on the way, so that memory is used once."""
    seen = np.zeros(0x110000, dtype=np.bool_)
    for block in blocks:
        seen[block] = True
    if not seen.any():
        raise DataError(f"{path} holds no words", hint=_ONE_WORD_A_LINE)
    points = np.flatnonzero(seen)  # sorted, and the first is 0, the end mark
    if vocabulary is None:
        vocabulary = Vocabulary((END, *map(chr, points[1:])))
    known = {ord(symbol): token for token, symbol in enumerate(vocabulary.symbols) if token}
    known[0] = 0
    unknown = {chr(point) for point in points if point not in known}
    if unknown:
        raise _unknown_symbol(path, unknown, vocabulary)
    table = np.zeros(int(points[-1]) + 1, dtype=vocabulary.dtype)
    table[points] = [known[point] for point in points.tolist()]
    stream = np.empty(sum(block.size for block in blocks), dtype=vocabulary.dtype)
    place = stream.size
    while blocks:
        block = blocks.pop()
        place -= block.size
        stream[place : place + block.size] = table[block]
    return stream, vocabulary


def _shuffled(words: int, seed: int) -> NDArray[np.uint32]:
    """The order that `random.Random(seed).shuffle` gives a list of so many words."""
    order = array("I", range(words))
    random.Random(seed).shuffle(order)
    return np.frombuffer(order, dtype=np.uint32)


def _reorder(
    stream: Tokens, ends: NDArray[np.uint32], order: NDArray[np.uint32]
) -> tuple[Tokens, NDArray[np.uint32]]:
    """The stream with its words in another order, and the places of its end marks."""
    sizes = np.diff(ends, prepend=np.uint32(0xFFFFFFFF))  # wraps: the first word starts at 0
    starts = (ends - sizes + 1)[order]
    sizes = sizes[order]
    new_ends = np.cumsum(sizes, dtype=np.uint32) - np.uint32(1)
    shuffled = np.empty_like(stream)
    for first in range(0, order.size, PIECE // 16):
        words = slice(first, first + PIECE // 16)
        to = new_ends[words] + 1 - sizes[words]
        place, stop = int(to[0]), int(new_ends[words][-1]) + 1
        shift = np.repeat(starts[words].astype(np.int64) - to, sizes[words])
        shuffled[place:stop] = stream[shift + np.arange(place, stop)]
    return shuffled, new_ends


def _cuts(path: Path, words: int, fractions: tuple[float, float, float]) -> list[int]:
    train, validation, _ = fractions
    cuts = [0, int(train * words), int((train + validation) * words), words]
    for k, fraction in enumerate(fractions):
        if fraction > 0 and cuts[k] == cuts[k + 1]:
            noun = "word" if words == 1 else "words"
            raise DataError(
                f"{path} holds {words} {noun}, too few: the {_NAMES[k]} split would be empty",
                hint="ten words are enough for the usual splits (80% / 10% / 10%)",
            )
    return cuts


def _line_ends(block: bytes) -> int:
    return block.count(b"\n") + block.count(b"\r") - block.count(b"\r\n")


def _unreadable(path: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"there is no file {path}", hint=_ONE_WORD_A_LINE)
    if isinstance(error, IsADirectoryError):
        return DataError(f"{path} is a folder", hint=_ONE_WORD_A_LINE)
    return DataError(f"{path} cannot be read: {error.strerror}", hint=_ONE_WORD_A_LINE)


def _binary(path: Path, block: bytes, line: int) -> DataError:
    line += _line_ends(block[: block.index(b"\0")])
    return DataError(f"{path} is binary: line {line} has a NUL byte", hint=_ONE_WORD_A_LINE)


def _undecodable(path: Path, block: bytes, line: int, error: UnicodeDecodeError) -> DataError:
    before = block[: error.start].replace(b"\r", b"\n").rpartition(b"\n")[2]
    after = block[error.start :].replace(b"\r", b"\n").partition(b"\n")[0]
    column = len(before.decode("utf-8"))
    spot = Spot(
        str(path),
        line + _line_ends(block[: error.start]),
        (before + after).decode("utf-8", errors="replace"),
        column,
        column + 1,
    )
    return DataError(
        f"{path} is not UTF-8: byte 0x{block[error.start]:02x} cannot be decoded",
        spot=spot,
        hint="save the file as UTF-8",
    )


def _unknown_symbol(path: Path, unknown: set[str], vocabulary: Vocabulary) -> DataError:
    for number, text in _lines(path):
        for column, symbol in enumerate(text):
            if symbol in unknown:
                return DataError(
                    f"{symbol!r} is not in the vocabulary",
                    spot=Spot(str(path), number, text, column, column + 1),
                    hint=f"the symbols are: {''.join(vocabulary.symbols[1:])}",
                )
    raise AssertionError("a symbol of the stream is in none of the words")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with io.TextIOWrapper(opened(path), encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            yield number, line.strip()
