"""Signals that ask a run to stop: it saves first."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def stop_signals(patient: bool = False) -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C (SIGINT), SIGTERM and a terminal that closes (SIGHUP) wait for the end of a
    step; a second one does not wait, except where `patient`: one of several ranks is sent a signal
    by the terminal, and by what started it. What was told to ignore SIGHUP (nohup) goes on so.
    """
    asked = False
    before: dict[signal.Signals, object] = {}

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        if not patient:
            restore()

    def restore() -> None:
        for name, handler in before.items():
            signal.signal(name, handler)  # type: ignore[arg-type]

    if threading.current_thread() is threading.main_thread():
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if name != signal.SIGHUP or signal.getsignal(name) != signal.SIG_IGN:
                before[name] = signal.signal(name, ask)
    try:
        yield lambda: asked
    finally:
        restore()
