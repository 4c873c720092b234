"""Functions of one input in index notation: an atom each, with its derivative as terms."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch

from gradninja.algebra.graph import Graph, Node
from gradninja.algebra.lower import Lowering, NotLowered, row
from gradninja.algebra.terms import ONE, Term
from gradninja.rules import Site

Derivative = Callable[[Graph, Node, Node], list[Term]]  # of y with respect to a, given both


def _less(graph: Graph, terms: list[Term], like: Node) -> Node:
    """A sum of terms as one atom, such as `1 - h**2`."""
    node = Node(0, like.shape, None, axes=like.axes, terms=terms, atomic=True)
    return graph.add(node)


def _one_minus(graph: Graph, y: Node, power: int) -> Node:
    return _less(graph, [Term.of(1, []), graph.itself(y, Fraction(power)).scaled(-1)], y)


def _tanh(graph: Graph, y: Node, a: Node) -> list[Term]:
    return [graph.itself(_one_minus(graph, y, 2))]


def _sigmoid(graph: Graph, y: Node, a: Node) -> list[Term]:
    return [graph.itself(y).times(graph.itself(_one_minus(graph, y, 1)))]


DERIVATIVES: dict[str, Derivative] = {
    "exp": lambda graph, y, a: [graph.itself(y)],
    "log": lambda graph, y, a: [graph.itself(a, -ONE)],
    "tanh": _tanh,
    "sigmoid": _sigmoid,
}


@row(*DERIVATIVES)
def _function(low: Lowering, site: Site) -> Node:
    a = low.node(site.bound["a"])
    y = Node(0, a.shape, site.y, axes=a.axes, operands=[a], made=2.0 * a.size)
    low.graph.add(y)
    if site.rule.name == "log":
        a.atomic = a.atomic or (a.terms is not None and len(a.terms) == 1 and bool(a.terms[0].bound))
    y.derivatives = ((a, DERIVATIVES[site.rule.name](low.graph, y, a)),)
    return y


@row("index")
def _pick(low: Lowering, site: Site) -> Node:
    """`logprobs[range(n), Yb]`: a product with a one-hot row for each example."""
    index = site.bound["index"]
    a = low.node(site.bound["a"])
    parts = index.args if index.op == "tuple" else ()
    whole = range(a.shape[0]) if len(a.shape) == 2 else range(0)
    rows = list(parts[0].value) if len(parts) == 2 and _is_range(parts[0].value) else None
    if rows is None or rows != list(whole) or 1 in a.shape:
        raise NotLowered("this index picks no one element of each row")
    picked = parts[1]
    if not picked.is_tensor or picked.value.dtype != torch.int64 or picked.value.ndim != 1:
        raise NotLowered("this index picks no one element of each row")
    hot = one_hot(low, low.node(picked), a)
    term = Term.of(1, [((a.number, (0, 1000)), ONE), ((hot.number, (0, 1000)), ONE)], [1000])
    node = Node(0, tuple(site.y.shape), site.y, axes=a.axes[:1], terms=[term.renamed({})])
    node.operands = [a]
    return low.graph.add(node)


def _is_range(value: object) -> bool:
    return isinstance(value, range) or (
        isinstance(value, torch.Tensor) and value.dtype == torch.int64 and value.ndim == 1
    )


def one_hot(low: Lowering, index: Node, like: Node) -> Node:
    """The node of `F.one_hot(index, classes)`, of the axes of `like`, whose last one is classes."""
    graph = low.graph
    for mine, theirs in zip(index.axes, like.axes, strict=False):
        graph.union(mine, theirs)
    text = f"one_hot({index.number}, {graph.find(like.axes[-1])})"
    if text not in low.known:
        classes = like.shape[-1]
        value = torch.nn.functional.one_hot(index.value, classes).to(torch.get_default_dtype())
        node = graph.tensor(value, axes=like.axes, made=float(value.numel()))
        node.hot = index
        low.known[text] = node
    return low.known[text]
