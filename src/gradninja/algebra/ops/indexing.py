"""Picking by an index in index notation: a product with one-hot rows; masks."""

from __future__ import annotations

import ast
import math
from fractions import Fraction

import torch

from gradninja.algebra.index.axes import constant, method
from gradninja.algebra.index.graph import Derivative, Node
from gradninja.algebra.index.terms import ONE, Term, fresh
from gradninja.algebra.ops.arithmetic import broadcast
from gradninja.algebra.ops.lowering import FIXED, Lowering, NotLowered, row
from gradninja.algebra.ops.plain_numbers import scalar_term
from gradninja.lines import NAME, Expr
from gradninja.rules import Site


@row("index")
def _pick(low: Lowering, site: Site) -> Node:
    """`logprobs[range(n), Yb]`: a product with a one-hot row for each example."""
    index = site.bound["index"]
    a = low.node(site.bound["a"])
    parts = index.args if index.op == "tuple" else ()
    if len(parts) != 2 or len(a.shape) != 2 or 1 in a.shape or not _counts(parts[0], a.shape[0]):
        raise NotLowered("this index picks no one element of each row")
    return picked(low, site, a, parts[1])


def _counts(rows: Expr, n: int) -> bool:
    """Whether an index is 0, 1, ... n - 1."""
    value = rows.value
    if isinstance(value, torch.Tensor):
        return value.dtype == torch.int64 and value.ndim == 1 and value.tolist() == list(range(n))
    return isinstance(value, range) and list(value) == list(range(n))


@row("gather")
def _gather(low: Lowering, site: Site) -> Node:
    a, index = low.node(site.bound["a"]), site.bound["index"]
    dim = site.value("dim") % max(len(a.shape), 1)
    if len(a.shape) != 2 or dim != 1 or 1 in a.shape or index.shape != (a.shape[0], 1):
        raise NotLowered("this index picks no one element of each row")
    inner = index.args[0] if index.args else None
    if inner is not None and inner.op == NAME and torch.equal(inner.value, index.value[:, 0]):
        return picked(low, site, a, inner)
    raise NotLowered("the index has no name")


def picked(low: Lowering, site: Site, a: Node, index: Expr) -> Node:
    """One element of each row."""
    hot = one_hot(low, low.node(index), a)
    k = fresh()
    term = Term.of(1, [((a.number, (0, k)), ONE), ((hot.number, (0, k)), ONE)], [k])
    return low.graph.add(Node(0, tuple(site.y.shape), site.y, axes=a.axes[:1], terms=[term]))


def one_hot(low: Lowering, index: Node, like: Node) -> Node:
    """The node of `F.one_hot(index, classes)`, of the axes of `like`, whose last one is classes."""
    graph = low.graph
    ints = index.value.dtype == torch.int64 and index.value.ndim == 1
    if not ints or len(like.shape) != 2 or len(like.places) != 2:
        raise NotLowered("an index of several axes")
    if index.shape != like.shape[:1]:
        raise NotLowered("an index for all rows")
    graph.union(index.axes[0], like.axes[0])
    text = f"one_hot({index.number}, {graph.find(like.axes[-1])})"
    if text not in low.known:
        value = torch.nn.functional.one_hot(index.value % like.shape[-1], like.shape[-1])
        node = graph.tensor(value, axes=like.axes, made=float(value.numel()), hot=index)
        node.sums, node.picks = (((1,), Term.of(1, [])),), True
        low.known[text] = node
    return low.known[text]


