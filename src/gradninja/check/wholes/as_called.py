"""Calling a backward as its caller would: in processes of its own, in more than one order, often.

What it gives must not depend on what was called before. Each process is a fork, taken before any
line of the backward was run. There the true gradients are forgotten, so that nothing in it can look
them up; what comes back are raw bytes, compared where the backward never ran.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gradninja.check.given.execution import counted, precision, quiet
from gradninja.check.given.module import told
from gradninja.check.reference.guard import untouched
from gradninja.check.tell.findings import CheckError
from gradninja.check.walks.trials import PRECISIONS, Trial, forget

ROUNDS = 8  # times that one process goes through all draws; the other goes once, backwards
LONGEST = 600.0  # seconds, for a fork that a lock of the parent's stops: the last resort
ELEMENTS = 2_000_000  # of all inputs: beyond it a process goes through the draws once

Run = Callable[[Trial, torch.dtype], Any]


@dataclass(frozen=True, eq=False)
class Call:
    """What one call gave, or the error that it raised, in words. `turn`: the calls before it."""

    index: int  # of the draw
    dtype: torch.dtype
    turn: int
    value: Any = None
    raised: str | None = None
    name_error: bool = False


class Calls:
    """The calls of one backward on all draws. They run while the caller does something else."""

    def __init__(
        self,
        run: Run,
        trials: Sequence[Trial],
        *,
        asked: Collection[str] = (),
        engine: bool = False,
    ) -> None:
        """`asked`: the names that it asks for; the true gradients among them are handed to it.

        `engine`: it goes through autograd, which runs in no fork where there is a GPU.
        """
        places = [(i, d) for d in reversed(PRECISIONS) for i in range(len(trials))]
        elements = sum(
            value.numel()
            for trial in trials
            for value in trial.wide.state.values()
            if isinstance(value, torch.Tensor)
        )
        rounds = ROUNDS if elements <= ELEMENTS else 1
        orders = [places * rounds, places[::-1]]
        fork = can_fork(engine=engine)
        self._parts = [_Part(run, trials, order, asked, fork=fork) for order in orders]

    def collect(self) -> list[Call]:
        """All that differ from each other, in the order of the first process, then the second's.

        Raises:
            CheckError: raised by the caller of the backward, or the backward replaces what is
                relied on.
        """
        try:
            return [call for part in self._parts for call in part.collect()]
        finally:
            self.end()

    def end(self) -> None:
        for part in self._parts:
            part.end()


class _Part:
    """The calls of one order, in a fork where there can be one."""

    def __init__(
        self,
        run: Run,
        trials: Sequence[Trial],
        order: Sequence[tuple[int, Any]],
        asked: Collection[str],
        *,
        fork: bool,
    ) -> None:
        self.pid: int | None = None
        self.done: bytes | None = None
        if not fork:
            self.done = _answers(run, trials, order)
            return
        self.ending, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other threads: torch's own, which stay idle
            self.pid = os.fork()
        if self.pid == 0:
            forget(trials, asked)
            _be_child(write, run, trials, order)
        os.close(write)

    def collect(self) -> list[Call]:
        if self.done is None:
            self.done = self._read()
        return _calls(self.done)

    def _read(self) -> bytes:
        found, until = bytearray(), time.monotonic() + LONGEST
        while True:
            ready, _, _ = select.select([self.ending], [], [], max(until - time.monotonic(), 0))
            if not ready:
                raise CheckError(f"a call of the backward did not come to an end in {LONGEST:g} s")
            part = os.read(self.ending, 1 << 20)
            if not part:
                return bytes(found)
            found += part

    def end(self) -> None:
        if self.pid is not None:
            os.close(self.ending)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = None


def can_fork(*, engine: bool) -> bool:
    """Not where threads of a library would be missing in the fork, as autograd's beside a GPU."""
    return (
        not (engine and torch.accelerator.is_available())
        and sys.platform == "linux"
        and not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        and not {"jax", "tensorflow"} & set(sys.modules)
    )


