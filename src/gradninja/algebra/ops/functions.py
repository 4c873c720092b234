"""Functions of one input in index notation: an atom each, with its derivative as terms."""

from __future__ import annotations

import ast
from collections.abc import Callable
from fractions import Fraction

import torch

from gradninja.algebra.index.axes import call, constant
from gradninja.algebra.index.graph import Derivative, Graph, Node, renames
from gradninja.algebra.index.sigmoids import negated, sigmoid
from gradninja.algebra.index.terms import ONE, Indices, Term
from gradninja.algebra.ops.arithmetic import base
from gradninja.algebra.ops.classes import softmax_of
from gradninja.algebra.ops.lowering import Lowering, NotLowered, row
from gradninja.algebra.ops.slopes import sum_of
from gradninja.derive import template as templates
from gradninja.rules import Site

HALF = Fraction(1, 2)

# The derivative of y = f(a), as terms over their common indices, where the row's own text does not
# say all that is known of it.
Slope = Callable[[Graph, Node, Node], list[Term]]


def _one_minus(graph: Graph, y: Node, power: int) -> Node:
    return sum_of(graph, [Term.of(1, []), graph.itself(y, Fraction(power)).scaled(-1)], y)


def _relu(graph: Graph, y: Node, a: Node) -> list[Term]:
    def compared(operator: ast.cmpop) -> ast.expr:
        # Without a name the result would be computed again.
        written = a if y.name is None and a.name is not None else y
        return ast.Compare(written.text(), [operator], [constant(0)])

    # What is no number passes the gradient on: it is not at most 0.
    below = Node(0, y.shape, y.value <= 0, axes=y.axes, writes=lambda: compared(ast.LtE()))
    mask = Node(0, y.shape, ~below.value, axes=y.axes, writes=lambda: compared(ast.Gt()))
    mask.made, mask.selects, mask.fills = float(y.size), True, below
    mask.sign_of = (a, HALF, HALF)
    return [graph.itself(graph.add(mask))]


def _logsigmoid(graph: Graph, y: Node, a: Node) -> list[Term]:
    other = negated(graph, a)
    if other is None:
        minus = [graph.itself(a).scaled(-1)]
        other = graph.add(Node(0, a.shape, None, axes=a.axes, terms=minus))
    return [graph.itself(sigmoid(graph, other))]


def _silu(graph: Graph, y: Node, a: Node) -> list[Term]:
    s = graph.itself(sigmoid(graph, a))
    rest = [Term.of(1, []), graph.itself(a), graph.itself(y).scaled(-1)]
    return [s.times(graph.itself(sum_of(graph, rest, y)))]


def _abs(graph: Graph, y: Node, a: Node) -> list[Term]:
    def syntax() -> ast.expr:
        return call("torch.sign", [a.text()])

    sign = Node(0, y.shape, a.value.sign(), axes=y.axes, writes=syntax, made=2.0 * y.size)
    sign.sign_of = (a, Fraction(0), ONE)
    return [graph.itself(graph.add(sign))]


SLOPES: dict[str, Slope] = {
    "exp": lambda graph, y, a: [graph.itself(y)],
    "log": lambda graph, y, a: [graph.itself(a, -ONE)],
    "relu": _relu,
    "silu": _silu,
    "logsigmoid": _logsigmoid,
    "abs": _abs,
}


@row("gelu")
def _gelu(low: Lowering, site: Site) -> Node:
    """The tanh form: Hendrycks and Gimpel 2016, section 2."""
    if site.value("approximate") != "tanh":
        raise NotLowered("the exact form, which deriving has")
    graph, a = low.graph, low.node(site.bound["a"])

    def syntax() -> ast.expr:
        text = "torch.tanh(math.sqrt(2 / math.pi) * (_ + 0.044715 * _**3))"
        tree = ast.parse(text, mode="eval").body
        found: ast.expr = templates.substitute(tree, {"_": a.text})
        return found

    t = Node(0, a.shape, None, axes=a.axes, writes=syntax, made=8.0 * a.size)
    slope = graph.itself(_one_minus(graph, graph.add(t), 2))
    root = graph.itself(graph.scalar("math.sqrt(2 / math.pi)"))
    cubed = graph.itself(a, Fraction(3)).times(graph.itself(graph.scalar("0.044715")))
    y = graph.add(Node(0, a.shape, site.y, axes=a.axes, made=10.0 * a.size))
    half, once_and_half = Fraction(1, 2), Fraction(3, 2)
    bend = [graph.itself(a).scaled(half), cubed.scaled(once_and_half)]
    terms = [
        graph.itself(sum_of(graph, [Term.of(1, []), graph.itself(t)], t)).scaled(half),
        *(part.times(root).times(slope) for part in bend),
    ]
    y.derivatives = (Derivative(a, terms),)
    return y


