"""A run from its first step, or from its last checkpoint, to its pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gradninja import models
from gradninja.data import Dataset, load_words
from gradninja.errors import ModelError, RunError
from gradninja.models import Model, Step
from gradninja.training import checkpoint
from gradninja.training import metrics as lines
from gradninja.training.checkpoint import State
from gradninja.training.config import DERIVED, Config
from gradninja.training.folder import RunFolder, open_new, open_old, write_whole
from gradninja.training.loop import Hooks, Progress, descend
from gradninja.training.metrics import Metrics
from gradninja.training.native import Engine, descend_natively, engine_of
from gradninja.training.network import Network
from gradninja.training.parameters import drawn, fitted, refuse_foreign
from gradninja.training.sampling import Word, sample
from gradninja.training.steps.batches import Examples
from gradninja.training.steps.optimisers import moments
from gradninja.training.steps.signals import stop_signals
from gradninja.training.steps.validation import enough, notes, validator
from gradninja.training.steps.verify import verifier

if TYPE_CHECKING:
    from gradninja.training.steps.rank_step import RankStep
    from gradninja.training.steps.ranks import Ranks

SAMPLES = 20
_ROOM = 2**20  # bytes that a run writes besides its checkpoints: metrics and pictures, generously


class Interrupted(Exception):
    """A person stopped the run; its state after `step` steps is in `folder`."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = folder, step
        super().__init__(f"stopped after {step} steps")


@dataclass(frozen=True)
class Result:
    """How a run ended: losses in nats a letter, words that it made, and what one should know."""

    folder: Path
    steps: int
    train_loss: float
    validation_loss: float
    words: list[Word]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """A run that can go on: its recipe, where it is kept, and how far it got.

    `step` is None for a run that is fitted and has no steps; `engine` is the compiled code that
    takes them, None where PyTorch does; `ranks` is this process's place among several, and `mine`
    the step of its share.
    """

    folder: RunFolder
    config: Config
    model: Model
    dataset: Dataset
    state: State
    step: Step | None
    engine: Engine | None = None
    ranks: Ranks | None = None
    mine: RankStep | None = None

    @property
    def size(self) -> int:
        """The number of trained numbers."""
        return sum(value.numel() for value in self.state.parameters.values())

    @property
    def examples(self) -> Examples:
        """What it is trained on."""
        return _examples(self.model, self.config, self.dataset)


def begin(
    config: Config,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    ranks: Ranks | None = None,
) -> Run:
    """Make a new run. `config.model` is a built-in name or a path; what the config says of data,
    backward, engine and versions is filled in. `tell` takes what a person may want to know;
    `ranks` is this process's place among several.

    All that can be wrong is found here, before the folder is touched: one step is tried. Raises
    DataError, ModelError and RunError, and NativeError for lines that the native engine cannot
    take, where the config asks for it.
    """
    words = None if config.words is None else Path(config.words).absolute()
    dataset = load_words(words)
    model = models.load(config.model)
    config = replace(
        config,
        model=model.name,
        words=None if words is None else str(words),
        sha256=dataset.sha256,
        vocabulary=dataset.vocabulary.symbols,
        context=_context(model, config, dataset),
        options={**model.options, **config.options},
        steps=0 if config.fit else config.steps,
        torch=torch.__version__,
    )
    unknown = config.options.keys() - model.options.keys()
    if unknown:
        raise ModelError(f"{model.name} has no option {', '.join(sorted(unknown))}")
    if not config.fit:
        model.check({**config.sizes, **config.options, "n": config.batch})
    with torch.inference_mode():
        weights = fitted(model, config, dataset) if config.fit else drawn(model, config)
        state = State(0, weights, moments=moments(config, weights))
        step, backward = _step(model, config, state, dataset)
        config = replace(config, backward=backward)
        mine, engine = None, None
        if step is not None:
            mine, engine = _prepared(model, config, state, dataset, step, tell, ranks)
        config = replace(config, engine="torch" if engine is None else "native")
        room = 2 * len(checkpoint.pack(state)) + _ROOM
    folder = open_new(out, model.name, overwrite=overwrite, size=room)
    run = Run(folder, config, model, dataset, state, step, engine, ranks, mine)
    with folder.locked(), _writing(run):
        folder.clear()
        write_whole(folder.config, config.to_json().encode())
        write_whole(folder.model, model.text.encode())
        checkpoint.write(folder.weights, state)
    return run


