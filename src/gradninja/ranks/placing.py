"""As few calls as possible: sums over ranks that may wait for each other go in one."""

from __future__ import annotations

from dataclasses import replace

from gradninja.ranks.lines import Collective, RankLine

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
        why="; ".join(dict.fromkeys(call.why for call in calls)),
    )
