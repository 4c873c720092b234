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
    """The same with all_reduces put together where one is needed and others could be made, too.

    Each may stand anywhere between where its value is done and where it is needed whole. Taking
    the one that is needed first, with all that are done by then, and so on, gives the fewest
    points that every such interval holds. `start` is the place of the first item in the walk.
    """
    taken: set[int] = set()
    calls: dict[int, Collective] = {}
    for at, item in enumerate(items):
        if not isinstance(item, Collective) or item.kind != "all_reduce" or at in taken:
            continue
        together = [item]
        for later, other in enumerate(items[at + 1 :], start=at + 1):
            if later not in taken and _fits(item, other, start + at):
                assert isinstance(other, Collective)
                together.append(other)
                taken.add(later)
        calls[at] = _together(together)
    return [calls.get(at, item) for at, item in enumerate(items) if at not in taken]


def _fits(first: Collective, other: RankLine | Collective, at: int) -> bool:
    return (
        isinstance(other, Collective)
        and other.kind == first.kind
        and (other.mesh_axis, other.op, other.dtype) == (first.mesh_axis, first.op, first.dtype)
        and other.ready <= at
    )


def _together(calls: list[Collective]) -> Collective:
    return replace(
        calls[0],
        names=tuple(name for call in calls for name in call.names),
        into=tuple(name for call in calls for name in call.into),
        shapes=tuple(shape for call in calls for shape in call.shapes),
        elements=sum(call.elements for call in calls),
        whys=tuple(why for call in calls for why in call.whys),
    )