def _be_child(write: int, run: Run, trials: Sequence[Trial], order: Sequence[Any]) -> None:
    """Never returns."""
    try:
        torch.set_num_threads(1)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        with os.fdopen(write, "wb") as pipe:
            pipe.write(_answers(run, trials, order))
    finally:
        os._exit(0)


def _answers(run: Run, trials: Sequence[Trial], order: Sequence[tuple[int, Any]]) -> bytes:
    """The differing answers as lines of JSON, each followed by the bytes that it counts."""
    found, seen = bytearray(), set[bytes]()
    try:
        with untouched():
            for turn, (index, dtype) in enumerate(order):
                answer = _answer(run, trials[index], dtype)
                head, raw = answer
                key = json.dumps([index, str(dtype), head]).encode() + raw
                if key not in seen:
                    seen.add(key)
                    row = [index, dtype == torch.float64, turn, head, len(raw)]
                    found += json.dumps(row).encode() + b"\n" + raw
                if "raised" in head or "refused" in head:
                    break
    except CheckError as error:
        return json.dumps([0, False, 0, {"refused": str(error)}, 0]).encode() + b"\n"
    return bytes(found) + b"end\n"


def _answer(run: Run, trial: Trial, dtype: torch.dtype) -> tuple[dict[str, Any], bytes]:
    raw = bytearray()
    try:
        with precision(dtype, trial.draw.seed), quiet(), counted():
            return {"value": _packed(run(trial, dtype), raw)}, bytes(raw)
    except CheckError as error:
        return {"refused": str(error)}, b""
    except BaseException as error:  # whatever the person's code raises
        return {"raised": told(error), "name": isinstance(error, NameError)}, b""


def _packed(value: Any, raw: bytearray) -> Any:
    """Plain values that say what a value is; the elements of tensors go to `raw`."""
    if value is None or isinstance(value, bool | int | float):
        return {"plain": value}
    if hasattr(value, "__array__") and not isinstance(value, torch.Tensor):
        value = torch.from_numpy(np.array(value))
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_complex() or value.device.type != "cpu":
            return {"odd": f"{value.dtype}, {value.layout}, on {value.device}"}
        elements = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        start = len(raw)
        raw += elements
        dtype = str(value.dtype).removeprefix("torch.")
        return {"tensor": [dtype, list(value.shape), start, len(elements)]}
    if isinstance(value, dict):
        return {"dict": [[str(key), _packed(part, raw)] for key, part in value.items()]}
    if isinstance(value, tuple | list):
        return {"several": [_packed(part, raw) for part in value]}
    return {"odd": f"a {type(value).__name__}"}


class Odd(str):
    """A value that is no gradient, in words."""


def _unpacked(packed: Any, raw: bytes) -> Any:
    ((kind, found),) = packed.items()
    if kind == "tensor":
        dtype, shape, start, count = found
        if not count:
            return torch.empty(shape, dtype=getattr(torch, dtype))
        part = bytearray(raw[start : start + count])
        return torch.frombuffer(part, dtype=getattr(torch, dtype)).reshape(shape)
    if kind == "dict":
        return {key: _unpacked(part, raw) for key, part in found}
    if kind == "several":
        return tuple(_unpacked(part, raw) for part in found)
    return Odd(found) if kind == "odd" else found


def _calls(answers: bytes) -> list[Call]:
    return list(_parsed(answers))


def _parsed(answers: bytes) -> Iterator[Call]:
    at = 0
    while True:
        end = answers.find(b"\n", at)
        if end < 0:
            break
        line = answers[at:end]
        if line == b"end":
            return
        index, wide, turn, head, count = json.loads(line)
        raw, at = answers[end + 1 : end + 1 + count], end + 1 + count
        if "refused" in head:
            raise CheckError(head["refused"])
        dtype = torch.float64 if wide else torch.float32
        if "raised" in head:
            yield Call(index, dtype, turn, None, head["raised"], head["name"])
            return
        yield Call(index, dtype, turn, _unpacked(head["value"], raw))
    yield Call(0, torch.float32, 0, raised="the process that called it ended before it returned")
