"""`gradninja train`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradninja.cli.printing import print_words, word_rows
from gradninja.errors import RunError

if TYPE_CHECKING:
    from gradninja.training import Progress, Result, Run

_MODEL, _SIZES, _STEPS, _RUN = "The network", "Sizes", "Steps", "The run"

# What may be said again when a run is resumed: it changes nothing of the recipe.
_FREE = {"words", "resume", "verify", "checkpoint_every", "json_", "quiet"}


def train(
    context_: typer.Context,
    words: Annotated[
        Path | None,
        typer.Argument(
            metavar="[WORDS]",
            help="A text file, one word a line, any alphabet. Without it: a list of names.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="bigram, mlp, mlp_batchnorm, or the path of your own model file.",
            rich_help_panel=_MODEL,
        ),
    ] = "mlp_batchnorm",
    backward: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The function of the model file that gives the gradients, or `derived`. "
            "Without it: backward_fused, else backward, else derived from the forward.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    bessel: Annotated[
        bool | None,
        typer.Option(
            "--bessel/--no-bessel",
            help="BatchNorm's variance by 1/(n-1) (the default) or by 1/n; the same in training, "
            "calibration and at test time.",
            rich_help_panel=_MODEL,
            show_default=False,
        ),
    ] = None,
    fit: Annotated[
        bool,
        typer.Option(
            "--fit",
            help="The exact answer without steps, where a model has one (bigram: by counting).",
            rich_help_panel=_MODEL,
        ),
    ] = False,
    embedding: Annotated[
        int, typer.Option(min=1, help="Numbers to a letter.", rich_help_panel=_SIZES)
    ] = 10,
    context: Annotated[
        int,
        typer.Option(min=1, help="Letters that the next is guessed from.", rich_help_panel=_SIZES),
    ] = 3,
    hidden: Annotated[int, typer.Option(min=1, help="Neurons.", rich_help_panel=_SIZES)] = 200,
    steps: Annotated[
        int, typer.Option(min=1, help="How many steps.", rich_help_panel=_STEPS)
    ] = 200_000,
    batch: Annotated[
        int, typer.Option(min=1, help="Examples to a step.", rich_help_panel=_STEPS)
    ] = 32,
    rate: Annotated[
        float,
        typer.Option(
            min=0.0, help="The learning rate; a tenth of it from half-way.", rich_help_panel=_STEPS
        ),
    ] = 0.1,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="Of the first weights and the batches. The same seed gives the same weights, "
            "bit for bit.",
            rich_help_panel=_STEPS,
        ),
    ] = 2147483647,
    threads: Annotated[
        int,
        typer.Option(
            min=1, help="More than one pays for large sizes only.", rich_help_panel=_STEPS
        ),
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="The run's folder. Without it: runs/MODEL-1, or the next free number.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the run that --out holds.", rich_help_panel=_RUN),
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Go on with a run from its last checkpoint. The end is the same, bit for bit, "
            "as if it had never stopped. Takes all else from the run's folder; give WORDS only "
            "if the word list has moved.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    checkpoint_every: Annotated[
        float,
        typer.Option(
            min=0.0, metavar="SECONDS", help="Time between checkpoints.", rich_help_panel=_RUN
        ),
    ] = 30.0,
    verify: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Compare every gradient with autograd's each N steps, and stop when one is "
            "wrong. 0: never.",
            rich_help_panel=_RUN,
        ),
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress.", rich_help_panel=_RUN)
    ] = False,
    json_: Annotated[
        bool,
        typer.Option("--json", help="Print the result as JSON, for a program.", hidden=False),
    ] = False,
) -> None:
    """Train a network on words, with its own backward pass and no autograd.

    Prints the losses and twenty new words, and leaves a folder with the weights, the metrics and
    pictures of how it went. Ctrl-C saves; --resume goes on.
    """
    from gradninja import training

    if resume is not None:
        _refuse_changes(context_)
        run = training.resume(resume, words)
    else:
        config = training.Config(
            model=model,
            words=None if words is None else str(words),
            sha256="",
            vocabulary=(),
            embedding=embedding,
            context=context,
            hidden=hidden,
            steps=steps,
            batch=batch,
            rate=rate,
            seed=seed,
            threads=threads,
            fit=fit,
            backward=backward,
            options={} if bessel is None else {"correction": int(bessel)},
        )
        run = training.begin(config, out=out, overwrite=overwrite)
    if not quiet:
        _print_start(run)
    try:
        with _progress(run, quiet) as show:
            result = training.go(run, show=show, verify_every=verify, save_every=checkpoint_every)
    except (KeyboardInterrupt, training.Interrupted):
        where = run.folder.path
        print(f"\nSaved in {where}. Go on with: gradninja train --resume {where}", file=sys.stderr)
        raise typer.Exit(130) from None
    if json_:
        print(json.dumps(_facts(result), ensure_ascii=False, indent=2))
    else:
        _print_result(result)


def _refuse_changes(context: typer.Context) -> None:
    """Raise RunError for an option that would change the recipe of a run that has begun."""
    changed = [
        name
        for name in context.params
        if name not in _FREE and context.get_parameter_source(name).name == "COMMANDLINE"  # type: ignore[union-attr]
    ]
    if changed:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
        raise RunError(
            f"--resume goes on with a run as it began; {names} cannot be changed",
            hint="Leave it out, or start a new run without --resume.",
        )


def _print_start(run: Run) -> None:
    config, dataset = run.config, run.dataset
    source = "counting" if run.step is None or config.fit else f"`{config.backward}`"
    print(
        f"{config.model}: {run.size:,} parameters, gradients by {source}\n"
        f"{dataset.name}: {dataset.train.words:,} words to train on, "
        f"{dataset.validation.words:,} to validate, {dataset.vocabulary.size} symbols\n"
        f"{run.folder.path}: "
        + (f"going on from step {run.state.step:,}" if run.state.step else "a new run"),
        file=sys.stderr,
    )


@contextmanager
def _progress(run: Run, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A bar with loss, steps a second and time left; plain lines where there is no terminal."""
    steps = run.config.steps
    if quiet or steps == 0:
        yield lambda progress: None
        return
    if not sys.stderr.isatty():
        yield _lines(steps, run.state.step)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    with Bar(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TextColumn("{task.fields[pace]} steps/s"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task("", total=steps, completed=run.state.step, loss=float("nan"), pace="")

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.step, loss=progress.loss)
            pace = bar.tasks[0].speed
            bar.update(task, pace="" if pace is None else f"{pace:,.0f}")

        yield show


def _lines(steps: int, start: int) -> Callable[[Progress], None]:
    """The lecture's way, ten lines in all: `  20000/ 200000: 2.2345`."""
    tenth = max(1, steps // 10)
    due = start + tenth - start % tenth

    def show(progress: Progress) -> None:
        nonlocal due
        if progress.step >= due:
            due = progress.step + tenth - progress.step % tenth
            print(f"{progress.step:7d}/{steps:7d}: {progress.loss:.4f}", file=sys.stderr)

    return show


def _facts(result: Result) -> dict[str, object]:
    return {
        "run": str(result.folder),
        "steps": result.steps,
        "train_loss": result.train_loss,
        "validation_loss": result.validation_loss,
        "words": word_rows(result.words),
    }


def _print_result(result: Result) -> None:
    print(f"\ntrain loss       {result.train_loss:.4f}")
    print(f"validation loss  {result.validation_loss:.4f}\n")
    print_words(result.words)
    print(f"\nweights, metrics and pictures: {result.folder}")
    print(f"more like these: gradninja sample {result.folder}")
