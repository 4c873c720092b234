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

    def loss(self, split: Split) -> float:
        """The mean cross-entropy over a whole split, in nats; nan when the split is empty."""
        total = 0.0
        with torch.inference_mode():
            for contexts, targets in blocks(split, self.config.context):
                logits = self.logits(contexts).double()
                total += cross_entropy(logits, targets, reduction="sum").item()
        return total / len(split) if len(split) else float("nan")

    def calibrated(self, split: Split) -> Network:
        """This network with its statistics measured over a whole split (the training set)."""
        if not self.model.has("calibrate"):
            return self
        contexts = (contexts for contexts, _ in blocks(split, self.config.context))
        with torch.inference_mode():
            found = self.model.call("calibrate", self._values({"batches": contexts}))
        if not isinstance(found, dict):
            raise ModelError(f"{self.model.name}: calibrate must return a dict of tensors by name")
        return Network(self.model, self.config, self.parameters, found)

    def _values(self, more: dict[str, object]) -> dict[str, object]:
        return {**self.config.sizes, **self.config.options, **self.parameters, **more}
