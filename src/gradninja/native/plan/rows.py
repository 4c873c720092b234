"""Loops over the rows of large arrays that become one: a row is worked on while it is in cache.

A loss over (1024, 32000) is five loops over all of it, and each would bring it from memory anew.
Loops of one length become one where each reads of the others' arrays only the row that it is at;
sums over all rows grow beside them. What no one else reads has memory for one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gradninja.native.maps.graph import Map, Node, Reduce
from gradninja.native.maps.places import Index, Part, Var, index_of
from gradninja.native.maps.scalars import Buffer
from gradninja.native.plan.layout import place_of
from gradninja.native.plan.loops import Store

if TYPE_CHECKING:
    from gradninja.native.plan.fusing import Plan, Stage

_LONG = 64  # elements of a row, from which on the loops within it are worth having
_SHORT = 32  # as many as a row in the same loop must have, unless it is one
_LARGE = 1 << 15  # elements of all rows: what is less stays in cache anyway
MOST_IN_A_ROW = 24  # arrays that are written in one loop over rows


@dataclass(eq=False)
class Group:
    """Stages that share the loop over `rows`; one stage alone where it is 0."""

    stages: list[Stage]
    rows: int = 0
    written: dict[Buffer, int] = field(default_factory=dict)  # by rows of so many elements

    @property
    def nodes(self) -> list[Node]:
        return [node for stage in self.stages for node in stage.nodes]


def axes_of(plan: Plan, node: Reduce, rows: bool) -> tuple[list[int], list[int], list[int]]:
    """The axes of a sum's loops: around it, summed, and side by side within.

    `rows`: the first of them all is to be the outermost, also where it is summed.
    """
    kept, gone = plan.reduced(node)
    if rows and gone and plan.inner_kept(node) and min(gone) < min(kept, default=0):
        return [], gone, kept
    if plan.inner_kept(node) and gone:
        return kept[:-1], gone, kept[-1:]
    return kept, gone, []


def stores_of(plan: Plan, stage: Stage, loops: Sequence[Index], rows: bool = False) -> list[Store]:
    """What a stage's innermost loop stores, or adds: at these indices of its loops."""
    get = plan.getter(inline=stage.nodes if stage.kind == "map" else ())
    found = []
    for node in stage.nodes:
        if isinstance(node, Map):
            at = plan.at(node, loops)
            value = node.pull(get, at)
        else:
            assert isinstance(node, Reduce)
            inside = node.args[0]
            order = [axis for part in axes_of(plan, node, rows) for axis in part]
            known = dict(zip(order, loops, strict=True))
            places = tuple(known.get(axis, Index()) for axis in range(len(inside.shape)))
            at = tuple(place for axis, place in enumerate(places) if axis not in node.axes)
            value = get(inside, places)
        found.append(Store(plan.buffers[node], place_of(at, plan.strides[node]), value))
    return found


def sizes_of(plan: Plan, stage: Stage, rows: bool = False) -> list[list[int]]:
    """The sizes of a stage's loops, in segments that are not to become one."""
    first = stage.nodes[0]
    if isinstance(first, Map):
        space = list(plan.space(first))
        return [space[:1], space[1:]] if rows else [space]
    assert isinstance(first, Reduce)
    shape = first.args[0].shape
    segments = [[shape[axis] for axis in part] for part in axes_of(plan, first, rows)]
    if not rows:
        return segments
    outer, gone, across = segments
    return [outer[:1], outer[1:], gone, across] if outer else [gone[:1], [], gone[1:], across]


def grouped(plan: Plan) -> list[Group]:
    """The stages in groups, in an order in which they can be run."""
    groups: list[Group] = []
    made: dict[Buffer, int] = {}
    floor = 0
    for stage in _soon(plan):
        own = [plan.buffers[node] for node in stage.nodes if node in plan.buffers]
        after = max([floor, *(made[b] for b in stage.reads if b in made and b not in own)])
        rows, written = _rows(plan, stage)
        where = None
        if rows:
            where = next(
                (g for g in range(after, len(groups)) if _may_join(plan, stage, groups[g], rows)),
                None,
            )
        if where is None:
            groups.append(Group([stage], rows, written))
            where = len(groups) - 1
        else:
            groups[where].stages.append(stage)
            groups[where].written |= written
        if stage.kind == "check" or stage.into is not None:
            floor = len(groups)
        made.update(dict.fromkeys(own, where))
    for group in groups:
        if len(group.stages) == 1:
            group.rows = 0
        else:
            _narrow(plan, group)
    return groups


def _soon(plan: Plan) -> list[Stage]:
    """The stages, single numbers as soon as they can be worked out.

    A factor of the gradients then is known before the loop over rows that they could share with
    the forward. What looks something up stays behind the checks of its places.
    """
    found: list[Stage] = []
    for stage in plan.stages:
        at = len(found)
        if stage.kind == "map" and not any(plan.space(node) for node in stage.nodes):
            values = [store.value for store in stores_of(plan, stage, [])]
            indices = [scalar.at for value in values for scalar in value.walk() if scalar.at]
            while at and not any(index.terms for index in indices):
                before = found[at - 1]
                if stage.reads & {plan.buffers.get(node) for node in before.nodes}:
                    break
                at -= 1
        found.insert(at, stage)
    return found


