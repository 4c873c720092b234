"""Waiting for a file to be saved."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

INTERVAL = 0.3  # seconds between two looks


def saves(path: Path, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Yields each time that a file was saved since the last look, without end.

    A file that is not there for a moment, as while an editor replaces it, is waited for.
    """
    before = _state(path)
    while True:
        sleep(INTERVAL)
        now = _state(path)
        if now is not None and now != before:
            before = now
            yield


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
