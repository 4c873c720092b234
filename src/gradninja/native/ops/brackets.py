"""Rows for picking elements by ints that are looked up, and for writing to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeGuard

import torch

from gradninja.lines import TUPLE, Expr
from gradninja.native.maps.graph import Get, Graph, Map, Node, Places, Scatter, broadcast, narrow
from gradninja.native.maps.lowering import MOST_CONSTANTS, At, Lowered, Row
from gradninja.native.maps.places import Index, Var, index_of
from gradninja.native.maps.scalars import Scalar
from gradninja.native.ops import masks
from gradninja.rules.rule import DIVISION


@dataclass(frozen=True, eq=False)
class Picked:
    """An index into a node of `shape`, taken apart.

    For each axis of the node what tells the place: an int node, or the slice (axis of the result,
    start, step), or a plain int. `made` is where the looked-up axes lie in the result, `result`.
    """

    axes: tuple[Any, ...]
    made: tuple[int, ...]
    result: tuple[int, ...]

    @property
    def looked_up(self) -> list[Node]:
        return [part for part in self.axes if isinstance(part, Node)]

    def source(self, graph: Graph, get: Get, at: Places) -> Places:
        """The place in the node of an element of the result."""
        inner = tuple(at[axis] for axis in self.made)
        found = []
        for part in self.axes:
            if isinstance(part, Node):
                found.append(graph.place(get, part, inner))
            elif isinstance(part, int):
                found.append(Index(part))
            else:
                axis, start, step = part
                found.append(at[axis] * step + start)
        return tuple(found)


def _parts(index: Expr) -> list[Expr | Any]:
    """The parts of an index: expressions for tensors and lists, plain values for the rest."""
    if index.op == TUPLE and isinstance(index.value, tuple):
        return [part if part.is_tensor or part.op == TUPLE else part.value for part in index.args]
    if index.is_tensor or isinstance(index.value, list):
        return [index if index.is_tensor else index.value]
    return list(index.value) if isinstance(index.value, tuple) else [index.value]


def _ints(at: At, part: Any) -> Node:
    """The ints of a part that looks up: a tensor, a range, a list."""
    if isinstance(part, Expr) and part.is_tensor:
        return at.lowering.node(part)
    if isinstance(part, range):
        return at.graph.arange(part.start, part.step, len(part))
    if isinstance(part, list | tuple) and all(type(i) is int for i in part):
        if len(part) > MOST_CONSTANTS:
            raise at.refuse(f"a list of {len(part)} ints is not compiled", "make it an input")
        return at.lowering.constant(list(part))
    raise at.refuse("this index is not compiled")


def _wrapped(graph: Graph, node: Node, size: int, at: At) -> Node:
    """Places counted from the end made places from the start, where they are known to be some."""
    if node.range is not None and -size <= node.range[0] < 0:
        zero, whole = graph.number(0, "int64"), graph.number(size, "int64")
        below = graph.map("{0} < {1}", "bool", node, zero)
        raised = graph.map("{0} + {1}", "int64", node, whole)
        node = graph.map("select({0}, {1}, {2})", "int64", below, raised, node)
        node.range = (0, size - 1)
    graph.check(node, size, f"an index in `{at.told}` is outside of 0 to {size - 1}")
    return node


def _is_mask(part: Any) -> TypeGuard[Expr]:
    return isinstance(part, Expr) and part.is_tensor and part.value.dtype == torch.bool


def _axes_of(part: Any) -> int:
    """How many axes of the node a part speaks of."""
    if part is None or part is Ellipsis:
        return 0
    return len(part.shape) if _is_mask(part) else 1


def picked(at: At, node: Node, index: Expr) -> Picked:
    """Take an index apart. Plain parts count first, as in PyTorch; then what looks up."""
    parts = _parts(index)
    taken = sum(_axes_of(part) for part in parts)
    rest = len(node.shape) - taken
    if Ellipsis in [part for part in parts if not isinstance(part, Expr)]:
        where = next(i for i, part in enumerate(parts) if part is Ellipsis)
        parts[where : where + 1] = [slice(None)] * rest
    else:
        parts += [slice(None)] * rest
    axes: list[Any] = []
    plain: list[int | None] = []  # the result's axes where nothing is looked up; None: looked up
    for part in parts:
        if part is None:
            plain.append(1)
            continue
        if _is_mask(part):
            if not part.shape:
                raise at.refuse("a mask of no axes is not compiled")
            found = masks.places(at, at.lowering.node(part), int(part.value.sum()))
            axes += found
            plain += [None] * len(found)
            continue
        size = node.shape[len(axes)]
        if isinstance(part, slice):
            start, stop, step = part.indices(size)
            axes.append((len(plain), start, step))
            plain.append(len(range(start, stop, step)))
        elif isinstance(part, int) and not isinstance(part, bool):
            axes.append(part % size)
        else:
            axes.append(_wrapped(at.graph, _ints(at, part), size, at))
            plain.append(None)
    nodes = [part for part in axes if isinstance(part, Node)]
    shape = broadcast(*(n.shape for n in nodes))
    return _arranged(axes, plain, shape)


def _arranged(axes: list[Any], plain: list[int | None], shape: tuple[int, ...]) -> Picked:
    """Where the axes of the result lie: looked-up ones together, first unless they were."""
    looked = [i for i, size in enumerate(plain) if size is None]
    adjacent = bool(looked) and looked == list(range(looked[0], looked[-1] + 1))
    first = looked[0] if adjacent else 0
    kept = [i for i, size in enumerate(plain) if size is not None]
    before = [i for i in kept if i < first] if adjacent else []
    after = [i for i in kept if i not in before]
    place = {axis: i for i, axis in enumerate(before)}
    place |= {axis: len(before) + len(shape) + i for i, axis in enumerate(after)}
    sizes = (*(plain[i] for i in before), *shape, *(plain[i] for i in after))
    found = tuple((place[a[0]], *a[1:]) if isinstance(a, tuple) else a for a in axes)
    made = tuple(range(len(before), len(before) + len(shape)))
    return Picked(found, made, tuple(int(size or 0) for size in sizes))


def _index(at: At) -> Lowered:
    graph, node = at.graph, at.node("a")
    pick = picked(at, node, at.operand("index"))

    def pull(get: Get, places: Places) -> Scalar:
        return get(node, pick.source(graph, get, places))

    args = (node, *pick.looked_up)
    return graph.add(
        Map(pick.result, node.dtype, args, pull=pull, weight=DIVISION, range=node.range)
    )


def _nothing(node: Node, at: Places) -> Scalar:
    raise AssertionError("a node without arguments asks for one")


def counts_up(node: Node, size: int) -> bool:
    """Whether the elements of an int node are 0, 1, ..., size - 1."""
    if node.shape != (size,) or not isinstance(node, Map) or node.args:
        return False
    var = Var("i", size)
    found = node.pull(_nothing, (index_of(var),))
    if found.op == "number":
        return size == 1 and found.value == 0
    return found.op == "index" and found.at == index_of(var)


def _selects(pick: Picked, node: Node) -> int | None:
    """The axis that is counted up where each of its places is written at most once; else None."""
    if len(pick.made) != 1 or any(isinstance(part, int) for part in pick.axes):
        return None
    for part, size in zip(pick.axes, node.shape, strict=True):
        if isinstance(part, tuple) and (part[1:] != (0, 1) or pick.result[part[0]] != size):
            return None
    (turns,) = (pick.result[axis] for axis in pick.made)
    for axis, part in enumerate(pick.axes):
        size = node.shape[axis]
        # A single place that is broadcast to other axes' lookups is written at each of their turns.
        if isinstance(part, Node) and turns == size and counts_up(part, size):
            return axis
    return None


def written(at: At, node: Node, index: Expr, value: Node, adds: bool) -> Node:
    """A node with the elements that an index picks overwritten, or added to."""
    graph = at.graph
    first, *more = _parts(index)
    if _is_mask(first) and not more:
        found = masks.filled(at, node, at.lowering.node(first), value, adds)
        if found is not None:
            return found
    pick = picked(at, node, index)
    value = graph.expand(value, pick.result) if value.shape != pick.result else value
    counted = _selects(pick, node)
    if counted is not None:
        return _chosen(graph, node, pick, counted, value, adds)
    args = (node, value, *pick.looked_up)
    return graph.add(
        Scatter(
            node.shape,
            node.dtype,
            args,
            space=pick.result,
            target=lambda get, places: pick.source(graph, get, places),
            value=lambda get, places: get(value, places),
            adds=adds,
        )
    )


def _chosen(graph: Graph, node: Node, pick: Picked, counted: int, value: Node, adds: bool) -> Node:
    """The same where one axis is counted up: each element asks whether it is the one."""

    def pull(get: Get, places: Places) -> Scalar:
        scalars = graph.scalars
        here = (places[counted],)
        inner = dict(zip(pick.made, here, strict=True))
        condition = None
        for axis, part in enumerate(pick.axes):
            if isinstance(part, tuple):
                inner[part[0]] = places[axis]
            elif axis != counted:
                there = get(part, narrow(here, part.shape))
                same = scalars.call("{0} == {1}", "bool", scalars.index(places[axis]), there)
                both = (condition, same)
                condition = same if condition is None else scalars.call("{0} & {1}", "bool", *both)  # type: ignore[arg-type]
        before = get(node, places)
        new = get(value, tuple(inner[axis] for axis in range(len(pick.result))))
        if adds:
            new = scalars.call("{0} + {1}", node.dtype, before, new)
        if condition is None:
            return new
        return scalars.call("select({0}, {1}, {2})", node.dtype, condition, new, before)

    args = (node, value, *pick.looked_up)
    return graph.add(Map(node.shape, node.dtype, args, pull=pull, weight=2))


def _set(at: At) -> Lowered:
    return written(at, at.node("a"), at.operand("index"), at.node("src", at.dtype), adds=False)


def _index_put(at: At) -> Lowered:
    adds = bool(at.value("accumulate"))
    return written(at, at.node("a"), at.operand("indices"), at.node("values", at.dtype), adds)


def _tensor(at: At) -> Lowered:
    """A number, or a list of ints."""
    data = at.value("data")
    if isinstance(data, bool | int | float):
        return at.graph.number(data, at.dtype)
    if at.dtype != "int64" or len(at.shape) != 1:
        raise at.refuse("tables of numbers are not compiled", "make it an input")
    return _ints(at, data)


def _masked_select(at: At) -> Lowered:
    shape = broadcast(at.site.shape("a"), at.site.shape("mask"))
    return at.lowering.written_out(at, f"a.expand({shape})[mask.expand({shape})]")


ROWS: dict[str, Row] = {
    "masked_select": _masked_select,
    "masked_scatter": masks.masked_scatter,
    "index": _index,
    "tensor": _tensor,
    "set": _set,
    "index_put": _index_put,
}
