"""Lengths, directions and angles in index notation."""

from __future__ import annotations

import ast

import torch

from gradninja.algebra.index.axes import call, method
from gradninja.algebra.index.graph import Derivative, Node
from gradninja.algebra.index.terms import ONE, Indices, Term, fresh, indices_of
from gradninja.algebra.ops.arithmetic import broadcast, powers_of, result, summed
from gradninja.algebra.ops.indexing import dims_syntax
from gradninja.algebra.ops.lowering import Lowering, NotLowered, row
from gradninja.algebra.ops.spreads import inverse, rows
from gradninja.rules import Site


@row("norm")
def _norm(low: Lowering, site: Site) -> Node:
    """The Euclidean length, or the sum of the absolute values."""
    graph, dims = low.graph, site.dims()
    formal = "p" if "p" in site.bound else "ord"
    order = site.value(formal)
    if order not in (None, "fro", 1, 2) or not site.fixed(formal):
        raise NotLowered("another norm")
    a = low.node(site.bound["a"])
    at, axes = rows(a, dims)
    y = graph.add(Node(0, tuple(site.y.shape), site.y, axes=axes, made=2.0 * a.size))
    if order == 1:
        y.derivatives = (Derivative(a, [graph.itself(_sign(low, a))], at),)
        return y
    low.keep(site)
    low.entitle(y, site)
    _long(low, y, a, dims, at)
    return y


def _sign(low: Lowering, a: Node) -> Node:
    def syntax() -> ast.expr:
        return call("torch.sign", [a.text()])

    value = torch.sign(a.value)
    return low.graph.add(Node(0, a.shape, value, axes=a.axes, writes=syntax, made=2.0 * a.size))


def _long(low: Lowering, y: Node, a: Node, dims: tuple[int, ...], at: Indices) -> None:
    """Make y the length of a: its square is the sum of squares, its gradient a / y, or 0."""
    indices, bound, _ = summed(low.graph, a, dims)
    y.squared = [Term.of(1, [((a.number, indices), 2 * ONE)], bound)]
    slope = low.graph.itself(a).times(powers_of(inverse(low, y, a, at), at))
    y.derivatives = (Derivative(a, [slope], at),)


def _clamped(
    low: Lowering, site: Site, formal: str, dims: tuple[int, ...], held: bool
) -> tuple[Node, Indices]:
    """A vector's length, eps at least, and which of the vector's indices it has.

    `held`: nothing flows to a vector that is shorter than eps. (It does in a cosine of PyTorch's.)
    """
    graph, a = low.graph, low.node(site.bound[formal])
    owner, eps = site.bound[formal].syntax, site.bound["eps"].syntax
    at, axes = rows(a, dims)

    def length() -> ast.expr:
        found = call("torch.linalg.vector_norm", [owner])
        assert isinstance(found, ast.Call)
        keep = ast.keyword("keepdim", ast.Constant(True))
        found.keywords = [ast.keyword("dim", dims_syntax(dims)), keep]
        return found

    value = torch.linalg.vector_norm(a.value, dim=dims, keepdim=True)
    shape = tuple(value.shape)
    # Every form needs the length once, and what is written twice gets a name: it makes none dearer.
    made = 2.0 * value.numel()
    y = graph.add(Node(0, shape, value, axes=axes, writes=length, made=made))
    long = value.clamp(min=site.value("eps"))
    bound = low.hidden(shape, long, [], lambda: method(length(), "clamp", min=eps), axes, made)
    bound.terms = None
    if held:
        mask = Node(0, shape, value >= site.value("eps"), axes=axes, made=made)
        mask.writes = lambda: ast.Compare(length(), [ast.GtE()], [eps])
        slope = powers_of(bound, at, -ONE).times(powers_of(graph.add(mask), at))
    else:
        slope = powers_of(inverse(low, y, a, at), at)
    bound.derivatives = (Derivative(a, [graph.itself(a).times(slope)], at),)
    return bound, at


@row("normalize")
def _normalize(low: Lowering, site: Site) -> Node:
    """A vector over its length, or over eps where it is shorter."""
    a, dim = low.node(site.bound["a"]), site.value("dim")
    if site.value("p") != 2 or not isinstance(dim, int):
        raise NotLowered("another norm, or several axes")
    low.keep(site)
    length, at = _clamped(low, site, "a", site.dims(), held=True)
    term = low.graph.itself(a).times(powers_of(length, at, -ONE))
    return result(low, site, a.shape, [a], [term])


@row("cosine_similarity")
def _cosine(low: Lowering, site: Site) -> Node:
    """The product of two vectors over the product of their lengths."""
    graph, dim = low.graph, site.value("dim")
    a, b = low.node(site.bound["a"]), low.node(site.bound["b"])
    rank = max(len(a.shape), len(b.shape))
    back = dim % rank - rank  # the axis as it counts from the end
    if min(len(a.shape), len(b.shape)) < -back or a.shape[back] != b.shape[back]:
        raise NotLowered("a direction that is broadcast")
    shape = tuple((a.value * b.value).shape)
    whole = broadcast(graph, shape, [a, b])
    kept = [d for d, size in enumerate(shape) if size != 1 and d != dim % rank]
    k = fresh()
    names = {
        i: k if d == dim % rank else kept.index(d)
        for i, d in enumerate(d for d, size in enumerate(shape) if size != 1)
    }
    term = Term.of(1, [])
    for formal, node, indices in (("a", a, whole[0]), ("b", b, whole[1])):
        mine = tuple(names[i] for i in indices)
        length, at = _clamped(low, site, formal, (len(node.shape) + back,), held=False)
        term = term.times(powers_of(node, mine))
        term = term.times(powers_of(length, tuple(mine[i] for i in at), -ONE))
    bound = {k} & indices_of(term.powers)
    return result(low, site, tuple(site.y.shape), [a, b], [Term.of(1, term.powers, bound)])