def resume(
    path: Path,
    words: Path | None = None,
    *,
    tell: Callable[[str], None] = lambda text: None,
    ranks: Ranks | None = None,
) -> Run:
    """A run as its last checkpoint left it. Needs nothing but the folder, and the word list where
    it was (or at `words`). Raises RunError when that changed, or the folder is none of a run.
    """
    folder = open_old(path)
    config = Config.read(folder.config)
    dataset = load_dataset(config, words)
    model = _model(folder, config)
    state = checkpoint.read(folder.weights)
    refuse_foreign(folder, model, config, state)
    if problem := lines.damaged(folder.metrics):
        tell(f"{problem}; the file as it was is kept as {lines.DAMAGED}")
    with torch.inference_mode():
        step, _ = _step(model, config, state, dataset)
        mine, engine = None, None
        if step is not None and state.step < config.steps:
            mine, engine = _prepared(model, config, state, dataset, step, tell, ranks)
    return Run(folder, config, model, dataset, state, step, engine, ranks, mine)


def load_dataset(config: Config, words: Path | None = None) -> Dataset:
    """The words that a run was trained on. Raises RunError when the file is another one now."""
    path = words if words is not None else None if config.words is None else Path(config.words)
    dataset = load_words(path)
    if dataset.sha256 != config.sha256:
        raise RunError(
            f"{path or 'the embedded word list'} is not the file that this run was trained on",
            hint=f"Its SHA-256 was {config.sha256}.",
        )
    return dataset


def load_network(path: Path) -> Network:
    """The network in a run folder; calibrated over the training set if its run has not ended."""
    folder = open_old(path)
    config = Config.read(folder.config)
    model = _model(folder, config)
    state = checkpoint.read(folder.weights)
    refuse_foreign(folder, model, config, state)
    network = Network(model, config, state.kept, state.statistics)
    if model.has("calibrate") and not state.statistics:
        network = network.calibrated(load_dataset(config).train)
    return network


def go(
    run: Run,
    *,
    show: Callable[[Progress], None] = lambda progress: None,
    verify_every: int = 0,
    save_every: float = 30.0,
) -> Result:
    """Train to the end, without autograd, then calibrate, measure, sample and draw.

    Raises RunError when the loss is not finite, a gradient is wrong (`verify_every` above 0) or
    the disk is full, and Interrupted when a person asked to stop; the folder's checkpoint is
    whole in all of these.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(run.config.threads)
    try:
        with torch.inference_mode(), run.folder.locked(), _writing(run):
            metrics = Metrics(run.folder.metrics, until=run.state.step)
            try:
                if run.step is not None:
                    _train(run, run.step, metrics, show, verify_every, save_every)
                return _finish(run, metrics)
            finally:
                metrics.close()
    finally:
        torch.set_num_threads(threads)


def take_part(run: Run) -> None:
    """Take the steps of a run that another rank keeps. Raises as `go`."""
    assert run.ranks is not None and run.step is not None
    torch.set_num_threads(run.config.threads)
    with torch.inference_mode():
        metrics = Metrics(run.folder.metrics, until=run.state.step)
        try:
            _train(run, run.step, metrics, lambda progress: None, 0, float("inf"))
        finally:
            metrics.close()


def _train(
    run: Run,
    step: Step,
    metrics: Metrics,
    show: Callable[[Progress], None],
    verify_every: int,
    save_every: float,
) -> None:
    def save(state: State) -> None:
        metrics.sync()
        checkpoint.write(run.folder.weights, state)

    config, state = run.config, run.state
    if enough(state, config):
        return
    stream = run.examples.batches(
        batch=config.batch,
        seed=config.seed,
        start=state.step,
        # What is derived, and a rank's text, hold for the sizes that they were made for.
        padded=config.backward == DERIVED or run.ranks is not None,
    )
    verify = verifier(step, state.parameters) if verify_every else None
    ranks, taken = run.ranks, run.mine or step
    with stop_signals(patient=ranks is not None) as stop:
        validate = validator(run.model, config, run.dataset)
        hooks = Hooks(save, show, stop, save_every, verify, verify_every, validate)
        if ranks is not None:
            hooks = ranks.together(hooks, lambda: state.step, many=run.engine is not None)
        if run.engine is not None:
            descend_natively(state, run.engine, taken, config, metrics, hooks)
        else:
            descend(state, taken, stream, config, metrics, hooks)
    if state.step < config.steps and not enough(state, config):
        raise Interrupted(run.folder.path, state.step)


def _finish(run: Run, metrics: Metrics) -> Result:
    from gradninja.training.pictures import plots

    config, state = run.config, run.state
    network = Network(run.model, config, state.kept, {}).calibrated(run.dataset.train)
    checkpoint.write(run.folder.weights, replace(state, statistics=network.statistics))
    losses = {
        "train_loss": network.loss(run.dataset.train),
        "validation_loss": network.loss(run.dataset.validation),
    }
    metrics.write({"step": state.step, **losses})
    metrics.sync()
    found = {} if run.step is None else run.step(_values(run.model, run.state, config, run.dataset))
    rows = lines.read(run.folder.metrics)
    plots.draw(run.folder.path, rows, found, config)
    words = sample(
        network, SAMPLES, seed=config.seed + 10, contains=run.dataset.train.contains
    )  # the lecture's seed, too
    told = notes(network, run.dataset, rows, *losses.values()) if run.step is not None else []
    return Result(run.folder.path, state.step, **losses, words=words, notes=told)


def _step(
    model: Model, config: Config, state: State, dataset: Dataset
) -> tuple[Step | None, str | None]:
    """The forward and backward in one function, and the name of the backward that is in it."""
    written = [name for name in ("backward_fused", "backward") if model.has(name)]
    name = config.backward or (written[0] if written else DERIVED)
    if name != DERIVED:
        return model.step(backward=name), name
    if config.fit:
        return None, None
    from gradninja.derive import derive

    values = _values(model, state, config, dataset)
    inputs = {name: values[name] for name in model.arguments("forward") if name in values}
    with torch.inference_mode(False):  # derive holds what it gives to autograd
        # On the sizes of this run: what the forward unrolls or decides by them holds for them.
        back = derive(model.path, {n: _plain(value) for n, value in inputs.items()})
        return model.step(source=f"{back.whole_forward}\n{back.source}"), DERIVED


def _prepared(
    model: Model,
    config: Config,
    state: State,
    dataset: Dataset,
    step: Step,
    tell: Callable[[str], None],
    ranks: Ranks | None,
) -> tuple[RankStep | None, Engine | None]:
    """What takes the steps: that of this rank's share, and compiled code, where there are these."""
    values = _values(model, state, config, dataset)
    _try(step, state, config, values)
    own = None if config.backward == DERIVED else config.backward
    mine = None if ranks is None else ranks.step(model, own, values)
    examples = _examples(model, config, dataset)
    return mine, engine_of(mine or step, state, examples, config, tell, ranks)


