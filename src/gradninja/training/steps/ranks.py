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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gradninja.errors import DeriveError, RunError
from gradninja.lines.scope import run
from gradninja.models import Model
from gradninja.ranks import Sharded, shard
from gradninja.ranks.mesh import shares
from gradninja.ranks.rank_lines import COLLECTIVES

AXIS, BATCH = "data", "Xb.0 Yb.0"  # the examples of a batch are what is split
PATIENCE = 300.0  # seconds that a rank waits for the others
ORDERED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": torch.add,
    "max": torch.maximum,
    "min": torch.minimum,
}
_AGREE_EVERY = 16  # steps between two times that ranks tell each other of a wish to stop


class Collectives:
    """The collectives that a text calls, by `torch.distributed`'s own: one flat call for several.

    Args:
        ordered: sums are taken in the order of the ranks, from what all of them hand in, so that
            no backend has a say in their bits; else in the backend's own order.
    """

    def __init__(self, ordered: bool = False) -> None:
        self.ordered = ordered

    def all_reduce(self, tensor: Tensor, op: str, group: Any) -> Tensor:
        if self.ordered:
            whole, *parts = self._parts(tensor, group)
            for part in parts:
                whole = ORDERED[op](whole, part)
            return whole
        found = tensor.contiguous().clone()
        dist.all_reduce(found, getattr(dist.ReduceOp, op.upper()), group)
        return found

    def all_reduce_coalesced(self, tensors: Sequence[Tensor], op: str, group: Any) -> list[Tensor]:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        whole = self.all_reduce(flat, op, group)
        parts = torch.split(whole, [tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def all_gather_tensor(self, tensor: Tensor, dim: int, group: Any) -> Tensor:
        return torch.cat(self._parts(tensor, group), dim)

    def reduce_scatter_tensor(self, tensor: Tensor, op: str, dim: int, group: Any) -> Tensor:
        whole = self.all_reduce(tensor, op, group)
        return whole.chunk(dist.get_world_size(group), dim)[dist.get_rank(group)]

    @staticmethod
    def _parts(tensor: Tensor, group: Any) -> list[Tensor]:
        """What each rank hands in, in the order of the ranks."""
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size(group))]
        dist.all_gather(parts, tensor.contiguous(), group)
        return parts


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

    def step(
        self, model: Model, backward: str | None, values: Mapping[str, object]
    ) -> Callable[[Mapping[str, object]], dict[str, Any]]:
        """A step that takes a whole batch, works on this rank's share and gives whole gradients.

        Args:
            backward: the name of the model file's own; derived when None, or no plain lines.
            values: a batch, the weights and sizes, to read the forward with.

        Raises:
            RunError: there are fewer examples than ranks, or shares must be equal and are not.
            DeriveError: the forward or backward cannot be split.
        """
        from gradninja.derive import derive

        batch = _length(values)
        if batch < self.count:
            raise RunError(
                f"a batch of {batch} is too small for {self.count} ranks",
                hint=f"take --batch {self.count} or more, or fewer ranks",
            )
        given = {n: values[n] for n in model.arguments("forward") if n in values}
        with torch.inference_mode(False):
            plain = {n: v.clone() if isinstance(v, Tensor) else v for n, v in given.items()}
            back = derive(model.path, plain)
            try:
                own = None if backward is None else f"{model.path}:{backward}"
                found = shard(back, own, split={BATCH: AXIS})
            except DeriveError:
                if backward is None:
                    raise
                # Its own is no plain lines, as one with a loop over layers: it is derived.
                found = shard(back, split={BATCH: AXIS})
        return self._function(found, batch)

    def _function(
        self, found: Sharded, batch: int
    ) -> Callable[[Mapping[str, object]], dict[str, Any]]:
        """The text as a function of whole values."""
        if found.split.equal and batch % self.count:
            raise RunError(
                f"a batch of {batch} is not {self.count} equal shares, which this model wants: it "
                "looks at all examples together",
                hint=f"take a --batch that {self.count} divides",
            )
        scope: dict[str, Any] = dict(found.program.namespace)
        run([found.step_locals], scope, "<step of a rank>")
        scope[COLLECTIVES] = Collectives(self.ordered)
        function = scope["step"]
        (axis,) = found.split.axes
        wanted = function.__code__.co_varnames[: function.__code__.co_argcount]
        optional = {i.name: i.value for i in found.program.inputs if i.optional}
        names = dict(
            zip((f"d{name}" for name in found.wanted), found.backward.returned, strict=True)
        )
        names |= dict(zip(found.program.outputs, found.forward.returned, strict=True))
        group = dist.group.WORLD

        def step(values: Mapping[str, object]) -> dict[str, Any]:
            length = _length(values)
            start, mine = shares(length, self.count)[self.rank]
            here: dict[str, Any] = {**optional, **values, axis.group: group}
            here |= {axis.whole: length, axis.start: start}
            for name in axis.inputs:
                here[name] = here[name].narrow(0, start, mine)
            with _others():
                result = function(*(here[name] for name in wanted))
            return {**result, **{name: result[of] for name, of in names.items()}}

        return step

    def agreed(self, asked: Callable[[], bool], step: Callable[[], int]) -> Callable[[], bool]:
        """Whether any rank was asked to stop, told to all of them after the same step."""

        def stop() -> bool:
            if step() % _AGREE_EVERY:
                return False
            wish = torch.tensor(int(asked()))
            with _others():
                dist.all_reduce(wish, dist.ReduceOp.MAX)
            return bool(wish)

        return stop


@contextmanager
def _others() -> Iterator[None]:
    """Turn a call that other ranks do not answer into words."""
    try:
        yield
    except (dist.DistBackendError, dist.DistNetworkError, RuntimeError) as error:
        said = str(error)
        lost = any(
            word in said for word in ("Connection", "Timed out", "timed out", "gloo", "peer")
        )
        if not lost:
            raise
        raise LostRanks(
            f"rank {dist.get_rank()} waits for ranks that do not answer",
            hint="One of them has ended or hangs; the last checkpoint is whole: --resume goes on.",
        ) from error


class LostRanks(RunError):
    """Other ranks do not answer: what ended them is told by them."""


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


def _length(values: Mapping[str, object]) -> int:
    batch = values["Xb"]
    assert isinstance(batch, Tensor)
    return len(batch)
