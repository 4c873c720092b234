"""The lines of one rank's text as they are made, and its calls: as few as possible."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from gradninja.ranks.types import Type

COLLECTIVES = "fc"  # torch.distributed._functional_collectives, by the name that the text gives it


@dataclass(frozen=True, eq=False)
class RankLine:
    """A line of the forward or backward, as one rank has it.

    `of` are the names that it binds or writes into, `types` their types, one for each mesh axis.
    `answers` is the forward's line that a line of the backward answers.
    """

    node: ast.stmt
    of: tuple[str, ...]
    types: tuple[tuple[Type, ...] | None, ...]
    answers: str = ""
    note: str = ""

    def __str__(self) -> str:
        return ast.unparse(self.node)


@dataclass(frozen=True, eq=False)
class Collective:
    """A call in which the ranks along a mesh axis take part: `names` become `into`.

    `kind` is `all_reduce`, `all_gather` or `reduce_scatter`; `whys` say what needs each result,
    `shapes` are those that one rank hands in, with names for the axes.
    """

    kind: str
    names: tuple[str, ...]
    into: tuple[str, ...]
    mesh_axis: str
    whys: tuple[str, ...]
    shapes: tuple[tuple[str, ...], ...]
    elements: int  # handed in, on the sizes that were read
    dtype: str
    op: str = "sum"
    dim: int = 0
    ready: int = 0  # the line after which the names may be handed in

    @property
    def why(self) -> str:
        """What needs the results."""
        return "; ".join(dict.fromkeys(self.whys))

    def __str__(self) -> str:
        group, into = self.mesh_axis, ", ".join(self.into)
        name, call = self.names[0], f"{COLLECTIVES}.{self.kind}"
        if self.kind == "all_gather":
            return f"{into} = {call}_tensor({name}, {self.dim}, {group})"
        if self.kind == "reduce_scatter":
            return f'{into} = {call}_tensor({name}, "{self.op}", {self.dim}, {group})'
        if len(self.names) > 1:
            return f'{into} = {call}_coalesced([{", ".join(self.names)}], "{self.op}", {group})'
        return f'{into} = {call}({name}, "{self.op}", {group})'


Items = list[RankLine | Collective]


def merged(items: Items, start: int = 0) -> Items:
    """The same with all_reduces put together where they can wait for each other.

    Each may stand anywhere between where its value is done and the first line that reads the
    result. Taking the one that is read first, with all that are done by then, and so on, gives the
    fewest points that every such interval holds; a call is made as soon as all it takes are done,
    so that its bytes travel beside what is still computed. `start` is the place of the first item
    in the walk.
    """
    waiting = {
        at: _read_at(items, at)
        for at, item in enumerate(items)
        if isinstance(item, Collective) and item.kind == "all_reduce"
    }
    kept = [item for at, item in enumerate(items) if at not in waiting]
    places = [at for at in range(len(items)) if at not in waiting]
    calls: list[tuple[int, Collective]] = []
    for at in sorted(waiting, key=lambda at: waiting[at]):
        if at not in waiting:
            continue
        first, last = items[at], waiting[at]
        assert isinstance(first, Collective)
        together = [
            (other, item)
            for other in waiting
            if isinstance(item := items[other], Collective)
            and _alike(first, item)
            and item.ready - start <= last
        ]
        for other, _ in together:
            del waiting[other]
        calls.append((max(item.ready for _, item in together) - start, _together(together)))
    for at, call in sorted(calls, key=lambda pair: pair[0])[::-1]:
        kept.insert(sum(place < at for place in places), call)
    return kept


def _read_at(items: Items, at: int) -> int:
    """The first item that reads the result of a collective."""
    call = items[at]
    assert isinstance(call, Collective)
    for later, item in enumerate(items[at + 1 :], start=at + 1):
        if set(call.into) & _reads(item):
            return later
    return len(items)


def _reads(item: RankLine | Collective) -> set[str]:
    if isinstance(item, Collective):
        return set(item.names)
    return {node.id for node in ast.walk(item.node) if isinstance(node, ast.Name)}


def _alike(first: Collective, other: Collective) -> bool:
    return (other.mesh_axis, other.op, other.dtype) == (first.mesh_axis, first.op, first.dtype)


def _together(found: list[tuple[int, Collective]]) -> Collective:
    calls = [call for _, call in found]
    return replace(
        calls[0],
        names=tuple(name for call in calls for name in call.names),
        into=tuple(name for call in calls for name in call.into),
        shapes=tuple(shape for call in calls for shape in call.shapes),
        elements=sum(call.elements for call in calls),
        whys=tuple(why for call in calls for why in call.whys),
    )