@row("softplus")
def _softplus(low: Lowering, site: Site) -> Node:
    """PyTorch's is the operand itself from the threshold on, so that its slope is 1 there."""
    graph, a = low.graph, low.node(site.bound["a"])
    beta, threshold = site.value("beta"), site.value("threshold")

    def syntax() -> ast.expr:
        one = site.fixed("beta") and beta == 1
        text = "torch.where(a > threshold, 1, torch.sigmoid(a))"
        if not one:
            text = text.replace("a > ", "beta * a > ").replace("(a)", "(beta * a)")
        names = {n: site.bound[n].syntax for n in ("beta", "threshold")}
        found: ast.expr = templates.substitute(
            ast.parse(text, mode="eval").body,
            {"a": a.text, "beta": lambda: names["beta"], "threshold": lambda: names["threshold"]},
        )
        return found

    value = torch.where(beta * a.value > threshold, 1, torch.sigmoid(beta * a.value))
    slope = Node(0, a.shape, value, axes=a.axes, writes=syntax, made=5.0 * a.size)
    y = graph.add(Node(0, a.shape, site.y, axes=a.axes, made=2.0 * a.size))
    y.derivatives = (Derivative(a, [graph.itself(graph.add(slope))]),)
    return y


@row(*SLOPES)
def _function(low: Lowering, site: Site) -> Node:
    a, name = low.node(site.bound["a"]), site.rule.name
    known = exponential(low, a) if name == "exp" else None
    if known is not None:
        same = Node(0, a.shape, site.y, axes=a.axes, terms=[known])
        same.derivatives = (Derivative(a, [known]),)
        return low.graph.add(same)
    y = low.graph.add(Node(0, a.shape, site.y, axes=a.axes, made=2.0 * a.size))
    low.entitle(y, site)
    if name == "log":
        base(low.graph, a, -ONE)
        low.exponentials[y.number] = a
    elif name == "exp":
        low.exponentials[a.number] = y
        y.absorbs = a.absorbs if a.floor else None
    # The derivative's own atoms come before the node in the walk, so they get no gradient.
    y.derivatives = (Derivative(a, SLOPES[name](low.graph, y, a)),)
    return y


def exponential(low: Lowering, a: Node) -> Term | None:
    """e**a by what there is already: of `log(s)`, s; of `u - log(s)`, e**u / s; None otherwise."""
    graph = low.graph
    if a.number in low.exponentials:
        return graph.itself(low.exponentials[a.number])
    parts: list[tuple[Node, Indices, int]] = []
    for term in a.terms or ():
        ((atom, indices), power), *others = term.powers or (((a.number, ()), Fraction(0)),)
        if others or power != 1 or abs(term.coefficient) != 1 or term.bound:
            return None
        parts.append((graph.nodes[atom], indices, int(term.coefficient)))
    if not parts or any(node.static for node, _, _ in parts):
        return None
    if [sign for _, _, sign in parts] == [1, -1]:
        (u, at, _), (total, rest, _) = parts
        total, rest = _renamed(graph, total, rest)
        of, index, place = low.totals.get(total.number, (total, 0, 0))
        if of is u and rest == (*at[:index], *at[index + 1 :]):
            # u - logsumexp(u) is the logarithm of the softmax of u.
            return Term.of(1, [((softmax_of(low, u, place).number, at), ONE)])
    whole = Term.of(1, [])
    for node, indices, sign in parts:
        inner = exponential(low, node)
        if inner is None:
            return None
        names = dict(enumerate(indices))
        powers = [(f, p * sign) for f, p in inner.renamed(names).powers]
        for (atom, _), power in powers:
            base(graph, graph.nodes[atom], power)
        whole = whole.times(Term.of(1, powers))
    return whole


def _renamed(graph: Graph, node: Node, indices: Indices) -> tuple[Node, Indices]:
    """What a node is a view of, and its indices there."""
    other = renames(graph, node)
    if other is None or node.terms is None:
        return node, indices
    ((_, inner), _) = node.terms[0].powers[0]
    return _renamed(graph, other, tuple(indices[i] for i in inner))
