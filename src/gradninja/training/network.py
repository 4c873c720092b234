"""A trained network: a model file and the numbers that it was trained to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from gradninja.data import Split
from gradninja.errors import ModelError
from gradninja.models import Model
from gradninja.training.config import Config
from gradninja.training.steps.batches import Examples

_TABLE = 2**23  # logits of all contexts, 64 MB: 27 letters' contexts of 3, and up to 2**23 in all
_AT_ONCE = 2**15  # contexts


@dataclass(frozen=True)
class Network:
    """What `predict` needs: the model file's text, its parameters and its statistics."""

    model: Model
    config: Config
    parameters: dict[str, Tensor]
    statistics: dict[str, Tensor]

    def logits(self, contexts: Tensor) -> Tensor:
        """The logits (n, vocab) after contexts, int64 (n, context); of a model of whole words
        (n, columns, vocab), after each letter of (n, columns).
        """
        whole = self.model.whole_words
        targets = torch.zeros_like(contexts) if whole else contexts.new_zeros(len(contexts))
        batch = {"Xb": contexts, "Yb": targets}
        logits = self.model.predict(self._values({**self.statistics, **batch}))
        expected = (*targets.shape, len(self.config.vocabulary))
        if not isinstance(logits, Tensor) or logits.shape != expected:
            what = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ModelError(f"{self.model.name}: predict gives {what}, not logits {expected}")
        return logits

    def after(self, prefixes: Tensor) -> Tensor:
        """The logits (n, vocab) of what comes after the start of a word, int64 (n, columns): 0
        and its letters.
        """
        if self.model.whole_words:
            return self.logits(prefixes)[:, -1]
        missing = max(0, self.config.context - prefixes.shape[1])
        padded = torch.nn.functional.pad(prefixes, (missing, 0))
        return self.logits(padded[:, padded.shape[1] - self.config.context :])

    def contexts(self) -> int:
        """How many different contexts there are; some may never come up."""
        vocab: int = len(self.config.vocabulary)
        return int(vocab**self.config.context)

    def has_table(self) -> bool:
        """Whether there are so few contexts that `table` fits."""
        return (
            not self.model.whole_words and self.contexts() * len(self.config.vocabulary) <= _TABLE
        )

    def table(self) -> Tensor:
        """The logits after all contexts, float64 (contexts, vocab), by the contexts' codes: the
        number whose digits are the letters, the nearest last.
        """
        vocab, size = len(self.config.vocabulary), self.config.context
        digits = torch.tensor([vocab**place for place in reversed(range(size))])
        parts = []
        for start in range(0, self.contexts(), _AT_ONCE):
            codes = torch.arange(start, min(start + _AT_ONCE, self.contexts()))
            parts.append(self.logits(codes[:, None] // digits % vocab).double())
        return torch.cat(parts)

    def loss(self, split: Split, limit: int | None = None) -> float:
        """The mean cross-entropy over a whole split, or over its first `limit` examples, in nats a
        letter; nan when the split is empty.
        """
        with torch.inference_mode():
            if limit is None and self.has_table() and self.contexts() <= len(split):
                from gradninja.native.calls import streams

                costs = -self.table().log_softmax(1)
                return float(streams.total(split.stream, costs.numpy())) / len(split)
            total, count = 0.0, 0
            for costs in self._costs(split, limit):
                total += costs.sum().item()
                count += len(costs)
        return total / count if count else float("nan")

    def error(self, split: Split) -> float:
        """The standard error of the mean cross-entropy of a split, if its letters were drawn one
        by one; infinite for fewer than two.
        """
        with torch.inference_mode():
            costs = torch.cat(list(self._costs(split, None)))
        return costs.std().item() / len(costs) ** 0.5 if len(costs) > 1 else float("inf")

    def _costs(self, split: Split, limit: int | None) -> Iterator[Tensor]:
        """The cross-entropy of each letter, float64, in blocks."""
        for inputs, targets in self._examples(split).blocks(self.width, limit):
            logits = self.logits(inputs).flatten(0, -2).double()
            wanted = targets.flatten()
            costs = cross_entropy(logits, wanted, ignore_index=-1, reduction="none")
            yield costs[wanted >= 0]

    def calibrated(self, split: Split, limit: int | None = None) -> Network:
        """This network with its statistics measured over a whole split (the training set), or over
        its first `limit` examples.
        """
        if not self.model.has("calibrate"):
            return self
        batches = _Blocks(self._examples(split), self.width, limit)
        with torch.inference_mode():
            found = self.model.call("calibrate", self._values({"batches": batches}))
        if not isinstance(found, dict):
            raise ModelError(f"{self.model.name}: calibrate must return a dict of tensors by name")
        return Network(self.model, self.config, self.parameters, found)

    def _examples(self, split: Split) -> Examples:
        return Examples(split, self.config.context, self.model.whole_words)

    @property
    def width(self) -> int:
        """The most numbers that a letter leads to at once."""
        config = self.config
        before = config.context * config.embedding
        return max(len(config.vocabulary), config.hidden, 4 * config.width, before)

    def _values(self, more: dict[str, object]) -> dict[str, object]:
        return {**self.config.sizes, **self.config.options, **self.parameters, **more}


@dataclass(frozen=True)
class _Blocks:
    """Blocks of inputs, which can be gone through again: a level after the other is measured."""

    examples: Examples
    width: int
    limit: int | None

    def __iter__(self) -> Iterator[Tensor]:
        return (inputs for inputs, _ in self.examples.blocks(self.width, self.limit))
