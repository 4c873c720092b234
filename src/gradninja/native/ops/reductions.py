"""Rows for what sums, or picks, along axes; and for matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from gradninja.native.maps.graph import Node
from gradninja.native.maps.lowering import At, Lowered, Row
from gradninja.native.ops.elements import truth
from gradninja.rules.rule import DIVISION, FUNCTION


def _axes(at: At) -> tuple[int, ...]:
    return at.site.dims() if at.site.ndim("a") else ()


def _count(at: At) -> int:
    """How many elements are reduced into one."""
    return math.prod(at.site.shape("a")[axis] for axis in _axes(at))


def _keeps(at: At) -> bool:
    return bool(at.value("keepdim", False))


def _sum(at: At) -> Lowered:
    return at.graph.reduce("sum", at.node("a", at.dtype), _axes(at), _keeps(at))


def _prod(at: At) -> Lowered:
    return at.graph.reduce("prod", at.node("a", at.dtype), _axes(at), _keeps(at))


def _divided(at: At, node: Node, by: float) -> Node:
    return at.graph.map("{0} / {1}", node.dtype, node, at.graph.number(by, node.dtype), weight=4)


def _mean(at: At) -> Lowered:
    total = at.graph.reduce("sum", at.node("a", at.dtype), _axes(at), _keeps(at))
    return _divided(at, total, _count(at))


def _variance(at: At) -> tuple[Node, Node]:
    """The variance and the mean, both with the axes kept."""
    graph, axes = at.graph, _axes(at)
    a = at.node("a")
    mean = _divided(at, graph.reduce("sum", a, axes, keep=True), _count(at))
    apart = graph.map("{0} - {1}", a.dtype, a, mean)
    squares = graph.map("{0} * {0}", a.dtype, apart)
    less = at.value("correction", None)
    if less is None:
        less = 1 if at.value("unbiased", True) else 0
    total = graph.reduce("sum", squares, axes, keep=True)
    return _divided(at, total, max(0, _count(at) - less)), mean


def _moment(root: bool, with_mean: bool) -> Row:
    def row(at: At) -> Lowered:
        graph = at.graph
        spread, mean = _variance(at)
        if root:
            spread = graph.map("np.sqrt({0})", spread.dtype, spread, weight=DIVISION)
        values: Sequence[torch.Tensor] = at.expr.value if with_mean else (at.expr.value,)
        found = graph.reshape(spread, values[0].shape)
        return (found, graph.reshape(mean, values[1].shape)) if with_mean else found

    return row


def _largest(at: At, node: Node, axes: tuple[int, ...]) -> Node:
    """The maximum, 0 where it is infinite: what is taken off before exp."""
    graph = at.graph
    top = graph.reduce("max", node, axes, keep=True)
    zero = graph.number(0, node.dtype)
    return graph.map("select(np.isinf({0}), {1}, {0})", node.dtype, top, zero)


def _logsumexp(at: At) -> Lowered:
    graph, a, axes = at.graph, at.node("a", at.dtype), _axes(at)
    top = _largest(at, a, axes)
    grown = graph.map("exp({0})", a.dtype, graph.map("{0} - {1}", a.dtype, a, top), weight=FUNCTION)
    total = graph.reduce("sum", grown, axes, keep=True)
    found = graph.map("{0} + log({1})", a.dtype, top, total, weight=FUNCTION)
    return graph.reshape(found, at.shape)


def _softmax(at: At) -> Lowered:
    graph, a = at.graph, at.node("a", at.dtype)
    axes = _one_axis(at)
    top = graph.reduce("max", a, axes, keep=True)
    grown = graph.map("exp({0})", a.dtype, graph.map("{0} - {1}", a.dtype, a, top), weight=FUNCTION)
    total = graph.reduce("sum", grown, axes, keep=True)
    return graph.map("{0} / {1}", a.dtype, grown, total, weight=DIVISION)


def _one_axis(at: At) -> tuple[int, ...]:
    if not isinstance(at.value("dim"), int):
        raise at.refuse("`dim` must stand there")
    return _axes(at)


def _log_softmax(at: At) -> Lowered:
    graph, a = at.graph, at.node("a", at.dtype)
    axes = _one_axis(at)
    less = graph.map("{0} - {1}", a.dtype, a, graph.reduce("max", a, axes, keep=True))
    grown = graph.map("exp({0})", a.dtype, less, weight=FUNCTION)
    total = graph.reduce("sum", grown, axes, keep=True)
    log = graph.map("log({0})", a.dtype, total, weight=FUNCTION)
    return graph.map("{0} - {1}", a.dtype, less, log)


def _norm(at: At) -> Lowered:
    kind = at.value("p", at.value("ord", 2))
    graph, a = at.graph, at.node("a", at.dtype)
    if kind in ("fro", None, 2):
        squares = graph.map("{0} * {0}", a.dtype, a)
        total = graph.reduce("sum", squares, _axes(at), _keeps(at))
        return graph.map("np.sqrt({0})", a.dtype, total, weight=DIVISION)
    if kind == 1:
        return graph.reduce("sum", graph.map("abs({0})", a.dtype, a), _axes(at), _keeps(at))
    size = graph.map("abs({0})", a.dtype, a)
    if kind == 0:
        some = graph.cast(graph.map("{0} != {1}", "bool", a, graph.number(0, a.dtype)), a.dtype)
        return graph.reduce("sum", some, _axes(at), _keeps(at))
    if not isinstance(kind, int | float):
        raise at.refuse("this norm is not compiled")
    if math.isinf(kind):
        return graph.reduce("max" if kind > 0 else "min", size, _axes(at), _keeps(at))
    power = graph.number(kind, a.dtype)
    powers = graph.map("{0} ** {1}", a.dtype, size, power, weight=2 * FUNCTION)
    total = graph.reduce("sum", powers, _axes(at), _keeps(at))
    root = graph.number(1 / kind, a.dtype)
    return graph.map("{0} ** {1}", a.dtype, total, root, weight=2 * FUNCTION)


def _so_far(kind: str) -> Row:
    def row(at: At) -> Lowered:
        a = at.node("a", at.dtype)
        return at.graph.scan(kind, a, at.site.dims()[0]) if a.shape else a

    return row


def _extreme(kind: str) -> Row:
    def row(at: At) -> Lowered:
        if at.site.value("a").dtype == at.expr.value.dtype:
            return at.graph.reduce(kind, at.node("a"), _axes(at), _keeps(at))
        raise at.refuse("this is not compiled")

    return row


def _places(at: At, kind: str, axis: int, keep: bool) -> tuple[Node, Node]:
    """The extreme values along an axis, and where each first is."""
    graph, a = at.graph, at.node("a")
    value = graph.reduce(kind, a, (axis,), keep=True)
    place = graph.first_place(value, a, axis)
    if keep:
        return value, place
    shape = [size for i, size in enumerate(a.shape) if i != axis]
    return graph.reshape(value, shape), graph.reshape(place, shape)


def _extreme_along(kind: str) -> Row:
    def row(at: At) -> Lowered:
        if not at.site.ndim("a"):
            return at.node("a"), at.graph.number(0, "int64")
        return _places(at, kind, _axes(at)[0], _keeps(at))

    return row


def _both_extremes(at: At) -> Lowered:
    several = [
        at.graph.reduce(kind, at.node("a"), _axes(at), _keeps(at)) for kind in ("min", "max")
    ]
    return tuple(several)


def _argument(kind: str) -> Row:
    def row(at: At) -> Lowered:
        if not isinstance(at.value("dim"), int) or not at.site.ndim("a"):
            raise at.refuse("the place in the flattened tensor is not compiled", "give `dim`")
        return _places(at, kind, _axes(at)[0], _keeps(at))[1]

    return row


def _matmul(at: At) -> Lowered:
    return products(at, at.node("a"), at.node("b"))


def products(at: At, a: Node, b: Node) -> Node:
    """`a @ b`; ints and sums over one axis as sums of products."""
    if "float" not in a.dtype:
        raise at.refuse("products of matrices of ints are not compiled")
    if len(a.shape) > 1 and len(b.shape) > 1:
        return at.graph.gemm(a, b)
    if len(a.shape) == 1 and len(b.shape) == 1:
        return at.graph.reduce("sum", at.graph.map("{0} * {1}", a.dtype, a, b), (0,))
    if len(b.shape) == 1:
        both = at.graph.map("{0} * {1}", a.dtype, a, b)
        return at.graph.reduce("sum", both, (len(both.shape) - 1,))
    down = at.graph.reshape(a, (*a.shape, 1))
    both = at.graph.map("{0} * {1}", a.dtype, down, b)
    return at.graph.reduce("sum", both, (len(both.shape) - 2,))


def _outer(at: At) -> Lowered:
    a, b = at.node("a", at.dtype), at.node("b", at.dtype)
    return at.graph.map("{0} * {1}", at.dtype, at.graph.reshape(a, (*a.shape, 1)), b)


def _added(at: At, found: Node) -> Node:
    """`beta * bias + alpha * found`."""
    graph, bias = at.graph, at.node("bias", at.dtype)
    for name, number in (("alpha", at.value("alpha", 1)), ("beta", at.value("beta", 1))):
        if number == 0:
            raise at.refuse(f"`{name}=0` is not compiled")
        if number != 1:
            by = graph.number(number, at.dtype)
            scaled = graph.map("{0} * {1}", at.dtype, by, found if name == "alpha" else bias)
            found, bias = (scaled, bias) if name == "alpha" else (found, scaled)
    return graph.map("{0} + {1}", at.dtype, bias, found)


def _add_product(at: At) -> Lowered:
    return _added(at, products(at, at.node("a"), at.node("b")))


def _linear(at: At) -> Lowered:
    weight = at.node("weight")
    turned = at.graph.swapped(weight) if len(weight.shape) == 2 else weight
    found = products(at, at.node("a"), turned)
    return _added(at, found) if at.has("bias") else found


def _trace(at: At) -> Lowered:
    return at.lowering.written_out(at, "torch.diagonal(a).sum()")


def _any(kind: str) -> Row:
    def row(at: At) -> Lowered:
        found = at.graph.cast(truth(at, at.node("a")), "int64")
        total = at.graph.reduce(kind, found, _axes(at), _keeps(at))
        return truth(at, total)

    return row


ROWS: dict[str, Row] = {
    "sum": _sum,
    "mean": _mean,
    "prod": _prod,
    "var": _moment(root=False, with_mean=False),
    "std": _moment(root=True, with_mean=False),
    "var_mean": _moment(root=False, with_mean=True),
    "std_mean": _moment(root=True, with_mean=True),
    "logsumexp": _logsumexp,
    "cumsum": _so_far("sum"),
    "cumprod": _so_far("prod"),
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "norm": _norm,
    "max": _extreme("max"),
    "min": _extreme("min"),
    "amax": _extreme("max"),
    "amin": _extreme("min"),
    "aminmax": _both_extremes,
    "max_dim": _extreme_along("max"),
    "min_dim": _extreme_along("min"),
    "argmax": _argument("max"),
    "argmin": _argument("min"),
    "matmul": _matmul,
    "mm": _matmul,
    "bmm": _matmul,
    "mv": _matmul,
    "dot": _matmul,
    "outer": _outer,
    "addmm": _add_product,
    "addmv": _add_product,
    "baddbmm": _add_product,
    "linear": _linear,
    "trace": _trace,
    "any": _any("max"),
    "all": _any("min"),
}
