"""A trained network: a model file and the numbers that it was trained to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from gradninja.data import Split
from gradninja.errors import ModelError
from gradninja.models import Model
from gradninja.training.batches import blocks
from gradninja.training.config import Config

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
        """The logits (n, vocab) after contexts (n, context), int64."""
        logits = self.model.call("predict", self._values({**self.statistics, "Xb": contexts}))
        expected = (len(contexts), len(self.config.vocabulary))
        if not isinstance(logits, Tensor) or logits.shape != expected:
            what = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ModelError(f"{self.model.name}: predict gives {what}, not logits {expected}")
        return logits

    def contexts(self) -> int:
        """How many different contexts there are; some may never come up."""
        vocab: int = len(self.config.vocabulary)
        return int(vocab**self.config.context)

    def has_table(self) -> bool:
        """Whether there are so few contexts that `table` fits."""
        return self.contexts() * len(self.config.vocabulary) <= _TABLE

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

    def loss(self, split: Split) -> float:
        """The mean cross-entropy over a whole split, in nats; nan when the split is empty."""
        total = 0.0
        with torch.inference_mode():
            if self.contexts() <= len(split) and self.has_table():
                from gradninja.native.calls import streams

                costs = -self.table().log_softmax(1)
                return float(streams.total(split.stream, costs.numpy())) / len(split)
            width = max(len(self.config.vocabulary), self.config.hidden)
            for contexts, targets in blocks(split, self.config.context, width):
                logits = self.logits(contexts).double()
                total += cross_entropy(logits, targets, reduction="sum").item()
        return total / len(split) if len(split) else float("nan")

    def calibrated(self, split: Split) -> Network:
        """This network with its statistics measured over a whole split (the training set)."""
        if not self.model.has("calibrate"):
            return self
        width = max(self.config.hidden, self.config.context * self.config.embedding)
        contexts = (contexts for contexts, _ in blocks(split, self.config.context, width))
        with torch.inference_mode():
            found = self.model.call("calibrate", self._values({"batches": contexts}))
        if not isinstance(found, dict):
            raise ModelError(f"{self.model.name}: calibrate must return a dict of tensors by name")
        return Network(self.model, self.config, self.parameters, found)

    def _values(self, more: dict[str, object]) -> dict[str, object]:
        return {**self.config.sizes, **self.config.options, **self.parameters, **more}
