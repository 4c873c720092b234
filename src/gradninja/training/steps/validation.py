"""How a run does on words that it is not trained on, while it goes on and at its end.

Each look takes the first examples of the validation split alone, so that it takes a bounded time
however long the list of words is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradninja.data import Dataset
from gradninja.models import Model
from gradninja.training.checkpoint import Best, State
from gradninja.training.config import Config
from gradninja.training.network import Network

LOOKED_AT = 2000  # letters of a look, or words of so many together
_WORSE = 0.05  # nats: a rise of the validation loss, or a doubt about it, that is worth a sentence
_GAP = 0.5  # nats between train and validation

Rows = list[dict[str, Any]]


def validator(model: Model, config: Config, dataset: Dataset) -> Callable[[State], float]:
    """What gives the validation loss of a state, in nats a letter."""
    limit = looked_at(model, dataset)

    def validate(state: State) -> float:
        network = Network(model, config, state.parameters, {})
        return network.calibrated(dataset.train, limit).loss(dataset.validation, limit)

    return validate


def looked_at(model: Model, dataset: Dataset) -> int:
    """The examples of a look: letters, or words."""
    if not model.whole_words:
        return LOOKED_AT
    split = dataset.validation
    return max(1, LOOKED_AT * split.words // max(len(split), 1))


def keep_best(state: State, loss: float) -> None:
    """Keep the parameters if no loss was less."""
    if state.best is None or not state.best.loss <= loss:
        held = {name: value.clone() for name, value in state.parameters.items()}
        state.best = Best(state.step, loss, held)


def enough(state: State, config: Config) -> bool:
    """Whether the validation loss has not got better for as long as the run was to wait."""
    if not config.patience or state.best is None:
        return False
    return state.step - state.best.step >= config.patience * config.diagnostics_every


def notes(
    network: Network, dataset: Dataset, rows: Rows, train: float, validation: float
) -> list[str]:
    """What a person should know about the losses at the end of a run, in plain sentences.

    `rows` are the lines of its metrics, with a `validation` each so often.
    """
    found = []
    split = dataset.validation
    error = network.error(split) if len(split) <= LOOKED_AT else 0.0
    if error > _WORSE:
        words = "1 word" if split.words == 1 else f"{split.words} words"
        found.append(
            f"the validation set has {words}: its loss is {validation:.2f} ± {error:.2f}, too few "
            "to tell a better network from a worse one"
        )
    curve = [(row["validation"], row["step"]) for row in rows if "validation" in row]
    best, step = min(curve, default=(validation, 0))
    last = curve[-1][0] if curve else validation
    kept = network.config.patience > 0
    if last - best > _WORSE and not kept:
        found.append(
            f"it overfits: the validation loss was {best:.2f} after step {step:,} and is "
            f"{last:.2f} at the end; --patience 5 stops in time and keeps the best weights"
        )
    elif validation - train > _GAP:
        found.append(
            f"it overfits: it knows its own words by heart ({train:.2f}) and others badly "
            f"({validation:.2f}); a smaller network, --decay or more words may help"
        )
    return found