def _hot(low: Lowering, expr: Expr) -> Node:
    """`F.one_hot(index, classes)` as a person writes it: each row sums to 1."""
    index = low.node(expr.args[0])
    value, graph = expr.value, low.graph
    if index.value.dtype != torch.int64 or value.shape[-1] == 1:
        raise NotLowered("no index, or one class")
    given = expr.args[1] if len(expr.args) > 1 else expr.kwargs.get("num_classes")
    term = None if given is None else scalar_term(graph, given.syntax)
    axes = [axis for axis, size in graph.size_nodes.items() if term == graph.itself(size)]
    axis = axes[0] if axes else graph.axis(value.shape[-1])
    node = graph.tensor(value, axes=(*index.axes, axis))
    node.sums, node.picks = (((len(node.free) - 1,), Term.of(1, [])),), True
    if value.ndim == 2:
        low.known.setdefault(f"one_hot({index.number}, {graph.find(axis)})", node)
    return node


def _cast(low: Lowering, expr: Expr) -> Node:
    """The same in another dtype."""
    inner = low.node(expr.args[0])
    if not inner.picks or inner.shape != expr.shape:
        raise NotLowered("a cast")
    node = low.graph.tensor(expr.value, axes=inner.axes)
    node.sums, node.picks = inner.sums, True
    return node


FIXED["F.one_hot"] = _hot
FIXED.update(dict.fromkeys(("Tensor.to", "Tensor.float", "Tensor.double", "Tensor.type_as"), _cast))


@row("masked_fill")
def _masked_fill(low: Lowering, site: Site) -> Node:
    a, mask = low.node(site.bound["a"]), low.node(site.bound["mask"])
    value = site.value("value")
    if not isinstance(value, int | float) or a.shape != tuple(site.y.shape):
        raise NotLowered("a mask that broadcasts the tensor")
    (indices,) = broadcast(low.graph, a.shape, [mask])
    for index, axis in zip(indices, mask.axes, strict=True):
        low.graph.union(a.axes[index], axis)

    def syntax() -> ast.expr:
        return ast.UnaryOp(ast.Invert(), mask.text())

    keep = Node(0, mask.shape, ~mask.value, axes=mask.axes, writes=syntax, fills=mask)
    keep.selects = True
    low.graph.add(keep)
    slope = Term.of(1, [((keep.number, indices), ONE)])
    y = low.graph.add(Node(0, a.shape, site.y, axes=a.axes))
    y.derivatives = (Derivative(a, [slope]),)
    y.absorbs, y.floor = (keep, indices), value == -math.inf
    if value == 0:
        y.floor = False
    elif not y.floor:
        y.absorbs = None
    return y


@row("where")
def _where(low: Lowering, site: Site) -> Node:
    """One value where a condition holds, another elsewhere; numbers get no gradient."""
    graph, shape = low.graph, tuple(site.y.shape)
    mask = low.node(site.bound["condition"])
    if mask.value.dtype != torch.bool:
        raise NotLowered("a condition that is no mask")
    takes, rest = _sides(low, mask)
    y = Node(0, shape, site.y, made=2.0 * site.y.numel())
    sides = [("a", takes, "b"), ("b", rest, "a")]
    nodes = {f: low.node(site.bound[f]) for f, _, _ in sides if site.flows(f)}
    broadcasts = broadcast(graph, shape, [mask, *nodes.values()])
    y.axes = tuple(graph.axis(shape[place]) for place in y.places)
    for node, indices in zip([mask, *nodes.values()], broadcasts, strict=True):
        for index, axis in zip(indices, node.axes, strict=True):
            graph.union(y.axes[index], axis)
    graph.add(y)
    places = dict(zip(nodes, broadcasts[1:], strict=True))
    for formal, keep, other in sides:
        if formal not in nodes:
            continue
        node, indices = nodes[formal], places[formal]
        at = tuple(indices.index(i) if i in indices else -1 - i for i in y.free)
        slope = Term.of(1, [((keep.number, tuple(at[i] for i in broadcasts[0])), ONE)])
        y.derivatives = (*y.derivatives, Derivative(node, [slope], at))
        value = site.value(other)
        if node.shape == shape and isinstance(value, int | float) and value in (0, -math.inf):
            y.absorbs, y.floor = (keep, broadcasts[0]), value != 0
    return y


