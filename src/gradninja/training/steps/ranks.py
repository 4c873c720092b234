"""Training on several ranks: the same program on each, with its share of the same batches.

`torch.distributed` moves the bytes and `torchrun` starts the ranks; what each runs is a text of
`gradninja.ranks`. Every rank holds all weights and takes the same steps. Rank 0 keeps the run.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from gradninja.errors import RunError
from gradninja.models import Model
from gradninja.training.loop import Hooks
from gradninja.training.steps.rank_step import RankStep, answered, rank_step

PATIENCE = 300.0  # seconds that a rank waits for the others
_AGREE_EVERY = 16  # steps between two times that ranks tell each other of a wish to stop


@dataclass(frozen=True)
class Ranks:
    """This process's place among the ranks."""

    rank: int
    count: int
    ordered: bool = False  # sums are taken in the order of the ranks

    @property
    def first(self) -> bool:
        """Whether this is the rank that keeps the run."""
        return self.rank == 0

    def step(self, model: Model, backward: str | None, values: Mapping[str, object]) -> RankStep:
        """This rank's step; arguments and errors as of `rank_step`."""
        return rank_step(model, backward, values, self.rank, self.count, self.ordered)

    def largest(self, number: int) -> int:
        """The largest that any rank has, told to all of them."""
        found = torch.tensor(number)
        with answered():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def together(self, hooks: Hooks, step: Callable[[], int], many: bool) -> Hooks:
        """Hooks by which all ranks take the same steps, and stop after the same one.

        Args:
            step: tells how many were taken.
            many: whether several steps are taken at once: the ranks' clocks then have to agree on
                how many, and there is time to ask after each time who wants to stop.
        """
        every = 1 if many else _AGREE_EVERY

        def stop() -> bool:
            return step() % every == 0 and bool(self.largest(int(hooks.stop())))

        return replace(hooks, stop=stop, pace=lambda steps: -self.largest(-steps))


@contextmanager
def joined(ordered: bool = False) -> Iterator[Ranks | None]:
    """This process's place among the ranks that torchrun started; None where it is alone.

    Args:
        ordered: sums over ranks are taken in their order, whatever the backend would do.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count < 2 or "RANK" not in os.environ:
        yield None
        return
    patience = timedelta(seconds=PATIENCE)
    store, rank, count = next(dist.rendezvous("env://", timeout=patience))  # type: ignore[attr-defined]
    # What ranks told each other before one was lost stands in the launcher's store.
    store = dist.PrefixStore(f"attempt {_attempt()}", store)  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=patience)
    try:
        yield Ranks(dist.get_rank(), count, ordered)
    finally:
        with contextlib.suppress(RuntimeError):  # others may have gone
            dist.destroy_process_group()


def restarted(out: Path | None) -> bool:
    """Whether torchrun has started the ranks anew, after one was lost, and a checkpoint is there.

    Raises:
        RunError: the run's folder has no name by which to find it.
    """
    if _attempt() == 0:
        return False
    if out is None:
        raise RunError(
            "the ranks were started anew, and which run folder was theirs is not known",
            hint="Give --out FOLDER where torchrun may restart.",
        )
    return (out / "config.json").exists() and (out / "weights.safetensors").exists()


def _attempt() -> int:
    """How often torchrun has started the ranks anew."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def place_of(ranks: Ranks | None, out: Path | None) -> Path | None:
    """Where this process writes: rank 0 to the run folder, others to where it is thrown away."""
    if ranks is None or ranks.first:
        return out
    folder = tempfile.mkdtemp(prefix="gradninja-rank-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
