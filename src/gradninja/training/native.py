"""Training by compiled code: many steps a call, from the same batches as PyTorch would see."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradninja.errors import GradninjaError, RunError
from gradninja.models import Step
from gradninja.training.checkpoint import State
from gradninja.training.config import DERIVED, Config
from gradninja.training.loop import Hooks, Watch, diagnosed
from gradninja.training.metrics import Metrics
from gradninja.training.steps.batches import Examples, block_steps
from gradninja.training.steps.optimisers import SCALARS, kept_as, plain, scalars, written
from gradninja.training.steps.rank_step import RankStep
from gradninja.training.steps.verify import wrong

if TYPE_CHECKING:
    from gradninja.training.steps.ranks import Ranks

_WORTH_COMPILING = 10_000  # steps from which on compiling, some seconds, pays
_CALL = 0.1  # seconds that a call into compiled code should take: Ctrl-C waits for its end
# A rate so large that the update is all that is left of a parameter: its gradient, to be read off.
_HUGE = 2.0**20

_WHOLE = slice(None)

Arrays = Mapping[str, NDArray[np.floating]]


class Kernel(Protocol):
    """A compiled training loop, for one model, one set of sizes and one dtype."""

    @property
    def source(self) -> str:
        """Its text, for a person to read."""

    def run(
        self,
        parameters: Arrays,
        stream: NDArray[np.unsignedinteger],
        positions: NDArray[np.int64],
        rates: NDArray[np.float64],
        losses: NDArray[np.floating],
    ) -> None:
        """Take steps: one for each row of `positions` (steps, batch), with its rate.

        The parameters, contiguous, are changed in place, and each step's loss is written.
        """


class Engine:
    """A kernel, and what it needs to take the steps of a run, of this `share` of each batch."""

    def __init__(
        self, kernel: Kernel, examples: Examples, config: Config, share: slice = _WHOLE
    ) -> None:
        self.kernel, self._examples, self._config = kernel, examples, config
        self._share = share
        self._block = -1
        self._positions = np.empty((0, config.batch), np.int64)

    def take(self, state: State, end: int) -> None:
        """Take the steps from `state.step` on, up to `end` or the end of a block of batches."""
        start, positions = state.step, self._rows(state.step)[: end - state.step]
        end = start + len(positions)
        losses = self._run(
            {**state.parameters, **state.moments}, positions, self._rates(start, end)
        )
        state.losses.append(losses)
        state.step = end

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step, (Xb, Yb), as `batches` gives it."""
        return self._examples.at(self._rows(step)[0])

    def gradients(self, step: int, state: State) -> dict[str, Tensor]:
        """The loss of a step's batch, and the gradients, as the kernel sees them.

        Read off from what a step without a past makes of parameters, or of moments.
        """
        config, parameters = self._config, state.parameters
        after = {name: value.clone() for name, value in parameters.items()}
        after |= {name: torch.zeros_like(value) for name, value in state.moments.items()}
        rates = np.array([_HUGE]) if plain(config) else np.array([[_HUGE, 0.0, 1.0, math.inf]])
        losses = self._run(after, self._rows(step)[:1], rates)
        found = {}
        for name, value in parameters.items():
            gradient = (value - after[name]) / _HUGE
            if state.moments:
                share = 1.0 if config.optimizer == "momentum" else 1 - config.beta1
                gradient = after[f"m/{name}"] / share
            if config.decay and config.optimizer != "adamw":
                gradient = gradient - config.decay * value
            found[f"d{name}"] = gradient
        return {"loss": losses[0], **found}

    def _rates(self, start: int, end: int) -> NDArray[np.float64]:
        """What the kernel is told of each step."""
        config = self._config
        if not plain(config):
            return np.array([scalars(config, step) for step in range(start, end)])
        rates = np.full(end - start, config.rate_at(start))
        if config.schedule != "step" or config.rate_at(end - 1) != rates[0]:
            rates[:] = [config.rate_at(step) for step in range(start, end)]
        return rates

    def _rows(self, step: int) -> NDArray[np.int64]:
        """The positions of a step's batch, and of those after it in its block."""
        config = self._config
        block, skip = divmod(step, block_steps(config.batch))
        if block != self._block:
            self._positions = self._examples.positions(
                batch=config.batch, seed=config.seed, block=block
            )
            self._block = block
        return self._positions[skip:]

    def _run(
        self,
        held: Mapping[str, Tensor],
        positions: NDArray[np.int64],
        rates: NDArray[np.float64],
    ) -> Tensor:
        arrays = {kept_as(name): value.numpy() for name, value in held.items()}
        losses = np.empty(len(positions), next(iter(arrays.values())).dtype)
        mine = positions[:, self._share]
        self.kernel.run(arrays, self._examples.split.stream, mine, rates, losses)
        return torch.from_numpy(losses)


def compare(
    engine: Engine, step: Step | RankStep, state: State, config: Config, number: int
) -> str | None:
    """What is wrong with the engine's step, beside PyTorch's of the same lines; None if nothing.

    The batch is that of the step of this number.
    """
    truth = step(_values(engine, number, state, config))
    found = engine.gradients(number, state)
    names = ["loss", *(f"d{name}" for name in state.parameters)]
    true = {name: value for name in names if isinstance(value := truth[name], Tensor)}
    scale = max(true[name].abs().max().item() for name in names[1:])
    for name, value in true.items():
        if message := wrong(found[name], value, scale, judge="PyTorch's"):
            return f"{name} {message}"
    return None


