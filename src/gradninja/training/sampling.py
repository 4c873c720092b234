"""New words from a trained network, many at once.

A word's next letter depends on its context alone, so the network is asked about each distinct
context once: about those that come up, or, for a draw that is large beside the number of contexts
that there are, about all of them beforehand.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradninja.data import Vocabulary
from gradninja.errors import DataError, RunError
from gradninja.training.network import Network
from gradninja.training.steps.batches import rows_at_once

LONGEST = 200  # letters; a network that never ends a word is cut off here
_AT_ONCE = 2**16  # words
_PATIENCE = 20  # times as many words are tried before `--new-only` gives up
_FEW = 1000  # words; drawing fewer is hardly faster


class Word(NamedTuple):
    """A sampled word; `seen` tells whether it is a training word, None when that is unknown."""

    text: str
    seen: bool | None = None


def sample(
    network: Network,
    count: int,
    *,
    seed: int,
    temperature: float = 1.0,
    prefix: str = "",
    contains: Callable[[str], bool] | None = None,
    new_only: bool = False,
) -> list[Word]:
    """Draw `count` words that start with `prefix`.

    Logits are divided by `temperature` (above 0): below 1 the likely letters get likelier.
    `contains` tells training words; with `new_only` it tells all words of the file, and they are
    drawn again, as is what was drawn before. Raises DataError for a prefix with a letter outside
    of the vocabulary or as long as the longest word, and RunError when no new words come.
    """
    words = _words(network, count, seed, temperature, prefix, forever=new_only)
    if contains is None or not new_only:
        with _no_collection():
            return [Word(text, None if contains is None else contains(text)) for text in words]
    patience = _PATIENCE * max(count, _FEW)
    new: dict[str, Word] = {}
    for text in islice(words, patience):
        if not contains(text):
            new.setdefault(text, Word(text, False))
        if len(new) == count:
            return list(new.values())
    found = {0: "no word", 1: "only one word"}.get(len(new), f"only {len(new)} different words")
    raise RunError(
        f"{found} of {patience} that were drawn {'is' if len(new) < 2 else 'are'} not in the word "
        "list",
        hint="Ask for fewer with --count, or raise --temperature.",
    )


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for cycles among a million words again and again as they come."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _words(
    network: Network, count: int, seed: int, temperature: float, prefix: str, *, forever: bool
) -> Iterator[str]:
    """`count` words, or words without end, drawn by one generator."""
    vocabulary = Vocabulary(network.config.vocabulary)
    start = torch.tensor(vocabulary.encode(prefix).tolist(), dtype=torch.int64)
    room = longest(network)
    if network.model.whole_words and len(start) >= room:
        raise DataError(
            f"{prefix!r} has {len(start)} letters, and no word has more than {room}",
            hint="This network was trained on whole words, the longest of so many letters.",
        )
    if network.has_table() and network.contexts() <= count:
        yield from _by_table(network, count, seed, temperature, prefix, forever=forever)
        return
    generator = torch.Generator().manual_seed(seed)
    while count > 0:
        size = min(max(count, _FEW) if forever else count, _AT_ONCE)
        with torch.inference_mode():
            tokens = _draw(network, size, start, temperature, generator)
        # Each row up to its first 0; the last column is all 0, so that a row cut off ends, too.
        inside = (tokens == 0).cumsum(1) <= (tokens == 0).int()
        stream = tokens[inside].numpy().astype(vocabulary.dtype)
        yield from vocabulary.spell(stream)
        count -= 0 if forever else size


def _by_table(
    network: Network, count: int, seed: int, temperature: float, prefix: str, *, forever: bool
) -> Iterator[str]:
    """The same from a table of all contexts, natively."""
    from gradninja.native.calls import streams

    vocabulary = Vocabulary(network.config.vocabulary)
    with torch.inference_mode():
        logits = network.table() / temperature
        boundaries = logits.softmax(1).cumsum(1)[:, :-1].contiguous().numpy()
        start = 0
        for token in vocabulary.encode(prefix).tolist():
            start = (start * vocabulary.size + token) % len(boundaries)
        first = boundaries[start]
        if not prefix:  # no word of the data is empty, so none here
            logits[0, 0] = -torch.inf
            first = logits[0].softmax(0).cumsum(0)[:-1].numpy()
    generator = np.random.default_rng(seed)
    left = max(0, LONGEST - len(prefix))
    while count > 0:
        size = min(count, _AT_ONCE)
        stream = streams.draw(generator, boundaries, first, start, size, left, vocabulary.dtype)
        words = vocabulary.spell(stream)
        yield from (prefix + word for word in words) if prefix else words
        count -= 0 if forever else size


def longest(network: Network) -> int:
    """The most letters that a word may get."""
    return min(LONGEST, network.config.context) if network.model.whole_words else LONGEST


def _draw(
    network: Network, count: int, start: Tensor, temperature: float, generator: torch.Generator
) -> Tensor:
    """Tokens of `count` words, int64 (count, letters): the prefix, the rest, then 0s."""
    whole, vocab = network.model.whole_words, len(network.config.vocabulary)
    # What is read: the last letters, or 0 and all of them.
    padded = torch.cat(
        [torch.zeros(1 if whole else network.config.context, dtype=torch.int64), start]
    )
    contexts = (padded if whole else padded[len(start) :]).expand(count, -1)
    alive = torch.arange(count)
    columns = [token.expand(count) for token in start]
    room = longest(network)
    while len(alive) and len(columns) < room:
        wide = network.width * contexts.shape[1] if whole else vocab
        distinct, which = _distinct(contexts, vocab)
        uniform = torch.rand((len(alive), 1), generator=generator, dtype=torch.float64)
        letters = torch.empty(len(alive), dtype=torch.int64)
        # As many at once as memory allows, those of one context together.
        for rows in torch.split(which.argsort(stable=True), rows_at_once(wide)):
            first, last = which[rows[0]], which[rows[-1]]
            logits = network.after(distinct[first : last + 1]).double() / temperature
            if not columns:
                logits[:, 0] = -torch.inf  # no word of the data is empty, so none here
            # A letter is where a uniform number falls among the cumulated probabilities; the last
            # boundary is left out, so that rounding cannot lead past the last letter.
            boundaries = logits.softmax(1).cumsum(1)[:, :-1].contiguous()[which[rows] - first]
            found = torch.searchsorted(boundaries, uniform[rows], right=True)
            letters[rows] = found.squeeze(1)
        column = torch.zeros(count, dtype=torch.int64)
        column[alive] = letters
        columns.append(column)
        going = letters != 0
        alive = alive[going]
        kept = contexts[going] if whole else contexts[going, 1:]
        contexts = torch.cat([kept, letters[going, None]], dim=1)
    return torch.stack([*columns, torch.zeros(count, dtype=torch.int64)], dim=1)


def _distinct(contexts: Tensor, vocab: int) -> tuple[Tensor, Tensor]:
    """The distinct rows of (n, context), and for each row which of them it is, (n,)."""
    which = torch.zeros(len(contexts), dtype=torch.int64)
    found = which
    for column in contexts.unbind(1):  # numbered anew each time, so that no code overflows
        found, which = torch.unique(which * vocab + column, return_inverse=True)
    example = torch.empty(len(found), dtype=torch.int64)
    example[which] = torch.arange(len(contexts))
    return contexts[example], which