def _sides(low: Lowering, mask: Node) -> tuple[Node, Node]:
    """What selects where a condition holds, and where it does not."""
    found = []
    for holds, value in ((True, mask.value), (False, ~mask.value)):
        text = f"{mask.number} is {holds}"
        if text not in low.known:
            node = Node(0, mask.shape, value, axes=mask.axes, selects=True)
            node.writes = mask.text
            if not holds:
                node.fills = mask
                node.writes = lambda: ast.UnaryOp(ast.Invert(), mask.text())
            low.known[text] = low.graph.add(node)
        found.append(low.known[text])
    return found[0], found[1]


def dims_syntax(dims: tuple[int, ...]) -> ast.expr:
    """`1`, or `(1, 2)`."""
    if len(dims) == 1:
        return constant(dims[0])
    return ast.Tuple([constant(d) for d in dims], ast.Load())


def kept(owner: ast.expr, name: str, dims: tuple[int, ...]) -> ast.expr:
    """`x.mean(1, keepdim=True)`."""
    return method(owner, name, [dims_syntax(dims)], keepdim=ast.Constant(True))


@row("diagonal", "diag")
def _diagonal(low: Lowering, site: Site) -> Node:
    """The diagonal of a square matrix: a product with the unit matrix."""
    a = low.node(site.bound["a"])
    meant = (("offset", 0), ("diagonal", 0), ("dim1", 0), ("dim2", 1))
    plain = all(site.value_or(name, value) == value for name, value in meant)
    if not plain or len(a.places) != 2 or len(a.shape) != 2 or a.shape[0] != a.shape[1]:
        raise NotLowered("no diagonal of a square matrix")
    text = f"eye({low.graph.find(a.axes[0])}, {low.graph.find(a.axes[1])})"
    if text not in low.known:

        def syntax() -> ast.expr:
            size = ast.parse(f"{ast.unparse(a.text())}.shape[0]", mode="eval").body
            dtype = ast.parse(f"{ast.unparse(a.text())}.dtype", mode="eval").body
            return ast.Call(
                ast.parse("torch.eye", mode="eval").body, [size], [ast.keyword("dtype", dtype)]
            )

        unit = low.graph.tensor(torch.eye(a.shape[0]), axes=a.axes, made=float(a.size))
        unit.sums = (((0,), Term.of(1, [])), ((1,), Term.of(1, [])))
        unit.writes, unit.picks = syntax, True
        low.known[text] = unit
    k = fresh()
    powers = [((a.number, (0, k)), ONE), ((low.known[text].number, (0, k)), ONE)]
    terms = [Term.of(1, powers, [k])]
    return low.graph.add(Node(0, tuple(site.y.shape), site.y, axes=a.axes[:1], terms=terms))


@row("clamp")
def _clamp(low: Lowering, site: Site) -> Node:
    """A bound on one side."""
    a = low.node(site.bound["a"])
    low_end, high_end = site.value_or("min", None), site.value_or("max", None)
    ends = [end for end in (low_end, high_end) if end is not None]
    if len(ends) != 1 or not isinstance(ends[0], int | float):
        raise NotLowered("no bound on one side by a number")
    bound = site.bound["min" if high_end is None else "max"].syntax
    inside = a.value >= ends[0] if high_end is None else a.value <= ends[0]

    def syntax() -> ast.expr:
        return ast.Compare(a.text(), [ast.GtE() if high_end is None else ast.LtE()], [bound])

    mask = Node(0, a.shape, inside, axes=a.axes, writes=syntax, made=float(a.size))
    mask.selects = True
    low.graph.add(mask)
    if ends[0] == 0:
        sign = Fraction(1 if high_end is None else -1, 2)
        mask.sign_of = (a, Fraction(1, 2), sign)
    y = low.graph.add(Node(0, a.shape, site.y, axes=a.axes))
    y.derivatives = (Derivative(a, [low.graph.itself(mask)]),)
    return y
