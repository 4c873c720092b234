"""Losses that are sums over pairs of elements: squares, distances, divergences."""

from __future__ import annotations

import ast
from fractions import Fraction

from gradninja.algebra.index.graph import Derivative, Node
from gradninja.algebra.index.terms import ONE, Indices, Term, fresh, indices_of
from gradninja.algebra.ops.arithmetic import base, broadcast, powers_of, result
from gradninja.algebra.ops.functions import exponential
from gradninja.algebra.ops.lowering import Lowering, NotLowered, row
from gradninja.derive import template as templates
from gradninja.rules import Site

TWO = Fraction(2)


def _pair(low: Lowering, site: Site) -> tuple[Node, Node, tuple[int, ...], list[Indices]]:
    """Both operands, the shape that they are broadcast to, and their indices in it."""
    a, target = low.node(site.bound["a"]), low.node(site.bound["target"])
    for name in ("weight", "size_average", "reduce"):
        if site.value_or(name, None) is not None:
            raise NotLowered(name)
    shape = tuple((a.value + target.value).shape)
    return a, target, shape, broadcast(low.graph, shape, [a, target])


def _difference(
    low: Lowering,
    site: Site,
    shape: tuple[int, ...],
    first: tuple[Node, Indices],
    second: tuple[Node, Indices],
) -> Node:
    """One value less another as a value without a name."""
    terms = [powers_of(*first), powers_of(*second).scaled(-1)]
    diff = result(low, site, shape, [first[0], second[0]], terms)
    diff.value = first[0].value - second[0].value
    diff.flows, diff.line, diff.made = True, low.current, 3.0 * diff.size
    return diff


def _reduced(low: Lowering, site: Site, each: Node, term: Term) -> Node:
    """A term with every index of `each`: as it is, or its sum or mean."""
    how = site.value("reduction")
    if how == "none":
        return result(low, site, each.shape, [each], [term])
    graph = low.graph
    over = each.free if how == "mean" else ()
    if how == "batchmean":
        a = low.node(site.bound["a"])
        if not a.shape or a.shape[0] != each.shape[0]:
            raise NotLowered("a batch of another size")
        over = (0,) if 0 in each.places else ()
    elif how not in ("mean", "sum"):
        raise NotLowered(str(how))
    for index in over:
        term = term.times(graph.itself(graph.extent(each.axes[index]), -ONE))
    copy = term.renamed({index: fresh() for index in each.free})
    whole = Term.of(copy.coefficient, copy.powers, indices_of(copy.powers))
    return result(low, site, tuple(site.y.shape), [each], [whole])


@row("mse_loss")
def _squares(low: Lowering, site: Site) -> Node:
    a, target, shape, (ia, it) = _pair(low, site)
    diff = _difference(low, site, shape, (a, ia), (target, it))
    return _reduced(low, site, diff, low.graph.itself(diff, TWO))


@row("l1_loss", "smooth_l1_loss", "huber_loss")
def _distances(low: Lowering, site: Site) -> Node:
    """Losses of the difference, by their slope."""
    graph = low.graph
    a, target, shape, places = _pair(low, site)
    names = {"a": a.text, "t": target.text}
    text = "torch.sign(a - t)"
    if site.rule.name == "huber_loss":
        names["delta"] = lambda: site.bound["delta"].syntax
        text = "(a - t).clamp(-delta, delta)"
    elif site.rule.name == "smooth_l1_loss" and site.value("beta") != 0:
        names["beta"] = lambda: site.bound["beta"].syntax
        text = "((a - t) / beta).clamp(-1, 1)"
        if site.fixed("beta") and site.value("beta") == 1:
            text = "(a - t).clamp(-1, 1)"

    def syntax() -> ast.expr:
        tree = ast.parse(text, mode="eval").body
        found: ast.expr = templates.substitute(tree, names)
        return found

    each = Node(0, shape, a.value - target.value, made=5.0 * a.size)
    each.axes = tuple(graph.axis(shape[place]) for place in each.places)
    for node, indices in ((a, places[0]), (target, places[1])):
        for index, axis in zip(indices, node.axes, strict=True):
            graph.union(each.axes[index], axis)
    slope = graph.add(Node(0, shape, each.value, axes=each.axes, writes=syntax, made=5.0 * a.size))
    graph.add(each)
    each.flows, each.line = True, low.current
    found = []
    for node, indices, sign in ((a, places[0], 1), (target, places[1], -1)):
        at = tuple(indices.index(i) if i in indices else -1 - i for i in each.free)
        found.append(Derivative(node, [powers_of(slope, at).scaled(sign)], at))
    each.derivatives = tuple(found)
    return _reduced(low, site, each, graph.itself(each))


@row("kl_div")
def _divergence(low: Lowering, site: Site) -> Node:
    """target * (log(target) - a), or with the target's logarithm given."""
    a, target, shape, (ia, it) = _pair(low, site)
    share, log = powers_of(target, it), target
    if site.value("log_target"):
        known = exponential(low, target) or low.graph.itself(_function(low, target, "exp"))
        share = known.renamed(dict(enumerate(it)))
    else:
        log = _function(low, target, "log")
    diff = _difference(low, site, shape, (log, it), (a, ia))
    return _reduced(low, site, diff, share.times(low.graph.itself(diff)))


def _function(low: Lowering, a: Node, name: str) -> Node:
    """e to a node, or its logarithm, as a value without a name."""
    graph = low.graph
    value = a.value.exp() if name == "exp" else a.value.log()
    found = Node(0, a.shape, value, axes=a.axes, applied=(f"torch.{name}", a))
    found.made, found.flows, found.line = 2.0 * a.size, a.flows, low.current
    graph.add(found)
    if name == "log":
        base(graph, a, -ONE)
    slope = graph.itself(found) if name == "exp" else graph.itself(a, -ONE)
    found.derivatives = (Derivative(a, [slope]),)
    return found