def descend_natively(
    state: State,
    engine: Engine,
    step: Step | RankStep,
    config: Config,
    metrics: Metrics,
    hooks: Hooks,
) -> None:
    """As `loop.descend`, by an engine; `step` gives the values that diagnostics tell of.

    `hooks.verify` is shown the engine's gradients, and PyTorch's values of all that is between.
    """
    watch = Watch(state, config, metrics, hooks)
    pace = 1
    while state.step < config.steps:
        found: dict[str, object] | None = None
        start = state.step
        verify = hooks.verify is not None and start % hooks.verify_every == 0
        if verify or diagnosed(start + 1, config):
            values = _values(engine, start, state, config)
            found = step(values)
            if hooks.verify is not None and verify:
                hooks.verify(start, values, {**found, **engine.gradients(start, state)})
            end = start + 1
        else:
            end = min(start + hooks.pace(pace), _next_stop(start, config, hooks))
        before = time.monotonic()
        engine.take(state, end)
        each = (time.monotonic() - before) / (state.step - start)
        pace = max(1, min(2 * pace, int(_CALL / max(each, 1e-9))))
        if watch.look(found):
            return


def _next_stop(start: int, config: Config, hooks: Hooks) -> int:
    """The first step after `start` before which something other than a step is to be done."""
    lines, told = config.metrics_every, config.diagnostics_every
    stops = [
        (start // lines + 1) * lines,
        ((start + 1) // told + 1) * told - 1,
        config.steps if start == config.steps - 1 else config.steps - 1,
    ]
    if hooks.verify is not None:
        stops.append((start // hooks.verify_every + 1) * hooks.verify_every)
    return min(stops)


def _values(engine: Engine, number: int, state: State, config: Config) -> dict[str, object]:
    inputs, targets = engine.batch(number)
    values: dict[str, object] = {**config.sizes, **config.options, **state.parameters}
    return {**values, "Xb": inputs, "Yb": targets}


def engine_of(
    step: Step | RankStep,
    state: State,
    examples: Examples,
    config: Config,
    tell: Callable[[str], None],
    ranks: Ranks | None = None,
) -> Engine | None:
    """The compiled code that takes a run's steps; None where PyTorch is to take them.

    Raises as `compiled`, where the config asks for it. Ranks have all one, or none has.
    """
    if config.engine == "torch" or (config.engine == "auto" and config.steps < _WORTH_COMPILING):
        return None
    found, error = None, None
    try:
        found = compiled(step, state, examples, config, tell)
    except Exception as caught:
        error = caught
    if ranks is not None and ranks.largest(int(error is not None)) and error is None:
        error = RunError("another rank cannot compile its step")
    if error is None:
        return found
    if config.engine == "native":
        raise error
    ours = "" if isinstance(error, GradninjaError) else f" (our mistake, {type(error).__name__})"
    tell(f"trained by PyTorch, because the native engine cannot{ours}: {error}")
    return None


def compiled(
    step: Step | RankStep,
    state: State,
    examples: Examples,
    config: Config,
    tell: Callable[[str], None],
) -> Engine:
    """An engine for a run's step. `tell` is told when something takes its time.

    Raises a GradninjaError that names what cannot be compiled, and RunError when what was compiled
    does not do as PyTorch does.
    """
    from gradninja import native  # numba is slow to import

    rank = step if isinstance(step, RankStep) else None
    share = _WHOLE if rank is None else rank.share
    positions = examples.positions(batch=config.batch, seed=config.seed, block=0)[0][share]
    inputs, targets = (value.numpy() for value in examples.at(positions))
    values: dict[str, object] = {**config.sizes, **config.options, "Xb": inputs, "Yb": targets}
    values |= {name: value.numpy() for name, value in state.parameters.items()}
    # Sorted: a checkpoint does not keep the model's order, and the code must be the same.
    names = tuple(sorted(state.parameters))
    losses = next(iter(state.parameters.values())).numpy().dtype
    text, told = step.source, dict[str, Any]()
    if rank is not None:
        values |= rank.given
        told = {"collectives": rank.collectives, "ranks": rank.ranks}
    if not plain(config):
        text, stores = written(config, names, step.source)
        values |= {kept_as(name): value.numpy() for name, value in state.moments.items()}
        values |= {name: np.ones((), losses) for name in SCALARS}
        told |= {"stores": stores, "scalars": SCALARS}
    kernels = []
    for columns, number in _columns(examples, config, rank is not None):
        values["Xb"] = inputs[:, :columns]
        values["Yb"] = targets[:, :columns] if examples.whole else targets
        try:
            kernel = native.compile_training(
                text, values, names, tell, threads=config.threads, **told
            )
        except GradninjaError as error:
            if error.spot is not None:
                error.spot = step.spot(error.spot)  # in the person's text, not the step's
            raise
        kernels.append(kernel)
        alone = Engine(kernel, examples, config, share)
        if wrong := compare(alone, step, state, config, number):
            raise RunError(f"compiled, the step is not what it is in PyTorch: {wrong}")
    whole = kernels[-1] if len(kernels) == 1 else native.ByLength(kernels)
    return Engine(whole, examples, config, share)


def _columns(examples: Examples, config: Config, on_ranks: bool) -> list[tuple[int, int]]:
    """The columns that a step is compiled for, and for each a step that has no more.

    Whole words of a batch often are shorter than the longest of the list. What is derived holds
    for one number of columns, as a rank's text does.
    """
    from gradninja.native import columns_of, shorter

    every = [(examples.context, config.steps)]
    if not examples.whole or config.backward == DERIVED or on_ranks:
        return every
    split = examples.split
    ends = np.flatnonzero(split.stream == 0)
    fewer = shorter(columns_of(split.starts, ends), config.batch, examples.context)
    rows = examples.positions(batch=config.batch, seed=config.seed, block=0)
    fits = np.flatnonzero(columns_of(rows, ends).max(1) <= (fewer or 0))
    return [(fewer, int(fits[0])), *every] if fewer and len(fits) else every
