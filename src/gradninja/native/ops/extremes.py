"""Rows for what orders elements: each element's rank is how many stand before it.

That is one comparison for each pair along the axis: simple, right for ties and nan, and fast for
short axes. Long ones are left to PyTorch.
"""

from __future__ import annotations

from gradninja.native.maps.graph import Get, Graph, Map, Node, Places
from gradninja.native.maps.lowering import At, Lowered, Row
from gradninja.native.maps.scalars import Scalar
from gradninja.native.ops.moves import sliced

LONGEST = 2000  # elements along an axis that is sorted


def _ranks(at: At, node: Node, axis: int, descending: bool) -> Node:
    """The place of each element in a stable order along an axis; nan is greater than all."""
    graph, size = at.graph, node.shape[axis]
    if size > LONGEST:
        raise at.refuse(f"an axis of {size:,} elements is not sorted")
    mine = graph.reshape(node, (*node.shape[: axis + 1], 1, *node.shape[axis + 1 :]))
    other = graph.reshape(node, (*node.shape[:axis], 1, *node.shape[axis:]))
    first, second = (other, mine) if not descending else (mine, other)
    nan = "({1} != {1}) & ({0} == {0})"
    before = graph.map(f"({{0}} < {{1}}) | ({nan})", "bool", first, second)
    same = graph.map("({0} == {1}) | (({0} != {0}) & ({1} != {1}))", "bool", mine, other)
    down = graph.reshape(graph.arange(0, 1, size), [size, *(1 for _ in mine.shape[axis + 1 :])])
    across = graph.reshape(graph.arange(0, 1, size), [size, *(1 for _ in mine.shape[axis + 2 :])])
    earlier = graph.map("{0} < {1}", "bool", across, down)
    counts = graph.map("{0} | ({1} & {2})", "bool", before, same, earlier)
    found = graph.reduce("sum", graph.cast(counts, "int64"), (axis + 1,))
    found.range = (0, size - 1)
    return found


def _sorted(at: At, axis: int, descending: bool) -> tuple[Node, Node]:
    """The elements in order along an axis, and where each was."""
    graph, node = at.graph, at.node("a")
    if not node.shape:
        return node, graph.number(0, "int64")
    ranks = _ranks(at, node, axis, descending)
    size = node.shape[axis]
    line = [size if a == axis else 1 for a in range(len(node.shape))]
    here = graph.expand(graph.reshape(graph.arange(0, 1, size), line), node.shape)
    places = _put(graph, here, ranks, axis)
    places.range = (0, size - 1)

    def pull(get: Get, at: Places) -> Scalar:
        place = graph.place(get, places, at)
        return get(node, (*at[:axis], place, *at[axis + 1 :]))

    args = (node, places)
    return graph.add(Map(node.shape, node.dtype, args, pull=pull, weight=1)), places


def _put(graph: Graph, node: Node, ranks: Node, axis: int) -> Node:
    """Each element put where its rank says."""
    whole = graph.number(0, node.dtype, node.shape)

    def target(get: Get, at: Places) -> Places:
        return (*at[:axis], graph.place(get, ranks, at), *at[axis + 1 :])

    return graph.scatter(whole, node, target, (ranks,))


def _axis(at: At) -> int:
    return int(at.value("dim")) % max(1, at.site.ndim("a"))


def _sort(at: At) -> Lowered:
    return _sorted(at, _axis(at), bool(at.value("descending")))


def _argsort(at: At) -> Lowered:
    return _sorted(at, _axis(at), bool(at.value("descending")))[1]


def _msort(at: At) -> Lowered:
    return _sorted(at, 0, False)[0]


def _topk(at: At) -> Lowered:
    axis, count = _axis(at), at.value("k")
    both = _sorted(at, axis, bool(at.value("largest")))
    if not both[0].shape:
        return both
    return tuple(sliced(at.graph, node, axis, 0, count) for node in both)


def _one(at: At, both: tuple[Node, Node], axis: int, place: int) -> tuple[Node, ...]:
    """What stands at a place of the order."""
    if not both[0].shape:
        return both
    cut = (sliced(at.graph, node, axis, place, 1) for node in both)
    shape = at.expr.value[0].shape
    return tuple(at.graph.reshape(node, shape) for node in cut)


def _kthvalue(at: At) -> Lowered:
    axis = _axis(at)
    return _one(at, _sorted(at, axis, False), axis, at.value("k") - 1)


def _median_dim(at: At) -> Lowered:
    """The lower one of two in the middle; nan where there is one, which then stands last."""
    axis, graph = _axis(at), at.graph
    size = at.site.shape("a")[axis] if at.site.ndim("a") else 1
    both = _sorted(at, axis, False)
    middle, last = _one(at, both, axis, (size - 1) // 2), _one(at, both, axis, size - 1)
    nan = graph.map("{0} != {0}", "bool", last[0])
    found = [
        graph.map("select({0}, {1}, {2})", some.dtype, nan, end, some)
        for some, end in zip(middle, last, strict=True)
    ]
    found[1].range = (0, size - 1)
    return tuple(found)


def _median(at: At) -> Lowered:
    return at.lowering.written_out(at, "torch.median(a.reshape(-1), 0).values")


ROWS: dict[str, Row] = {
    "sort": _sort,
    "argsort": _argsort,
    "msort": _msort,
    "topk": _topk,
    "kthvalue_dim": _kthvalue,
    "median": _median,
    "median_dim": _median_dim,
}
