"""One text on many ranks in one process: a thread each, who meet at each collective."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gradninja.errors import DeriveError
from gradninja.lines.scope import LIBRARY, run
from gradninja.ranks.mesh import Mesh
from gradninja.ranks.rank_lines import COLLECTIVES

PATIENCE = 60.0  # seconds that one rank waits for the others


class Meeting:
    """Where the ranks along a line of the mesh hand each other tensors."""

    def __init__(self, members: Sequence[int], patience: float) -> None:
        self.members, self.patience = list(members), patience
        self.barrier = threading.Barrier(len(members))
        self.slots: dict[int, tuple[str, Any]] = {}

    def exchange(self, rank: int, call: str, handed: Any) -> list[Any]:
        """What all have handed in, by rank."""
        self.slots[rank] = (call, handed)
        self.barrier.wait(self.patience)
        calls = {self.slots[member][0] for member in self.members}
        found = [self.slots[member][1] for member in self.members]
        self.barrier.wait(self.patience)
        if len(calls) > 1:
            raise DeriveError(f"the ranks call different collectives: {', '.join(sorted(calls))}")
        return found


class Group:
    """One rank's view of a meeting: what stands for a process group."""

    def __init__(self, meeting: Meeting, rank: int, count: Callable[[str, Tensor], None]) -> None:
        self.meeting, self.rank, self.count = meeting, rank, count

    def exchange(self, call: str, tensor: Tensor, even: bool = True) -> list[Tensor]:
        """What all ranks hand in; of one shape, where they must be `even`."""
        self.count(call, tensor)
        found = self.meeting.exchange(self.rank, call, tensor.clone())
        shapes = list(dict.fromkeys(tuple(part.shape) for part in found))
        if even and len(shapes) > 1:
            raise DeriveError(f"the ranks hand {call} tensors of shapes {shapes[0]}, {shapes[1]}")
        return found


REDUCE: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "sum": lambda parts: torch.stack(parts).sum(0),
    "avg": lambda parts: torch.stack(parts).mean(0),
    "max": lambda parts: torch.stack(parts).amax(0),
    "min": lambda parts: torch.stack(parts).amin(0),
}


class Collectives:
    """The functional collectives that a text calls, among threads. The order of sums is fixed."""

    @staticmethod
    def all_reduce(tensor: Tensor, op: str, group: Group) -> Tensor:
        return REDUCE[op](group.exchange(f"all_reduce {op}", tensor))

    @staticmethod
    def all_reduce_coalesced(tensors: list[Tensor], op: str, group: Group) -> list[Tensor]:
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        whole = Collectives.all_reduce(flat, op, group)
        sizes = [tensor.numel() for tensor in tensors]
        parts = zip(torch.split(whole, sizes), tensors, strict=True)
        return [part.view(tensor.shape) for part, tensor in parts]

    @staticmethod
    def all_gather_tensor(tensor: Tensor, dim: int, group: Group) -> Tensor:
        return torch.cat(group.exchange("all_gather", tensor, even=False), dim)

    @staticmethod
    def reduce_scatter_tensor(tensor: Tensor, op: str, dim: int, group: Group) -> Tensor:
        whole = REDUCE[op](group.exchange(f"reduce_scatter {op}", tensor))
        members = group.meeting.members
        return whole.tensor_split(len(members), dim)[members.index(group.rank)].clone()

    @staticmethod
    def wait_tensor(tensor: Tensor) -> Tensor:
        return tensor


class Traffic:
    """Calls and elements that one rank hands in."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def __call__(self, call: str, tensor: Tensor) -> None:
        self.calls.append((call, tensor.numel()))


Surroundings = Callable[[int, Mapping[str, Group]], Mapping[str, Any]]


def simulate(
    text: str,
    function: str,
    arguments: Sequence[Mapping[str, Any]],
    mesh: Mesh,
    groups: Sequence[str],
    namespace: Mapping[str, Any],
    patience: float = PATIENCE,
    surroundings: Surroundings | None = None,
) -> tuple[list[Any], Traffic]:
    """What each rank's call of a text's function returns, and what the first rank handed in.

    Args:
        arguments: each rank's, by name, without the groups.
        groups: for each mesh axis the name by which the function takes it.
        surroundings: names that a rank's text finds besides, of the rank and its groups.

    Raises:
        DeriveError: a rank's call fails, or the ranks do not call the same collectives.
    """
    traffic = Traffic()
    meetings = [
        {
            rank: meeting
            for line in mesh.lines(axis)
            for meeting in [Meeting(line, patience)]
            for rank in line
        }
        for axis in range(len(mesh.axes))
    ]
    results: list[Any] = [None] * len(mesh.ranks)
    errors: list[BaseException | None] = [None] * len(mesh.ranks)

    def rank_main(rank: int) -> None:
        scope: dict[str, Any] = {**LIBRARY, **namespace}
        given = {
            name: Group(meetings[axis][rank], rank, traffic if rank == 0 else _uncounted)
            for axis, name in enumerate(groups)
        }
        run([text], scope, "<ranks>")
        scope[COLLECTIVES] = Collectives
        scope.update({} if surroundings is None else surroundings(rank, given))
        wanted = _parameters(scope[function])
        try:
            with torch.no_grad():
                found = scope[function](
                    **{n: v for n, v in {**arguments[rank], **given}.items() if n in wanted}
                )
            results[rank] = found
        except BaseException as error:
            errors[rank] = error
            for meeting in {id(m[rank]): m[rank] for m in meetings}.values():
                meeting.barrier.abort()

    threads = [threading.Thread(target=rank_main, args=(rank,)) for rank in range(len(mesh.ranks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = [(r, e) for r, e in enumerate(errors) if e is not None]
    if failed:
        first = [f for f in failed if not isinstance(f[1], threading.BrokenBarrierError)]
        if not first:
            raise DeriveError("the ranks wait for each other: not all make the same calls")
        rank, error = first[0]
        said = (
            error.message if isinstance(error, DeriveError) else f"{type(error).__name__}: {error}"
        )
        raise DeriveError(f"rank {rank} stops: {said}") from error
    return results, traffic


def _uncounted(call: str, tensor: Tensor) -> None:
    pass


def _parameters(function: Any) -> set[str]:
    code = function.__code__
    return set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
