"""What runs a person's file in this process: its prints, its ways out, and the time it may take."""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from gradninja.errors import GradninjaError, ReadError, Spot
from gradninja.files import file_and_name
from gradninja.memory import within_what_is_there

WRONG = 2  # the exit code where a file cannot be used

Timeout = Annotated[
    float, typer.Option(min=0.1, metavar="SECONDS", help="Give up after this time.")
]


@contextlib.contextmanager
def given(file: str) -> Iterator[str]:
    """The file that a person named: of `-` one that holds the text of the standard input.

    What it imports is looked for where the person stands, and errors call it the standard input.

    Raises:
        GradninjaError: what comes from within.
    """
    if file != "-":
        yield file
        return
    sys.path.insert(0, str(Path.cwd()))
    with tempfile.TemporaryDirectory(prefix="gradninja-") as folder:
        path = Path(folder) / "stdin.py"
        path.write_bytes(sys.stdin.buffer.read())
        try:
            yield str(path)
        except GradninjaError as error:
            raise GradninjaError(str(error).replace(str(path), "the standard input")) from None
        finally:
            sys.path.remove(str(Path.cwd()))


@contextlib.contextmanager
def running(file: str, timeout: float) -> Iterator[str]:
    """Around work on a person's file that runs the file itself; gives the file, as `given` does.

    What it prints goes to stderr, so that stdout holds the answer alone; ending the program is an
    error of the file; after `timeout` seconds the process ends with words and exit code 2.

    Raises:
        ReadError: the file ends the program.
    """
    with given(file) as named, _watched(named, timeout):
        yield named


@contextlib.contextmanager
def _watched(file: str, timeout: float) -> Iterator[None]:
    path = str(file_and_name(file)[0])
    watchdog = threading.Timer(timeout, _give_up, (path, timeout, threading.get_ident()))
    watchdog.daemon = True
    watchdog.start()
    try:
        with _aside(), _recursion_kept(), within_what_is_there():
            yield
    except SystemExit as error:
        raise ReadError(
            f"the file ends the program (exit code {error.code or 0})",
            spot=_spot(path, error.__traceback__),
            hint="take that line out: the file is run to know what stands in it",
        ) from None
    except KeyboardInterrupt as error:
        spot = _spot(path, error.__traceback__)
        if spot is None:
            raise
        raise ReadError("interrupted while the file ran", spot=spot) from None
    finally:
        watchdog.cancel()


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """What is printed goes to stderr, by compiled code too."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def _recursion_kept() -> Iterator[None]:
    """A file may ask for deeper recursion, not for less than the work on it needs."""
    least, ask = sys.getrecursionlimit(), sys.setrecursionlimit
    sys.setrecursionlimit = lambda limit: ask(max(limit, least))
    try:
        yield
    finally:
        sys.setrecursionlimit = ask
        ask(least)


def _give_up(path: str, timeout: float, thread: int) -> None:
    frame = sys._current_frames().get(thread)
    error = GradninjaError(
        f"it did not come to an end within {timeout:g} s",
        spot=_deepest(path, frame),
        hint="look for a loop that never ends, or give more time with --timeout",
    )
    os.write(2, f"error: {error}\n".encode())
    os._exit(WRONG)


def _deepest(path: str, frame: FrameType | None) -> Spot | None:
    """The line of the file that is running."""
    while frame is not None:
        if Path(frame.f_code.co_filename).name == Path(path).name:
            return _line(path, frame.f_lineno)
        frame = frame.f_back
    return None


def _spot(path: str, trace: object) -> Spot | None:
    """The deepest line of the file that an exception came through."""
    rows = traceback.extract_tb(trace)  # type: ignore[arg-type]
    mine = [row for row in rows if Path(row.filename).name == Path(path).name]
    return _line(path, mine[-1].lineno or 1) if mine else None


def _line(path: str, number: int) -> Spot:
    text = linecache.getline(path, number).rstrip("\n")
    return Spot(path, number, text, len(text) - len(text.lstrip()))
