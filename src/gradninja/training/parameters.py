"""The numbers of a model: as it draws them, as it counts them, as a run folder holds them."""

from __future__ import annotations

import torch
from torch import Tensor

from gradninja.data import Dataset
from gradninja.errors import ModelError, RunError
from gradninja.models import Model
from gradninja.training.checkpoint import State
from gradninja.training.config import Config
from gradninja.training.folder import RunFolder
from gradninja.training.steps.batches import Examples


def drawn(model: Model, config: Config) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(config.seed)
    found = model.call("parameters", {**config.sizes, **config.options, "generator": generator})
    return _own(model, "parameters", found)


def refuse_foreign(folder: RunFolder, model: Model, config: Config, state: State) -> None:
    """Raise RunError where recipe, model file and weights are not those of one run."""
    if state.step > config.steps:
        raise RunError(
            f"{folder.weights} is of step {state.step:,}, after the last of {folder.config.name}: "
            f"{config.steps:,}"
        )
    if unknown := sorted(config.options.keys() - model.options.keys()):
        raise RunError(
            f"{folder.model} is not the model of this run: its forward has no option {unknown[0]}"
        )
    if config.fit:  # its numbers are no `parameters` that were trained
        return
    with torch.inference_mode():
        asked = drawn(model, config)
    for name in sorted(asked.keys() | state.parameters.keys()):
        wanted, held = (
            f"{str(values[name].dtype).removeprefix('torch.')} {tuple(values[name].shape)}"
            if name in values
            else "missing"
            for values in (asked, state.parameters)
        )
        if wanted != held:
            raise RunError(
                f"{folder.weights.name} and {folder.model.name} in {folder.path} are not of one "
                f"run: {name} is {held} in the weights and {wanted} by the model",
                hint="Put back the file that belongs to this run, or train anew.",
            )


def fitted(model: Model, config: Config, dataset: Dataset) -> dict[str, Tensor]:
    if not model.has("fit"):
        raise ModelError(
            f"{model.name} has no exact answer: its file has no function `fit`",
            hint="Train it by steps, without --fit.",
        )
    blocks = Examples(dataset.train, config.context, model.whole_words).blocks()
    values = {**config.sizes, **config.options, "batches": blocks}
    return _own(model, "fit", model.call("fit", values))


def _own(model: Model, function: str, found: object) -> dict[str, Tensor]:
    """Copies that nobody else holds, plain (no autograd) and contiguous, as `found` gave them."""
    if not isinstance(found, dict) or not found:
        raise ModelError(f"{model.name}: {function} must return a dict of tensors by name")
    for name, value in found.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise ModelError(f"{model.name}: {function} gives {name}, which is no float tensor")
    return {name: value.detach().clone().contiguous() for name, value in found.items()}
