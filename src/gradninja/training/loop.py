"""The loop: forward, the model's own backward, update; with no autograd anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from gradninja.errors import RunError
from gradninja.training.checkpoint import State
from gradninja.training.config import Config
from gradninja.training.metrics import Metrics, diagnostics, mean_loss
from gradninja.training.steps.optimisers import update
from gradninja.training.steps.validation import enough, keep_best

_LOOK_EVERY = 0.2  # seconds between two looks at the losses: progress, divergence, checkpoints


@dataclass(frozen=True)
class Progress:
    """What a progress bar shows: steps done, of how many, and the mean of the latest losses."""

    step: int
    steps: int
    loss: float


@dataclass(frozen=True)
class Hooks:
    """What surrounds the loop.

    `save` writes a checkpoint (each `save_every` seconds); `stop` tells whether a person asked to
    stop; `show` takes progress; `verify`, when given, judges each `verify_every`-th step;
    `validate`, when given, tells the validation loss; `pace` is told how many steps may be taken
    at once, and says how many are.
    """

    save: Callable[[State], None]
    show: Callable[[Progress], None]
    stop: Callable[[], bool]
    save_every: float = 30.0
    verify: Callable[[int, Mapping[str, object], Mapping[str, object]], None] | None = None
    verify_every: int = 0
    validate: Callable[[State], float] | None = None
    pace: Callable[[int], int] = lambda steps: steps


def descend(
    state: State,
    step: Callable[[Mapping[str, object]], Mapping[str, object]],
    batches: Iterator[tuple[Tensor, Tensor]],
    config: Config,
    metrics: Metrics,
    hooks: Hooks,
) -> None:
    """Take the steps from `state.step` to `config.steps`, or until `hooks.stop()`, or until the
    validation loss has not got better for `config.patience` looks.

    Parameters are changed in place and `state` is kept up to date. Raises RunError as `Watch`.
    """
    values: dict[str, object] = {**config.sizes, **config.options, **state.parameters}
    watch = Watch(state, config, metrics, hooks)
    for number, (inputs, targets) in enumerate(
        islice(batches, config.steps - state.step), start=state.step
    ):
        values["Xb"], values["Yb"] = inputs, targets
        found = step(values)
        if hooks.verify is not None and number % hooks.verify_every == 0:
            hooks.verify(number, values, found)
        update(config, number, state.parameters, state.moments, found)
        state.losses.append(found["loss"])  # type: ignore[arg-type]
        state.step = number + 1
        if watch.look(found):
            return


class Watch:
    """What looks at a run as it goes on: progress, divergence, metrics, checkpoints.

    Each step's loss is looked at (`_LOOK_EVERY`), not its value at each step: reading a number
    costs more than an addition. A checkpoint is only written when the losses so far and the
    weights are finite, else RunError names the step and the rate.
    """

    def __init__(self, state: State, config: Config, metrics: Metrics, hooks: Hooks) -> None:
        self._state, self._config, self._metrics, self._hooks = state, config, metrics, hooks
        self._saved = self._looked = time.monotonic()
        self._seen = len(state.losses)  # since the last line of metrics, looked at already

    def look(self, found: Mapping[str, object] | None) -> bool:
        """See to what is due after a step; tell whether to stop.

        `found` are the step's values; where `diagnosed` says so, they are needed.
        """
        state, config, hooks = self._state, self._config, self._hooks
        now = time.monotonic()
        line = state.step % config.metrics_every == 0 or state.step == config.steps
        stop = hooks.stop()
        save = now - self._saved >= hooks.save_every
        if not (line or stop or save or now - self._looked >= _LOOK_EVERY):
            return False
        _refuse_infinite(state, self._seen, config)
        hooks.show(Progress(state.step, config.steps, mean_loss(state.losses[-100:], 100)))
        self._looked, self._seen = now, len(state.losses)
        if line:
            rate = config.rate_at(state.step - 1)
            row: dict[str, object] = {"step": state.step, "loss": mean_loss(state.losses)}
            row["rate"] = rate
            if diagnosed(state.step, config):
                assert found is not None
                row |= diagnostics(found, state.parameters, rate)
                if hooks.validate is not None:
                    row["validation"] = loss = hooks.validate(state)
                    if config.patience:
                        keep_best(state, loss)
                        stop = stop or enough(state, config)
            self._metrics.write(row)
            state.losses.clear()
            self._seen = 0
        if stop or save or state.step == config.steps:
            hooks.save(state)
            self._saved = time.monotonic()
        return stop


def diagnosed(step: int, config: Config) -> bool:
    """Whether the line of metrics after so many steps tells of saturation and ratios."""
    return step % config.diagnostics_every == 0 or step == config.steps


def _refuse_infinite(state: State, seen: int, config: Config) -> None:
    """Raise RunError at the first step whose loss, or after which a weight, is not finite."""
    hint = "Try a lower --rate; the last checkpoint, from before, is kept."
    fresh = torch.hstack(state.losses[seen:])
    bad = (~torch.isfinite(fresh)).nonzero()
    if len(bad):
        at = state.step - len(fresh) + int(bad[0])
        raise RunError(
            f"the loss is {fresh[int(bad[0])].item()} at step {at} (rate {config.rate_at(at):g})",
            hint=hint,
        )
    for name, value in state.parameters.items():
        if not bool(torch.isfinite(value).all()):
            at = state.step - 1
            raise RunError(
                f"{name} is not finite after step {at} (rate {config.rate_at(at):g})", hint=hint
            )
