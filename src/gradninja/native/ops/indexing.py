"""Rows for picking and writing along one axis by ints that are looked up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradninja.native.maps.graph import Get, Graph, Map, Node, Places, Scatter
from gradninja.native.maps.lowering import At, Lowered, Row
from gradninja.native.maps.places import Index
from gradninja.native.maps.scalars import Scalar
from gradninja.rules.rule import DIVISION


def _replaced(at: Sequence[Index], axis: int, place: Index) -> Places:
    return (*at[:axis], place, *at[axis + 1 :])


def _looked(at: At, formal: str, size: int) -> Node:
    """An int tensor whose elements are held to 0, ..., size - 1."""
    node = at.node(formal)
    at.graph.check(node, size, f"an index in `{at.told}` is outside of 0 to {size - 1}")
    return node


def _gather(at: At) -> Lowered:
    graph, node, axis = at.graph, at.node("a"), at.site.dims()[0]
    if not node.shape:
        text = f"a.reshape(1).gather(0, index.reshape(-1)).reshape({at.shape})"
        return at.lowering.written_out(at, text)
    index = _looked(at, "index", node.shape[axis])

    def pull(get: Get, places: Places) -> Scalar:
        place = graph.scalars.place(get(index, places))
        return get(node, _replaced(places, axis, place))

    return graph.add(Map(index.shape, node.dtype, (node, index), pull=pull, weight=DIVISION))


def _take_along(at: At) -> Lowered:
    if at.value("dim") is None:
        return at.lowering.written_out(at, "a.reshape(-1)[indices.reshape(-1)]")
    axis = at.value("dim") % at.site.ndim("a")
    shape = [
        i if place == axis else max(i, n)
        for place, (i, n) in enumerate(
            zip(at.site.shape("indices"), at.site.shape("a"), strict=True)
        )
    ]
    size = at.site.shape("a")[axis]
    # PyTorch broadcasts an axis of size 1 to the length of the indices, and so takes any of them.
    whole = [*shape[:axis], shape[axis] if size == 1 else size, *shape[axis + 1 :]]
    return at.lowering.written_out(at, f"a.expand({whole}).gather({axis}, indices.expand({shape}))")


def _take(at: At) -> Lowered:
    return at.lowering.written_out(at, "a.reshape(-1)[index]")


def _put(at: At) -> Lowered:
    """`a.put(index, src)`: places in the flattened tensor."""
    text = "torch.index_put(a.reshape(-1), (index.reshape(-1),), src.reshape(-1), accumulate)"
    return at.lowering.written_out(at, f"{text}.reshape({at.shape})")


def _index_copy(at: At) -> Lowered:
    return _along(at, "source")


def _index_fill(at: At) -> Lowered:
    return _along(at, "value")


def _along(at: At, formal: str) -> Lowered:
    """Lines along an axis overwritten."""
    if not at.site.ndim("a"):
        raise at.refuse("this is not compiled for a 0-dim tensor")
    graph, node, axis = at.graph, at.node("a"), at.site.dims()[0]
    index = _looked(at, "index", node.shape[axis])
    shape = (*node.shape[:axis], *index.shape, *node.shape[axis + 1 :])
    source = graph.expand(at.node(formal, at.dtype), shape)

    def target(get: Get, places: Places) -> Places:
        return _replaced(places, axis, graph.place(get, index, (places[axis],)))

    return graph.scatter(node, source, target, (index,))


def _index_select(at: At) -> Lowered:
    if not at.site.ndim("a"):
        raise at.refuse("this is not compiled for a 0-dim tensor")
    graph, node, axis = at.graph, at.node("a"), at.site.dims()[0]
    index = _looked(at, "index", node.shape[axis])

    def pull(get: Get, places: Places) -> Scalar:
        place = graph.scalars.place(get(index, (places[axis],)))
        return get(node, _replaced(places, axis, place))

    return graph.add(Map(at.shape, node.dtype, (node, index), pull=pull, weight=DIVISION))


def _embedding(at: At) -> Lowered:
    graph, table = at.graph, at.node("a")
    if at.has("max_norm"):
        raise at.refuse("`max_norm` is not compiled")
    index = _looked(at, "index", table.shape[0])

    def pull(get: Get, places: Places) -> Scalar:
        place = graph.scalars.place(get(index, places[:-1]))
        return get(table, (place, places[-1]))

    return graph.add(Map(at.shape, at.dtype, (table, index), pull=pull, weight=DIVISION))


def _scatter(adds: bool) -> Row:
    def row(at: At) -> Lowered:
        graph, node, axis = at.graph, at.node("a"), at.site.dims()[0]
        if not node.shape:
            text = f"a.reshape(1).{at.site.rule.name}(0, index.reshape(1), SRC).reshape(())"
            src = "src.reshape(1)" if "src" in at.site.bound else "value"
            return at.lowering.written_out(at, text.replace("SRC", src))
        index = _looked(at, "index", node.shape[axis])
        given = "src" if "src" in at.site.bound else "value"
        value = at.node(given, at.dtype)
        if value.shape == ():
            value = graph.expand(value, index.shape)
        alone = all(
            i == (1 if a == axis else n)
            for a, (i, n) in enumerate(zip(index.shape, node.shape, strict=True))
        )
        if alone:
            return _scattered_once(graph, node, index, value, axis, adds)

        def target(get: Get, places: Places) -> Places:
            return _replaced(places, axis, graph.scalars.place(get(index, places)))

        return _put_along(graph, node, value, index, index.shape, target, adds)

    return row


def _scattered_once(
    graph: Graph, node: Node, index: Node, value: Node, axis: int, adds: bool
) -> Node:
    """One element for each line along the axis: each element asks whether it is the one."""
    at_first = [1 if a == axis else size for a, size in enumerate(node.shape)]
    line = [size if a == axis else 1 for a, size in enumerate(node.shape)]
    here = graph.reshape(graph.arange(0, 1, node.shape[axis]), line)
    chosen = graph.map("{0} == {1}", "bool", here, index)
    value = graph.view(value, at_first, lambda at: at)
    new = graph.map("{0} + {1}", node.dtype, node, value) if adds else value
    return graph.map("select({0}, {1}, {2})", node.dtype, chosen, new, node)


def _index_add(at: At) -> Lowered:
    graph, node = at.graph, at.node("a")
    if not node.shape:
        raise at.refuse("this is not compiled for a 0-dim tensor")
    axis = at.site.dims()[0]
    index = _looked(at, "index", node.shape[axis])
    source = at.node("source", at.dtype)
    if at.value("alpha", 1) != 1:
        alpha = graph.number(at.value("alpha"), at.dtype)
        source = graph.map("{0} * {1}", at.dtype, alpha, source)

    def target(get: Get, places: Places) -> Places:
        place = graph.scalars.place(get(index, (places[axis],)))
        return _replaced(places, axis, place)

    return _put_along(graph, node, source, index, source.shape, target, adds=True)


def _put_along(
    graph: Graph,
    node: Node,
    value: Node,
    index: Node,
    space: tuple[int, ...],
    target: Callable[[Get, Places], Places],
    adds: bool,
) -> Node:
    """`node` with the elements of `value` in the space put or added where the index says."""
    return graph.add(
        Scatter(
            node.shape,
            node.dtype,
            (node, value, index),
            space=space,
            target=target,
            value=lambda get, places: get(value, places),
            adds=adds,
        )
    )


ROWS: dict[str, Row] = {
    "gather": _gather,
    "index_select": _index_select,
    "take_along_dim": _take_along,
    "take": _take,
    "put": _put,
    "index_copy": _index_copy,
    "index_fill": _index_fill,
    "embedding": _embedding,
    "scatter_add": _scatter(adds=True),
    "scatter": _scatter(adds=False),
    "index_add": _index_add,
}