def _plain(value: object) -> object:
    """A copy that autograd may record, of a tensor that was made where it may not."""
    return value.clone() if isinstance(value, Tensor) else value


def _try(step: Step, state: State, config: Config, values: dict[str, object]) -> None:
    """Take one step without its update, and hold what it found to the convention."""
    found = step(values)
    loss = found.get("loss")
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        raise ModelError(f"{config.model}: the forward must set `loss`, a tensor of no axes")
    for name, value in state.parameters.items():
        gradient = found.get(f"d{name}")
        if not isinstance(gradient, Tensor):
            raise ModelError(
                f"{config.model}: {config.backward} gives no d{name}",
                hint=f"It must set d{name}, the gradient of the loss with respect to {name}.",
            )
        if gradient.shape != value.shape:
            shapes = f"{tuple(gradient.shape)}, not {tuple(value.shape)}"
            raise ModelError(f"{config.model}: d{name} has the shape {shapes}")


def _context(model: Model, config: Config, dataset: Dataset) -> int:
    """How many letters an example has room for."""
    needed = dataset.longest + 1  # and the end mark
    if not model.whole_words:
        return config.context or 3
    if 0 < config.context < needed:
        raise ModelError(
            f"{model.name} reads whole words, and the longest has {needed - 1} letters: a context "
            f"of {config.context} is too short for it",
            hint=f"Leave --context out, or make it {needed} or more.",
        )
    return config.context or needed


def _examples(model: Model, config: Config, dataset: Dataset) -> Examples:
    return Examples(dataset.train, config.context, model.whole_words)


def _values(model: Model, state: State, config: Config, dataset: Dataset) -> dict[str, object]:
    """What a step takes, with the batch that comes after the last one of the run."""
    examples = _examples(model, config, dataset)
    stream = examples.batches(batch=config.batch, seed=config.seed, start=config.steps)
    inputs, targets = next(stream)
    values: dict[str, object] = {**config.sizes, **config.options, **state.parameters}
    return {**values, "Xb": inputs, "Yb": targets}


def _model(folder: RunFolder, config: Config) -> Model:
    return replace(models.load(folder.model), name=config.model)


@contextlib.contextmanager
def _writing(run: Run) -> Iterator[None]:
    """Turn a failing disk into an error that says what is left."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write to {run.folder.path}: {error.strerror}",
            hint="The last checkpoint is whole; make room, then go on with "
            f"--resume {run.folder.path}",
        ) from error
