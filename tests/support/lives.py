"""Command lines in processes of their own, forked of one that has imported what they need.

A start of Python with torch takes two seconds of a core; a fork of one takes none.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

from gradninja.cli import main

PRELOADED = ["lives", "gradninja.training.pictures.plots", "gradninja.native.calls.training_run"]


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


class Life:
    """`gradninja ARGS` in a process; `before`: called in it first, a function of a module."""

    def __init__(self, *args: str, told: Path, before: Callable[[], None] | None = None) -> None:
        self.told = told
        self._process = _context().Process(target=_live, args=(args, told, before))
        self._process.start()

    def over(self) -> bool:
        return not self._process.is_alive()

    def signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def end(self) -> int | None:
        """Its exit code, once it has ended; below zero where a signal ended it."""
        self._process.join(120)
        return self._process.exitcode


def _live(args: tuple[str, ...], told: Path, before: Callable[[], None] | None) -> None:
    with told.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if before is not None:
        before()
    sys.argv = ["gradninja", *args]
    main()
