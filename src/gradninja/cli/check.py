"""`gradninja check`: a hand-written backward pass, judged line by line."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradninja.check.tell.for_programs import Format, to_github, to_json, to_sarif
from gradninja.cli.shared.limits import given
from gradninja.cli.shared.options import Json, Split, parsed
from gradninja.errors import GradninjaError
from gradninja.files import file_and_name

if TYPE_CHECKING:
    from gradninja.check.tell.findings import Report

NOT_RIGHT = 1
NOT_JUDGED = 2


def check(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE.py[:NAME]",
            help="The file that holds forward and backward, or - for the standard input; NAME "
            "picks one of several. Or several files, or a folder: all in it that hold an "
            "autograd Function or a custom op.",
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
    forward: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:NAME",
            help="A plain reference for a kernel: FILE.py:Function is judged by its lines.",
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
    under: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Call a Function under these besides: compile,vmap,autocast.",
            show_default=False,
        ),
    ] = None,
    split: Split = None,
    form: Annotated[
        Format, typer.Option("--format", help="github: annotations; sarif: for code scanning.")
    ] = Format.TEXT,
    as_json: Json = False,
) -> None:
    """Judge a backward line by line, and say how to mend it.

    What is not written yet is to do, and no mistake. Exit code 0: all lines are right; 1: a line is
    wrong; 2: it could not be judged.
    """
    form = Format.JSON if as_json else form
    if forward is not None:
        if len(files) > 1 or backward is not None or ".py:" not in files[0]:
            raise typer.BadParameter("name one Function beside it: FILE.py:Function")
        files, backward = [forward], files[0].rpartition(":")[2]
    names = None if only is None else only.replace(",", " ").split()

    def once() -> int:
        asked: dict[str, Any] = {"complete": complete, "only": names, "lenient": lenient}
        if under is not None:
            asked["under"] = under.replace(",", " ").split()
        if split:
            asked["split"] = parsed(split)
        if len(files) > 1 or Path(files[0]).is_dir():
            return _all(files, timeout, memory, form, asked)
        return _once(files[0], backward, timeout, memory, form, asked)

    if not watch:
        raise typer.Exit(once())
    from gradninja.check.tell.watching import Saves

    paths = [_path(text) for text in (*files, backward) if text is not None and ".py" in text]
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
    return file_and_name(text)[0]


def _once(
    file: str,
    backward: str | None,
    timeout: float,
    memory: float,
    form: Format,
    asked: dict[str, Any],
) -> int:
    """Check and print; the exit code."""
    from gradninja.check.worker import check_apart

    try:
        with given(file) as path:
            report = check_apart(path, backward, timeout, memory, **asked)
    except GradninjaError as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_JUDGED
    if path != file:
        report = replace(report, file=file)
    if form is Format.JSON:
        print(report.to_json(), flush=True)
    elif form is Format.TEXT:
        _show(report)
    else:
        print(to_github([report]) if form is Format.GITHUB else to_sarif([report]), flush=True)
    return 0 if report.ok else NOT_RIGHT


def _all(
    files: list[str], timeout: float, memory: float, form: Format, asked: dict[str, Any]
) -> int:
    """Check several files, or the files of folders, and print; the exit code is the worst."""
    from concurrent.futures import ThreadPoolExecutor
    from queue import SimpleQueue

    from gradninja.check.worker import Judges

    judges = [Judges() for _ in range(os.cpu_count() or 1)]
    free: SimpleQueue[Judges] = SimpleQueue()
    for judge in judges:
        free.put(judge)

    def judged(file: str) -> Report | GradninjaError:
        mine = free.get()
        try:
            return mine.check(file, None, timeout, memory, **asked)
        except GradninjaError as error:
            return error
        finally:
            free.put(mine)

    paths = [str(path) for name in files for path in _with_functions(Path(name))]
    try:
        with ThreadPoolExecutor(len(judges)) as pool:
            found = list(pool.map(judged, paths))
    finally:
        for judge in judges:
            judge.end()
    reports = [one for one in found if not isinstance(one, GradninjaError)]
    refused = [
        {"file": path, "why": str(one)}
        for path, one in zip(paths, found, strict=True)
        if isinstance(one, GradninjaError)
    ]
    if form is Format.JSON:
        print(to_json(reports, refused), flush=True)
    elif form is Format.GITHUB:
        print(to_github(reports), flush=True)
    elif form is Format.SARIF:
        print(to_sarif(reports), flush=True)
    else:
        for report in reports:
            _show(report)
        print(f"{len(reports)} files judged, {sum(not r.ok for r in reports)} with mistakes")
    for one in refused:
        print(f"error: {one['file']}: {one['why']}", file=sys.stderr)
    if any(not report.ok for report in reports):
        return NOT_RIGHT
    return NOT_JUDGED if refused else 0


def _with_functions(path: Path) -> list[Path]:
    """The files that hold what can be judged; a path that is none is told as such later."""
    if not path.is_dir():
        return [path] if not path.exists() or _holds(path) else []
    return [file for file in sorted(path.rglob("*.py")) if _holds(file)]


def _holds(file: Path) -> bool:
    text = file.read_text(encoding="utf-8", errors="replace")
    return bool(re.search(r"^class .*\bFunction\)|register_autograd|^def backward\b", text, re.M))


def _show(report: Report) -> None:
    from rich.console import Console

    from gradninja.check.tell.report import show

    console = Console(highlight=False)
    if console.is_terminal:
        show(report, console)
    else:
        print(report, flush=True)
