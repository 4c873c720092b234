"""The step of one rank: a text of `gradninja.ranks` on a share of each batch, whole gradients."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from gradninja.errors import DeriveError, RunError, Spot
from gradninja.lines.scope import run
from gradninja.models import Model

if TYPE_CHECKING:
    from gradninja.ranks import Sharded

AXIS, BATCH = "data", "Xb.0 Yb.0"  # the examples of a batch are what is split
ORDERED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": torch.add,
    "max": torch.maximum,
    "min": torch.minimum,
}


class LostRanks(RunError):
    """Other ranks do not answer: what ended them is told by them."""


@contextmanager
def answered() -> Iterator[None]:
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
        with answered():
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
        with answered():
            dist.all_gather(parts, tensor.contiguous(), group)
        return parts


@dataclass(frozen=True, eq=False)
class RankStep:
    """A step that takes a whole batch, works on a rank's share and gives whole gradients.

    Attributes:
        source: its text, a function of whole weights and of the share: its locals are the loss,
            the gradients, and all that is between.
        share: the examples of a batch that are this rank's.
        given: what the text takes beside weights, sizes and batch: the length of the whole batch,
            where the share begins, the group of ranks.
        collectives: what the text calls.
        ranks: how many there are.
    """

    source: str
    share: slice
    given: Mapping[str, object]
    collectives: Collectives
    ranks: int
    _optional: Mapping[str, object]
    _function: Callable[..., dict[str, Any]] = field(repr=False)

    def __call__(self, values: Mapping[str, object]) -> dict[str, Any]:
        """The locals of a step, of the values that a `models.Step` takes.

        Raises:
            LostRanks: another rank does not answer.
        """
        here: dict[str, Any] = {**self._optional, **values, **self.given}
        for name in ("Xb", "Yb"):
            here[name] = here[name][self.share]
        code = self._function.__code__
        return self._function(*(here[name] for name in code.co_varnames[: code.co_argcount]))

    @staticmethod
    def spot(place: Spot) -> Spot:
        """Where a place in `source` stands: there, for the lines are nobody's own."""
        return place


def rank_step(
    model: Model,
    backward: str | None,
    values: Mapping[str, object],
    rank: int,
    ranks: int,
    ordered: bool = False,
) -> RankStep:
    """A model's step for one of several ranks.

    Args:
        backward: the name of the model file's own; derived when None, or no plain lines.
        values: a batch, the weights and sizes, to read the forward with.
        ordered: sums over ranks are taken in their order.

    Raises:
        RunError: there are fewer examples than ranks, or shares must be equal and are not.
        DeriveError: the forward or backward cannot be split.
    """
    from gradninja.derive import derive
    from gradninja.ranks import shard
    from gradninja.ranks.mesh import shares

    whole = values["Xb"]
    assert isinstance(whole, Tensor)
    batch = len(whole)
    if batch < ranks:
        raise RunError(
            f"a batch of {batch} is too small for {ranks} ranks",
            hint=f"take --batch {ranks} or more, or fewer ranks",
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
    if found.split.equal and batch % ranks:
        raise RunError(
            f"a batch of {batch} is not {ranks} equal shares, which this model wants: it "
            "looks at all examples together",
            hint=f"take a --batch that {ranks} divides",
        )
    start, mine = shares(batch, ranks)[rank]
    (axis,) = found.split.axes
    told = {axis.whole: batch, axis.start: start, axis.group: dist.group.WORLD}
    source, collectives = _text(found), Collectives(ordered)
    optional = {i.name: i.value for i in found.program.inputs if i.optional}
    share = slice(start, start + mine)
    function = _function(found, source, collectives)
    return RankStep(source, share, told, collectives, ranks, optional, function)


def _text(found: Sharded) -> str:
    """The lines of a rank as a step has them: one function, with `loss` and `d<name>` in it."""
    *imports, function = ast.parse(found.step_locals).body
    assert isinstance(function, ast.FunctionDef)
    names = dict(zip((f"d{name}" for name in found.wanted), found.backward.returned, strict=True))
    names |= dict(zip(found.program.outputs, found.forward.returned, strict=True))
    lines = [ast.unparse(node) for node in function.body[:-1]]
    lines += [f"{name} = {of}" for name, of in names.items() if name != of]
    head = f"def step({', '.join(formal.arg for formal in function.args.args)}):"
    body = "\n".join(f"    {line}" for line in [*lines, "return locals()"])
    return "\n".join([*map(ast.unparse, imports), f"\n\n{head}", body, ""])


def _function(found: Sharded, source: str, collectives: Collectives) -> Callable[..., Any]:
    from gradninja.ranks.rank_lines import COLLECTIVES

    scope: dict[str, Any] = dict(found.program.namespace)
    run([source], scope, "<step of a rank>")
    scope[COLLECTIVES] = collectives
    made: Callable[..., Any] = scope["step"]
    return made
