"""`gradninja train`: from a word list to a trained network, with no autograd."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradninja.cli.shared.launching import is_rank, launch, refuse_on_ranks
from gradninja.errors import RunError

if TYPE_CHECKING:
    from gradninja.training import Progress, Result, Run

Words = Annotated[
    Path | None,
    typer.Argument(
        metavar="[WORDS]",
        help="A word a line; without it, US given names of 2018.",
        show_default=False,
    ),
]
INTERRUPTED = 130  # as a shell has it for a program that Ctrl-C ended


def _seed(number: int | None) -> int | None:
    if number is not None and not 0 <= number <= 2**62:
        raise typer.BadParameter("must be from 0 to 2**62")
    return number


class Optimizer(StrEnum):
    """What may be done with gradients."""

    sgd = "sgd"
    momentum = "momentum"
    adam = "adam"
    adamw = "adamw"


class Schedule(StrEnum):
    """How the rate may go."""

    constant = "constant"
    step = "step"
    linear = "linear"
    cosine = "cosine"


class Engine(StrEnum):
    """What may take the steps of a run."""

    auto = "auto"
    native = "native"
    torch = "torch"


# What --resume may stand beside: nothing of this changes where a run ends.
FREE = {
    "words",
    "resume",
    "verify",
    "checkpoint_every",
    "quiet",
    "as_json",
    "ranks",
    "deterministic",
}


NETWORK, STEPS, FOLDER = "Network", "Steps", "Run folder, and what is shown"


def _count(what: str, panel: str, least: int = 1) -> Any:
    """An option that is a number of something; a default beside its words takes no line."""
    return typer.Option(
        min=least, metavar="N", help=what, show_default=False, rich_help_panel=panel
    )


def _amount(what: str) -> Any:
    return typer.Option(min=0.0, metavar="X", help=what, show_default=False, rich_help_panel=STEPS)


def _named(what: str) -> Any:
    return typer.Option(metavar="NAME", help=what, show_default=False, rich_help_panel=STEPS)


def train(
    given: typer.Context,
    words: Words = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="FILE.py, or one of docs/models.md.",
            show_default=False,
            rich_help_panel=NETWORK,
        ),
    ] = "mlp_batchnorm",
    hidden: Annotated[int | None, _count("Hidden units (200).", NETWORK)] = None,
    embedding: Annotated[int | None, _count("Numbers for a letter (10).", NETWORK)] = None,
    context: Annotated[int | None, _count("Letters that predict the next (3).", NETWORK)] = None,
    width: Annotated[int | None, _count("How wide a transformer is (64).", NETWORK)] = None,
    layers: Annotated[int | None, _count("Its blocks (4).", NETWORK)] = None,
    heads: Annotated[int | None, _count("Its heads (4).", NETWORK)] = None,
    bessel: Annotated[
        bool | None,
        typer.Option(
            "--bessel/--no-bessel",
            help="BatchNorm divides by n-1, or by n.",
            show_default=False,
            rich_help_panel=NETWORK,
        ),
    ] = None,
    backward: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What gives the gradients.",
            show_default=False,
            rich_help_panel=NETWORK,
        ),
    ] = None,
    fit: Annotated[
        bool,
        typer.Option("--fit", help="Count in place of steps (bigram).", rich_help_panel=NETWORK),
    ] = False,
    steps: Annotated[int | None, _count("Training steps (200000).", STEPS)] = None,
    batch: Annotated[int | None, _count("Examples in a step (32).", STEPS)] = None,
    rate: Annotated[float | None, _amount("Learning rate (0.1 for sgd).")] = None,
    schedule: Annotated[Schedule | None, _named("constant, step, linear, cosine.")] = None,
    warmup: Annotated[int | None, _count("Steps in which the rate grows (0).", STEPS, 0)] = None,
    optimizer: Annotated[Optimizer | None, _named("sgd, momentum, adam, adamw.")] = None,
    decay: Annotated[float | None, _amount("Weight decay (0).")] = None,
    clip: Annotated[float | None, _amount("The longest gradient, of all as one.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="For weights and batches (2147483647).",
            callback=_seed,
            show_default=False,
            rich_help_panel=STEPS,
        ),
    ] = None,
    engine: Annotated[Engine, _named("native (compiled), torch or auto.")] = Engine.auto,
    threads: Annotated[
        int,
        typer.Option(
            min=1,
            max=os.cpu_count(),
            metavar="N",
            help="For large matrix products, compiled (1).",
            show_default=False,
            rich_help_panel=STEPS,
        ),
    ] = 1,
    ranks: Annotated[int, _count("Processes that share each batch (1).", STEPS)] = 1,
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic", help="Sums in the order of the ranks.", rich_help_panel=STEPS
        ),
    ] = False,
    patience: Annotated[int, _count("Looks with no better validation (0).", STEPS, 0)] = 0,
    verify: Annotated[int, _count("Compare with autograd each N steps.", STEPS, 0)] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="The run folder; runs/MODEL-1, -2, ...",
            show_default=False,
            rich_help_panel=FOLDER,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the run in --out.", rich_help_panel=FOLDER),
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Go on with a run as it began.",
            show_default=False,
            rich_help_panel=FOLDER,
        ),
    ] = None,
    checkpoint_every: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="S",
            help="Seconds between two checkpoints (30).",
            show_default=False,
            rich_help_panel=FOLDER,
        ),
    ] = 30.0,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress bar.", rich_help_panel=FOLDER)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object.", rich_help_panel=FOLDER)
    ] = False,
) -> None:
    """Train a network on a list of words, without autograd."""
    from gradninja.training import Interrupted, begin, go, plan, take_part
    from gradninja.training import resume as resume_run
    from gradninja.training.folder import RunFolder
    from gradninja.training.steps.ranks import joined, place_of, restarted

    quiet = quiet or as_json

    def tell(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr)

    if ranks > 1 and not is_rank():
        raise typer.Exit(launch(sys.argv[1:], ranks, model, named=out or resume))
    if is_rank():
        refuse_on_ranks(verify=verify > 0, fit=fit)
    if resume is not None:
        _refuse_changes(given)
    with joined(deterministic) as place:
        folder = place_of(place, out)
        quiet = quiet or (place is not None and not place.first)
        goes_on = resume or (out if place is not None and restarted(out) else None)
        if goes_on is not None:
            run = resume_run(goes_on, words, tell=tell, ranks=place)
            if place is not None and not place.first:
                assert folder is not None
                run = replace(run, folder=RunFolder(folder))
        else:
            chosen: dict[str, object] = {
                "hidden": hidden,
                "embedding": embedding,
                "context": context,
                "width": width,
                "layers": layers,
                "heads": heads,
                "backward": backward,
                "steps": steps,
                "batch": batch,
                "rate": rate,
                "schedule": schedule and schedule.value,
                "warmup": warmup,
                "optimizer": optimizer and optimizer.value,
                "decay": decay,
                "clip": clip,
                "seed": seed,
            }
            chosen = {name: value for name, value in chosen.items() if value is not None}
            options: dict[str, object] = {} if bessel is None else {"correction": int(bessel)}
            chosen |= {"threads": threads, "fit": fit, "options": options, "engine": engine.value}
            chosen["patience"] = patience
            config = plan(model, words, **chosen)
            run = begin(config, out=folder, overwrite=overwrite, tell=tell, ranks=place)
        if place is not None and not place.first:
            try:
                take_part(run)
            except (Interrupted, KeyboardInterrupt):
                raise typer.Exit(INTERRUPTED) from None
            return
        if not quiet:
            _introduce(run)
        try:
            with _bar(run, hidden=quiet) as show:
                result = go(run, show=show, verify_every=verify, save_every=checkpoint_every)
        except (Interrupted, KeyboardInterrupt):  # the latter after the last step, or pressed twice
            said = f"stopped; go on with:\n  gradninja train --resume {run.folder.path}"
            print(said, file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        except RunError:
            if run.state.step and not quiet:
                print(f"the run is in {run.folder.path}", file=sys.stderr)
            raise
        print(json.dumps(_row(result), ensure_ascii=False) if as_json else _told(result))


def _refuse_changes(given: typer.Context) -> None:
    """Raise RunError for an option that would change the recipe of a run that has begun."""
    changed = []
    for name in given.params:
        source = given.get_parameter_source(name)
        if name not in FREE and source is not None and source.name == "COMMANDLINE":
            changed.append(f"--{name.replace('_', '-')}")
    if changed:
        raise RunError(
            f"--resume goes on with a run as it began, without {', '.join(changed)}",
            hint="Leave that out, or start a new run without --resume.",
        )


def _introduce(run: Run) -> None:
    config = run.config
    print(
        f"{config.model}: {run.size:,} parameters; {run.dataset.name}: "
        f"{run.dataset.train.words:,} words to train on, {len(run.dataset.train):,} letters"
    )
    if run.step is not None:
        print(f"gradients by `{config.backward}`, no autograd; run folder {run.folder.path}")


@contextmanager
def _bar(run: Run, *, hidden: bool) -> Iterator[Any]:
    """A progress bar's function to show progress with."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TextColumn("{task.fields[speed]:,.0f} steps/s"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    if hidden or run.step is None or not console.is_terminal:
        yield lambda progress: None
        return
    with Bar(*columns, console=console) as bar:
        task = bar.add_task(
            "train", total=run.config.steps, completed=run.state.step, loss=float("nan"), speed=0.0
        )

        def show(progress: Progress) -> None:
            speed = bar.tasks[0].speed or 0.0
            bar.update(task, completed=progress.step, loss=progress.loss, speed=speed)

        yield show


def _told(result: Result) -> str:
    lines = [
        f"train loss       {result.train_loss:.4f}",
        f"validation loss  {result.validation_loss:.4f}",
        *(f"note: {note}" for note in result.notes),
        "",
        *(f"{word.text}{'  (a training word)' if word.seen else ''}" for word in result.words),
        "",
        f"weights, metrics and pictures are in {result.folder}",
    ]
    return "\n".join(lines)


def _row(result: Result) -> dict[str, object]:
    return {
        "run": str(result.folder),
        "steps": result.steps,
        "train_loss": result.train_loss,
        "validation_loss": result.validation_loss,
        "notes": result.notes,
        "words": [{"text": word.text, "training_word": word.seen} for word in result.words],
    }
