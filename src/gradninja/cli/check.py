"""`gradninja check`: a hand-written backward pass, judged line by line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradninja.cli.options import Json
from gradninja.errors import GradninjaError

if TYPE_CHECKING:
    from gradninja.check.tell.types import Report

NOT_RIGHT = 1
NOT_JUDGED = 2


def check(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py[:NAME]",
            help="The file that holds forward and backward; NAME picks one of several.",
        ),
    ],
    backward: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The backward to judge: a function or class of the file, or OTHER.py[:NAME].",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Give up after this time.")
    ] = 60.0,
    memory: Annotated[
        float, typer.Option(min=0.1, metavar="GB", help="Memory that the file may take.")
    ] = 4.0,
    watch: Annotated[
        bool, typer.Option("--watch", help="Check again each time that the file is saved.")
    ] = False,
    complete: Annotated[
        bool,
        typer.Option("--complete", help="A gradient that is not written yet is missing, code 1."),
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="Judge these gradients only: dh,dW2.", show_default=False
        ),
    ] = None,
    lenient: Annotated[
        bool,
        typer.Option("--lenient", help="A lost keepdim is no mistake where the numbers are right."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Judge a hand-written backward pass line by line, and say how to mend what is wrong.

    What is not written yet is to do, and no mistake. Exit code 0: all lines are right; 1: a line is
    wrong; 2: it could not be judged.
    """
    names = None if only is None else only.replace(",", " ").split()

    def once() -> int:
        asked: dict[str, Any] = {"complete": complete, "only": names, "lenient": lenient}
        return _once(file, backward, timeout, memory, as_json, asked)

    if not watch:
        raise typer.Exit(once())
    from gradninja.check.tell.watching import Saves

    paths = [_path(text) for text in (file, backward) if text is not None and ".py" in text]
    saves = Saves(paths)
    code = NOT_JUDGED
    try:
        code = once()
        print(f"watching {' and '.join(map(str, paths))}; Ctrl-C ends it", file=sys.stderr)
        for _ in saves:
            code = once()
    except KeyboardInterrupt:
        raise typer.Exit(code) from None


def _path(text: str) -> Path:
    """The file of `FILE.py` or `FILE.py:name`."""
    return Path(text.partition(".py:")[0] + ".py" if ".py:" in text else text)


def _once(
    file: str,
    backward: str | None,
    timeout: float,
    memory: float,
    as_json: bool,
    asked: dict[str, Any],
) -> int:
    """Check and print; the exit code."""
    from gradninja.check.worker import check_apart

    try:
        report = check_apart(file, backward, timeout, memory, **asked)
    except GradninjaError as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_JUDGED
    if as_json:
        print(report.to_json(), flush=True)
    else:
        _show(report)
    return 0 if report.ok else NOT_RIGHT


def _show(report: Report) -> None:
    from rich.console import Console

    from gradninja.check.tell.report import show

    console = Console(highlight=False)
    if console.is_terminal:
        show(report, console)
    else:
        print(report, flush=True)
