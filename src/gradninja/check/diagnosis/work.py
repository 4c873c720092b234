"""How much a search may do, in work and not in seconds: a report must not depend on the machine.

The unit is a run of a few small statements. What larger ones are worth is counted from the
operations that they do and the elements that go through them, which are the same everywhere.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

EACH = 5000.0  # runs, for one wrong gradient: about two seconds
WHOLE = 12000.0  # runs, for a report
LONGEST = 40.0  # seconds of the processor for a report, whatever the work: the last resort
NAMED = 0.05  # runs that finding one edit is worth
PER_OPERATION, PER_ELEMENT, PER_FLOP = 1 / 200, 1 / 500_000, 1 / 5_000_000
PRODUCTS = frozenset("matmul rmatmul mm bmm addmm baddbmm mv addmv linear einsum conv2d".split())


class Allowance:
    """What may still be done. A part of it counts against the whole as well."""

    def __init__(
        self, runs: float = WHOLE, seconds: float = LONGEST, whole: Allowance | None = None
    ) -> None:
        self.left, self.whole = runs, whole
        self.until = time.process_time() + seconds  # a busy machine finds what an idle one does
        self.out_of_time = False

    def part(self, runs: float) -> Allowance:
        """So much of it, for one search."""
        return Allowance(runs, whole=self)

    def spend(self, runs: float) -> bool:
        """Count what is about to be done; False where it may not be done any more."""
        if self.whole is not None:
            self.left -= runs
            return self.whole.spend(runs) and self.left >= 0
        if self.left >= 0 and time.process_time() > self.until:
            self.out_of_time = True
        self.left -= runs
        return self.left >= 0 and not self.out_of_time


def runs_of(work: Callable[[], Any]) -> float:
    """What doing something once counts as."""
    counted = _Counted()
    with counted:
        work()
    return 1 + counted.runs


class _Counted(TorchFunctionMode):
    """Counts what torch is asked for."""

    runs = 0.0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        sizes = [part.numel() for part in (*args, found) if isinstance(part, torch.Tensor)]
        self.runs += PER_OPERATION + PER_ELEMENT * sum(sizes)
        if getattr(func, "__name__", "").strip("_") in PRODUCTS:
            self.runs += PER_FLOP * math.sqrt(math.prod(sizes))  # n k m of (n, k) @ (k, m)
        return found