def _rows(plan: Plan, stage: Stage) -> tuple[int, dict[Buffer, int]]:
    """How many rows a stage goes by, 0 if none; and of how many elements are those it writes."""
    if stage.kind not in ("map", "reduce") or stage.into is not None:
        return 0, {}
    written: dict[Buffer, int] = {}
    if len({_loops(plan, node) for node in stage.nodes}) > 1:  # one sums rows, one within them
        return 0, {}
    for node in stage.nodes:
        size = node.size
        order = [axis for axis in plan.order[node] if node.shape[axis] != 1]
        if isinstance(node, Reduce):
            outer, gone, _ = axes_of(plan, node, rows=True)
            size = node.args[0].size
            loops = [a for a in plan.order[node.args[0]] if node.args[0].shape[a] != 1]
            if not loops or (outer or gone)[0] != loops[0] or 0 in node.args[0].shape:
                return 0, {}
            if not outer:
                written[plan.buffers[node]] = 0  # whole only after the last row
                continue
            order_of_kept = [a for a in range(len(node.args[0].shape)) if a not in node.axes]
            if not order or order_of_kept[order[0]] != outer[0]:
                return 0, {}
        if not order or not size:
            return 0, {}
        written[plan.buffers[node]] = node.size // node.shape[order[0]]
    sizes = sizes_of(plan, stage, rows=True)
    return sizes[0][0], written


def _loops(plan: Plan, node: Node) -> tuple[tuple[int, ...], ...]:
    """The sizes of a node's loops, in segments."""
    if not isinstance(node, Reduce):
        return (plan.space(node),)
    shape = node.args[0].shape
    return tuple(tuple(shape[a] for a in part) for part in axes_of(plan, node, rows=True))


def _may_join(plan: Plan, stage: Stage, group: Group, rows: int) -> bool:
    if group.rows != rows or len(group.nodes) + len(stage.nodes) > MOST_IN_A_ROW:
        return False
    lengths = [_length(plan, each) for each in (*group.stages, stage)]
    long = max(lengths) >= _LONG and rows * max(lengths) >= _LARGE
    if not long or any(1 < length < _SHORT for length in lengths):
        return False
    return all(_goes_by_rows(plan, each, group.written) for each in (*group.stages, stage))


def _length(plan: Plan, stage: Stage) -> int:
    """The elements of a row that a stage goes through."""
    found = 1
    for size in [size for segment in sizes_of(plan, stage, rows=True)[1:] for size in segment]:
        found *= size
    return found


def _goes_by_rows(plan: Plan, stage: Stage, written: dict[Buffer, int]) -> bool:
    """Whether a stage reads of arrays that are written by rows only the row that it is at."""
    sizes = [size for segment in sizes_of(plan, stage, rows=True) for size in segment]
    row, *rest = (Var(f"v{place}", size) for place, size in enumerate(sizes))
    own = {plan.buffers[node] for node in stage.nodes}
    for store in stores_of(plan, stage, [index_of(v) for v in (row, *rest)], rows=True):
        loads = [s for s in store.value.walk() if s.op == "load" and s.at is not None]
        for at in (store.at, *(s.at for s in store.value.walk() if s.at is not None)):
            if any(row in part.variables() for part in _divided(at)):
                return False
        for load in loads:
            assert load.buffer is not None and load.at is not None
            if load.buffer in own and stage.kind == "map":
                continue  # worked out in the same turn
            if load.buffer in written:
                length = written[load.buffer]
                if not (load.at - index_of(row) * length).within(length):
                    return False
    return True


def _divided(at: Index) -> list[Index]:
    """What is divided in an index."""
    found = []
    for atom, _ in at.terms:
        if isinstance(atom, Part):
            found += [atom.of, *_divided(atom.of)]
    return found


def _narrow(plan: Plan, group: Group) -> None:
    """Memory for one row where nobody else reads the others."""
    outside: set[Buffer] = {plan.buffers[node] for node in plan.outputs if node in plan.buffers}
    for stage in plan.stages:
        if stage not in group.stages:
            outside |= stage.reads
    for node in group.nodes:
        buffer = plan.buffers[node]
        length = group.written[buffer]
        if buffer in outside or not length or node in (check.node for check in plan.graph.checks):
            continue
        first = next(axis for axis in plan.order[node] if node.shape[axis] != 1)
        strides = list(plan.strides[node])
        strides[first] = 0
        plan.strides[node] = tuple(strides)
        plan.buffers[node] = replace(buffer, size=length)
        for stage in group.stages:
            if buffer in stage.reads:
                stage.reads = (stage.reads - {buffer}) | {plan.buffers[node]}
