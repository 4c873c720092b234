"""Indices of truth values: the elements that a mask picks, as places; and writing where it is true.

How many a mask picks is a shape, and so a fact of what is compiled: the count is held to it.
"""

from __future__ import annotations

from gradninja.native.maps.graph import Get, Leaf, Node, Places
from gradninja.native.maps.lowering import At, Lowered
from gradninja.native.reading.refusal import OTHER_COUNT


def places(at: At, mask: Node, count: int) -> list[Node]:
    """Where a mask is true: for each of its axes `count` ints."""
    held = at.lowering.masks.get(mask)
    if held is None:
        held = at.lowering.masks[mask] = _places(at, mask, count)
    return held


def _places(at: At, mask: Node, count: int) -> list[Node]:
    graph = at.graph
    if not at.lowering.counts and _asks_inputs(mask):
        raise at.refuse(
            "how many elements this mask picks may differ from batch to batch",
            "torch.where(mask, x, 0.0) keeps the shape",
        )
    flat = graph.cast(graph.reshape(mask, (mask.size,)), "int64")
    known = graph.number(count, "int64")
    off = graph.map("{0} - {1}", "int64", graph.reduce("sum", flat, (0,)), known)
    graph.check(off, 1, f"`{at.told}` {OTHER_COUNT} than the {count} that it was compiled for")
    before = graph.scan("sum", flat, 0)  # how many there are up to here
    before.range = (0, mask.size)

    def target(get: Get, seen: Places) -> Places:
        scalars = graph.scalars
        one, last = scalars.number(1, "int64"), scalars.number(count, "int64")
        place = scalars.call("{0} - {1}", "int64", get(before, seen), one)
        chosen = scalars.call("{0} != 0", "bool", get(flat, seen))
        found = scalars.call("select({0}, {1}, {2})", "int64", chosen, place, last)
        return (scalars.place(found),)

    # One place more than there are, for all that are not picked.
    whole = graph.number(0, "int64", (count + 1,))
    here = graph.arange(0, 1, mask.size)
    found = graph.scatter(whole, here, target, (flat, before))
    found.range = (0, mask.size - 1)
    return [_along(at, found, mask.shape, axis, count) for axis in range(len(mask.shape))]


def _along(at: At, found: Node, shape: tuple[int, ...], axis: int, count: int) -> Node:
    """The index along one axis of places in the flattened mask."""
    graph, after = at.graph, 1
    for size in shape[axis + 1 :]:
        after *= size
    node = graph.view(found, (count,), lambda seen: seen)
    by = graph.number(after, "int64")
    if after != 1:
        node = graph.map("{0} // {1}", "int64", node, by)
    if axis:
        node = graph.map("{0} % {1}", "int64", node, graph.number(shape[axis], "int64"))
    node.range = (0, shape[axis] - 1)
    return node


def _asks_inputs(node: Node) -> bool:
    if isinstance(node, Leaf):
        return node.data is None
    return any(map(_asks_inputs, node.args))


def filled(at: At, node: Node, mask: Node, value: Node, adds: bool) -> Node | None:
    """`node` with a value written, or added, where a mask of its first axes is true.

    None where the value has an element for each place that is picked.
    """
    graph, rest = at.graph, node.shape[len(mask.shape) :]
    if len(value.shape) > len(rest):
        if len(value.shape) != len(rest) + 1 or value.shape[0] != 1:
            return None
        value = graph.reshape(value, value.shape[1:])
    mask = graph.reshape(mask, (*mask.shape, *(1 for _ in rest)))
    if adds:
        value = graph.map("{0} + {1}", node.dtype, node, value)
    found = graph.map("select({0}, {1}, {2})", node.dtype, mask, value, node)
    return graph.expand(found, node.shape)


def masked_scatter(at: At) -> Lowered:
    """The elements of a source, in order, written where a mask is true."""
    graph, node, mask = at.graph, at.node("a"), at.node("mask")
    count = int(at.site.value("mask").expand(at.shape).sum())
    picked = places(at, graph.expand(mask, node.shape), count)
    source = at.node("source", at.dtype)
    line = graph.reshape(source, (source.size,))
    line = graph.view(line, (count,), lambda seen: seen)

    def target(get: Get, seen: Places) -> Places:
        return tuple(graph.place(get, axis, seen) for axis in picked)

    return graph.scatter(node, line, target, picked)
