"""Judging in a process of its own: a learner's line may hang or crash, and the page goes on."""

from __future__ import annotations

import multiprocessing
import threading
from multiprocessing.connection import Connection
from typing import Any

START = 60.0  # seconds that importing torch may take


def serve(pipe: Connection) -> None:
    """Answer `(action, arguments)` until the pipe is closed."""
    import torch

    from gradninja.learn.workbook.exercise import exercise

    torch.set_num_threads(1)
    pipe.send("ready")
    while True:
        try:
            action, chapter, arguments = pipe.recv()
        except EOFError:
            return
        try:
            found = exercise(chapter)
            pipe.send({"answer": getattr(found, action)(*arguments)})
        except Exception as error:  # told to the learner, the process goes on
            pipe.send({"failed": f"{type(error).__name__}: {error}"})


class Worker:
    """The process; started when it is needed, and again after one that did not answer in time."""

    def __init__(self, timeout: float = 10.0) -> None:
        self.timeout = timeout
        self.lock = threading.Lock()
        self.made: set[str] = set()  # the chapters that the process has made ready
        self.process: Any = None
        self.pipe: Any = None

    def ask(self, action: str, chapter: str, *arguments: Any) -> dict[str, Any]:
        """The answer, `{"answer": ...}`, or `{"failed": why}`."""
        with self.lock:
            if self.process is None or not self.process.is_alive():
                self._start()
            try:
                if chapter not in self.made:  # that takes what time it needs
                    self.pipe.send(("told", chapter, ()))
                    if self.pipe.poll(START):
                        self.pipe.recv()
                        self.made.add(chapter)
                self.pipe.send((action, chapter, arguments))
                if self.pipe.poll(self.timeout):
                    found: dict[str, Any] = self.pipe.recv()
                    return found
            except (EOFError, OSError):
                self.stop()
                return {"failed": "your lines ended the process that judges them"}
            self.stop()
            return {"failed": f"your lines did not come to an end within {self.timeout:g} s"}

    def _start(self) -> None:
        self.made.clear()
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        if self.pipe.poll(START):
            self.pipe.recv()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None
