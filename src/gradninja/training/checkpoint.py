"""One safetensors file that holds all of a run's state; never pickle.

A run has no state besides: the batches of a step depend on the seed and the step alone
(`batches.py`), so weights, the step and the losses that no line of metrics tells yet are enough
to go on bit for bit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from gradninja.errors import RunError
from gradninja.files import read as read_file
from gradninja.training.folder import write_whole

FORMAT = 1
_STATISTICS = "statistics/"  # no parameter is named so: a name has no slash
_MOMENTS = "optimizer/"
_BEST = "best/"
_LOSSES = "run/losses"


@dataclass
class Best:
    """The parameters with the least validation loss so far, and the step after which they were."""

    step: int
    loss: float
    parameters: dict[str, Tensor]


@dataclass
class State:
    """A run after `step` steps.

    `parameters` are the model's; `moments` the optimiser's; `statistics` are what the model's
    `calibrate` measured, empty before the end; `losses` are those of the steps since the last line
    of metrics, in order: tensors of one loss (no axis) or of several (one axis); `best` is kept
    where a run may stop early.
    """

    step: int
    parameters: dict[str, Tensor]
    statistics: dict[str, Tensor] = field(default_factory=dict)
    losses: list[Tensor] = field(default_factory=list)
    moments: dict[str, Tensor] = field(default_factory=dict)
    best: Best | None = None

    @property
    def kept(self) -> dict[str, Tensor]:
        """The parameters that the run would end with: the best ones, where they are kept."""
        return self.parameters if self.best is None else self.best.parameters


def pack(state: State) -> bytes:
    """The bytes of a checkpoint; the same state gives the same bytes."""
    tensors = {name: value.contiguous() for name, value in state.parameters.items()}
    best = {} if state.best is None else state.best.parameters
    for prefix, values in (
        (_STATISTICS, state.statistics),
        (_MOMENTS, state.moments),
        (_BEST, best),
    ):
        tensors |= {prefix + name: value.contiguous() for name, value in values.items()}
    if state.losses:
        tensors[_LOSSES] = torch.hstack(state.losses)
    facts: dict[str, object] = {"format": FORMAT, "step": state.step}
    if state.best is not None:
        facts["best"] = {"step": state.best.step, "loss": state.best.loss}
    # One key only: safetensors writes several in an order that changes from run to run.
    return save(tensors, {"gradninja": json.dumps(facts)})


def write(path: Path, state: State) -> None:
    """Write a checkpoint whole. Raises OSError, and then the earlier one is untouched."""
    write_whole(path, pack(state))


def read(path: Path) -> State:
    """Read a checkpoint. Raises RunError when it is missing, damaged or not ours."""
    try:
        tensors = load(read_file(path))
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        facts = json.loads(metadata["gradninja"])
        step, version = facts["step"], facts["format"]
        if type(step) is not int or step < 0:
            raise ValueError(f"its step is {step!r:.40}")
        best = None
        if "best" in facts:
            best = Best(int(facts["best"]["step"]), float(facts["best"]["loss"]), {})
    except FileNotFoundError:
        raise RunError(
            f"{path.parent} has no {path.name}",
            hint="The run stopped before its first checkpoint; start it again.",
        ) from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}") from None
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise RunError(f"{path} is damaged or not a checkpoint of gradninja: {error}") from None
    if version != FORMAT:
        raise RunError(f"{path} is of format {version!r:.40}; this gradninja reads format {FORMAT}")
    losses = tensors.pop(_LOSSES, None)
    odd = [name for name, value in tensors.items() if not value.is_floating_point()]
    if losses is not None and (losses.dim() != 1 or not losses.is_floating_point()):
        odd.append(_LOSSES)
    if odd:
        raise RunError(f"{path} is damaged: {odd[0]} is not what a run keeps")
    kept = [] if losses is None else list(losses.clone().unbind())
    state = State(step, {}, losses=kept, best=best)
    homes = {_STATISTICS: state.statistics, _MOMENTS: state.moments}
    homes[_BEST] = {} if best is None else best.parameters
    for name, value in tensors.items():
        prefix = next((prefix for prefix in homes if name.startswith(prefix)), "")
        # A copy, because the file's bytes lie where they fall: the alignment of an array in
        # memory may change how a matrix product is summed.
        homes.get(prefix, state.parameters)[name.removeprefix(prefix)] = value.clone()
    return state
