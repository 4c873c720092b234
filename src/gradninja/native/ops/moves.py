"""Rows for what repeats, rolls, pads or cuts out windows: places turned into places."""

from __future__ import annotations

from collections.abc import Sequence

from gradninja.native.maps.graph import Get, Graph, Map, Node, Places
from gradninja.native.maps.lowering import MOST_CONSTANTS, At, Lowered, Row
from gradninja.native.maps.scalars import Scalar
from gradninja.native.ops.views import joined, tensors
from gradninja.rules.rule import CHEAP


def _repeat(at: At) -> Lowered:
    node = at.node("a")
    shape = (1,) * (len(at.shape) - len(node.shape)) + node.shape
    node = at.graph.reshape(node, shape)
    return at.graph.view(
        node, at.shape, lambda places: tuple(p % s for p, s in zip(places, shape, strict=True))
    )


def _repeat_interleave(at: At) -> Lowered:
    if at.site.is_tensor("repeats"):
        raise at.refuse("a count for each element is not compiled")
    times: int = at.value("repeats")
    node, axis = at.node("a"), at.value("dim")
    if axis is None:
        node, axis = at.graph.reshape(node, (node.size,)), 0
    axis %= max(1, len(node.shape))

    def places(places: Places) -> Places:
        return (*places[:axis], places[axis] // times, *places[axis + 1 :])

    return at.graph.view(node, at.shape, places)


def _roll(at: At) -> Lowered:
    graph, node = at.graph, at.node("a")
    shifts, dims = at.value("shifts"), at.value("dims")
    if dims in (None, (), []):
        flat = graph.reshape(node, (node.size,))
        return graph.reshape(_rolled(graph, flat, shifts, 0), node.shape)
    several = zip(_several(shifts), _several(dims), strict=True)
    for shift, axis in several:
        node = _rolled(graph, node, shift, axis % len(node.shape))
    return node


def _rolled(graph: Graph, node: Node, shift: int | Sequence[int], axis: int) -> Node:
    (by,), size = _several(shift), node.shape[axis]

    def places(places: Places) -> Places:
        return (*places[:axis], (places[axis] + (-by % size)) % size, *places[axis + 1 :])

    return graph.view(node, node.shape, places)


def _several(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def sliced(graph: Graph, node: Node, axis: int, start: int, size: int) -> Node:
    """Some elements of an axis."""
    shape = (*node.shape[:axis], size, *node.shape[axis + 1 :])

    def places(places: Places) -> Places:
        return (*places[:axis], places[axis] + start, *places[axis + 1 :])

    return graph.view(node, shape, places)


def padded(graph: Graph, node: Node, sides: Sequence[tuple[int, int]], value: float) -> Node:
    """A number put before and behind the elements of each axis; what is negative cuts off."""
    for axis, (before, behind) in enumerate(sides):
        cut = max(-before, 0), max(-behind, 0)
        if any(cut):
            node = sliced(graph, node, axis, cut[0], node.shape[axis] - sum(cut))
    starts = [max(before, 0) for before, _ in sides]
    shape = [
        start + size + max(behind, 0)
        for start, size, (_, behind) in zip(starts, node.shape, sides, strict=True)
    ]
    if tuple(shape) == node.shape:
        return node
    return graph.placed(graph.number(value, node.dtype, shape), node, starts)


def _pad(at: At) -> Lowered:
    node, widths = at.node("a"), at.value("pad")
    pairs = [(widths[i], widths[i + 1]) for i in range(0, len(widths), 2)]
    sides = [(0, 0)] * (len(node.shape) - len(pairs)) + pairs[::-1]
    mode = at.value("mode")
    if mode == "constant":
        return padded(at.graph, node, sides, at.value("value") or 0)
    for axis, (before, behind) in enumerate(sides):
        if (before, behind) != (0, 0):
            node = _extended(at, node, axis, before, behind, mode)
    return node


def _extended(at: At, node: Node, axis: int, before: int, behind: int, mode: str) -> Node:
    """An axis continued with its own elements: a table tells which."""
    size = node.shape[axis]
    line = range(-before, size + behind)
    if mode == "circular" and min(before, behind) < 0:
        raise at.refuse("what is cut off and continued at once is not compiled")
    if mode == "circular":
        table = [i % size for i in line]
    elif mode == "replicate":
        table = [min(max(i, 0), size - 1) for i in line]
    elif mode == "reflect":
        table = [size - 1 - abs(size - 1 - abs(i)) for i in line]
    else:
        raise at.refuse(f"the mode {mode!r} is not compiled")
    if len(table) > MOST_CONSTANTS:
        raise at.refuse(f"a line of {len(table)} elements is not compiled with this mode")
    graph, places = at.graph, at.lowering.constant(table)
    shape = (*node.shape[:axis], len(table), *node.shape[axis + 1 :])

    def pull(get: Get, seen: Places) -> Scalar:
        place = graph.place(get, places, (seen[axis],))
        return get(node, (*seen[:axis], place, *seen[axis + 1 :]))

    return graph.add(Map(shape, node.dtype, (node, places), pull=pull, weight=CHEAP))


def _diag_embed(at: At) -> Lowered:
    """A matrix whose diagonal, `offset` above the main one, is the last axis."""
    graph, node = at.graph, at.node("a")
    whole = graph.number(0, node.dtype, at.shape)
    return _on_diagonal(
        graph, whole, node, (at.value("dim1"), at.value("dim2")), at.value("offset")
    )


def _diagonal_written(at: At) -> Lowered:
    axes = at.value("dim1"), at.value("dim2")
    return _on_diagonal(at.graph, at.node("a"), at.node("src", at.dtype), axes, at.value("offset"))


def _narrow_written(at: At) -> Lowered:
    return _part_written(at, at.node("src", at.dtype), at.value("start"))


def _select_written(at: At) -> Lowered:
    part, axis = at.node("src", at.dtype), at.value("dim") % len(at.shape)
    part = at.graph.reshape(part, (*part.shape[:axis], 1, *part.shape[axis:]))
    return _part_written(at, part, at.value("index"))


def _part_written(at: At, part: Node, start: int) -> Node:
    axis = at.value("dim") % len(at.shape)
    starts = [0] * len(at.shape)
    starts[axis] = start % at.shape[axis]
    return at.graph.placed(at.node("a"), part, starts)


def _on_diagonal(graph: Graph, whole: Node, node: Node, axes: tuple[int, int], offset: int) -> Node:
    """A matrix, or several, with a diagonal written."""
    shape = whole.shape
    first, second = (axis % len(shape) for axis in axes)
    rest = [axis for axis in range(len(shape)) if axis not in (first, second)]
    down, across = max(-offset, 0), max(offset, 0)

    def target(get: Get, places: Places) -> Places:
        found = dict(zip(rest, places[:-1], strict=True))
        found |= {first: places[-1] + down, second: places[-1] + across}
        return tuple(found[axis] for axis in range(len(shape)))

    return graph.scatter(whole, node, target)


def _diag(at: At) -> Lowered:
    node, offset = at.node("a"), at.value("diagonal")
    if len(node.shape) == 1:
        whole = at.graph.number(0, node.dtype, at.shape)
        return _on_diagonal(at.graph, whole, node, (0, 1), offset)
    return at.lowering.written_out(at, "torch.diagonal(a, diagonal)")


def _hstack(at: At) -> Lowered:
    graph = at.graph
    nodes = [n if n.shape else graph.reshape(n, (1,)) for n in tensors(at)]
    return joined(graph, nodes, min(1, len(at.shape) - 1))


def _vstack(at: At) -> Lowered:
    graph = at.graph
    nodes = [n if len(n.shape) > 1 else graph.reshape(n, (1, n.size)) for n in tensors(at)]
    return joined(graph, nodes, 0)


ROWS: dict[str, Row] = {
    "repeat": _repeat,
    "repeat_interleave": _repeat_interleave,
    "roll": _roll,
    "pad": _pad,
    "diag": _diag,
    "diag_embed": _diag_embed,
    "diagonal_written": _diagonal_written,
    "narrow_written": _narrow_written,
    "select_written": _select_written,
    "hstack": _hstack,
    "vstack": _vstack,
}
