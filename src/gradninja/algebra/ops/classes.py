"""Library calls in index notation, by what they are made of: hidden values without a name."""

from __future__ import annotations

import ast

import torch

from gradninja.algebra.index.axes import call, constant
from gradninja.algebra.index.graph import Derivative, Node
from gradninja.algebra.index.sigmoids import sigmoid
from gradninja.algebra.index.terms import ONE, Term, fresh
from gradninja.algebra.ops.arithmetic import powers_of
from gradninja.algebra.ops.indexing import one_hot
from gradninja.algebra.ops.lowering import Lowering, NotLowered, row
from gradninja.algebra.ops.plain_numbers import scalar_term
from gradninja.rules import Site

REDUCTIONS = ("mean", "sum", "none")
SUMMED = -1  # an index of the gradient that the operand's own do not have


def _axis(site: Site, a: Node) -> tuple[int, int]:
    """The axis that a softmax runs along: its place, and its index."""
    dim = site.value("dim")
    if not isinstance(dim, int) or site.value_or("dtype", None) is not None:
        raise NotLowered("a softmax of several axes, or in another dtype")
    place = dim % max(len(a.shape), 1)
    if place not in a.places:
        raise NotLowered("a softmax along an axis of size 1")
    return place, a.places.index(place)


def softmax_of(low: Lowering, a: Node, place: int, made_of: Node | None = None) -> Node:
    """The node of a softmax; as `z.exp()` of a log_softmax z that has a name."""
    text = f"softmax({a.number}, {place})"
    if text in low.known:
        return low.known[text]

    def syntax() -> ast.expr:
        if made_of is not None and made_of.name is not None:
            return ast.Call(ast.Attribute(made_of.text(), "exp", ast.Load()), [], [])
        return call("F.softmax", [a.text(), constant(place)])

    index = a.places.index(place)
    p = Node(0, a.shape, torch.softmax(a.value, place), axes=a.axes, made=3.0 * a.size)
    p.writes, p.sums = syntax, (((index,), Term.of(1, [])),)
    p.absorbs = a.absorbs if a.floor else None
    p.flows, p.line = a.flows, low.current
    low.known[text] = low.graph.add(p)
    itself = low.graph.itself(p)
    along = itself.times(powers_of(p, _over(p, index))).scaled(-1)
    p.derivatives = (Derivative(a, [itself]), Derivative(a, [along], _over(p, index)))
    return p


def _over(node: Node, index: int) -> tuple[int, ...]:
    return tuple(SUMMED if i == index else i for i in node.free)


@row("softmax")
def _softmax(low: Lowering, site: Site) -> Node:
    a = low.node(site.bound["a"])
    place, _ = _axis(site, a)
    known = f"softmax({a.number}, {place})" in low.known
    p = softmax_of(low, a, place)
    if known:
        same = Node(0, a.shape, site.y, axes=a.axes, terms=[low.graph.itself(p)])
        same.derivatives = p.derivatives
        return low.graph.add(same)
    return p


@row("log_softmax")
def _log_softmax(low: Lowering, site: Site) -> Node:
    a = low.node(site.bound["a"])
    place, index = _axis(site, a)
    y = low.graph.add(Node(0, a.shape, site.y, axes=a.axes, made=3.0 * a.size))
    low.entitle(y, site)
    p = softmax_of(low, a, place, y)
    low.exponentials[y.number] = p
    y.derivatives = (
        Derivative(a, [Term.of(1, [])]),
        Derivative(a, [low.graph.itself(p).scaled(-1)], _over(p, index)),
    )
    return y


@row("logsumexp")
def _logsumexp(low: Lowering, site: Site) -> Node:
    a = low.node(site.bound["a"])
    dims = site.dims()
    if len(dims) != 1 or dims[0] not in a.places:
        raise NotLowered("a logsumexp of several axes")
    index = a.places.index(dims[0])
    left = tuple(i for i in a.free if i != index)
    y = Node(0, tuple(site.y.shape), site.y, axes=tuple(a.axes[i] for i in left))
    y.made = 3.0 * a.size
    p = softmax_of(low, a, dims[0])
    low.totals[low.graph.add(y).number] = (a, index, dims[0])
    y.derivatives = (Derivative(a, [low.graph.itself(p)], left),)
    return y


