"""Waiting for files to be saved."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

INTERVAL = 0.3  # seconds between two looks


class Saves:
    """Yields each time that one of the files was saved since the last look, without end.

    The first look is when this is made, so that a save while the first check runs is not lost. A
    file that is not there for a moment, as while an editor replaces it, is waited for.
    """

    def __init__(self, paths: Sequence[Path], sleep: Callable[[float], None] = time.sleep) -> None:
        self.states = {path: _state(path) for path in paths}
        self.sleep = sleep

    def __iter__(self) -> Iterator[None]:
        while True:
            if self._saved():
                yield
            self.sleep(INTERVAL)

    def _saved(self) -> bool:
        now = {path: _state(path) or before for path, before in self.states.items()}
        saved = now != self.states
        self.states = now
        return saved


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