@row("cross_entropy")
def _cross_entropy(low: Lowering, site: Site) -> Node:
    """The mean or sum over examples, or each of them; classes by number."""
    plain = site.value("weight") is None and site.value("ignore_index") == -100
    target, how = site.bound["target"], site.value("reduction")
    if not plain or how not in REDUCTIONS or target.differentiable:
        raise NotLowered("weights, or ignored classes")
    a = low.node(site.bound["a"])
    hot = one_hot(low, low.node(target), a)
    p = softmax_of(low, a, 1)
    slopes = [low.graph.itself(p)]
    smoothing = site.bound["label_smoothing"]
    if smoothing.value or not site.fixed("label_smoothing"):
        share = scalar_term(low.graph, smoothing.syntax)
        if share is None:
            raise NotLowered("a smoothing that is no number")
        classes = low.graph.itself(low.graph.extent(a.axes[1]), -ONE)
        hot_term = low.graph.itself(hot)
        slopes += [hot_term.scaled(-1), hot_term.times(share), share.times(classes).scaled(-1)]
    else:
        slopes.append(low.graph.itself(hot).scaled(-1))
    if how == "mean":
        count = low.graph.itself(low.graph.extent(a.axes[0]), -ONE)
        slopes = [slope.times(count) for slope in slopes]
    at = (0,) if how == "none" else ()
    axes = tuple(a.axes[i] for i in at)
    y = low.graph.add(Node(0, tuple(site.y.shape), site.y, axes=axes, made=4.0 * a.size))
    y.derivatives = (Derivative(a, slopes, at),)
    return y


@row("nll_loss")
def _nll_loss(low: Lowering, site: Site) -> Node:
    plain = site.value("weight") is None and site.value("ignore_index") == -100
    how = site.value("reduction")
    if not plain or how not in REDUCTIONS:
        raise NotLowered("weights, or ignored classes")
    a = low.node(site.bound["a"])
    hot = one_hot(low, low.node(site.bound["target"]), a)
    i, k = 0 if how == "none" else fresh(), fresh()
    term = Term.of(-1, [((a.number, (i, k)), ONE), ((hot.number, (i, k)), ONE)], {i, k} - {0})
    if how == "mean":
        term = term.times(low.graph.itself(low.graph.extent(a.axes[0]), -ONE))
    axes = a.axes[:1] if how == "none" else ()
    return low.graph.add(Node(0, tuple(site.y.shape), site.y, axes=axes, terms=[term]))


@row("binary_cross_entropy_with_logits")
def _bce(low: Lowering, site: Site) -> Node:
    plain = site.value("weight") is None and site.value("pos_weight") is None
    target = site.bound["target"]
    how = site.value("reduction")
    if not plain or how not in REDUCTIONS or target.differentiable:
        raise NotLowered("weights")
    a, t = low.node(site.bound["a"]), low.node(target)
    if t.shape != a.shape:
        raise NotLowered("a target of another shape")
    for mine, theirs in zip(a.axes, t.axes, strict=True):
        low.graph.union(mine, theirs)

    s = sigmoid(low.graph, a)
    slopes = [low.graph.itself(s), low.graph.itself(t).scaled(-1)]
    if how == "mean":
        for axis in a.axes:
            count = low.graph.itself(low.graph.extent(axis), -ONE)
            slopes = [slope.times(count) for slope in slopes]
    at, axes = (a.free, a.axes) if how == "none" else ((), ())
    y = low.graph.add(Node(0, tuple(site.y.shape), site.y, axes=axes, made=4.0 * a.size))
    y.derivatives = (Derivative(a, slopes, at),)
    return y
