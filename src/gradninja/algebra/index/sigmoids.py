"""1 / (1 + e**u) as the library's sigmoid, and what signs have to do with it.

Of a softplus that does not overflow, `max(x, 0) + log(1 + e**-|x|)`, the slope is sigmoid(x): 1
where x is positive is (1 + sign(x)) / 2, and sigmoid(|x|) is 1/2 + sign(x) * (sigmoid(x) - 1/2).
Where x is 0 the parts have corners that the sum does not have; there this is the sum's slope.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from gradninja.algebra.index.graph import Graph, Node
from gradninja.algebra.index.terms import ONE, Factor, Indices, Term, collect

HALF = Fraction(1, 2)
ZERO = Fraction(0)


def inverse_of_sum(graph: Graph, exponential: Node, at: Indices) -> list[Term] | None:
    """1 / (1 + E) for E = e**u; None where E is no exponential."""
    u = _operand(exponential, graph.itself(exponential))
    if u is None:
        return None
    v = negated(graph, u)
    if v is None:
        return [Term.of(1, []), graph.itself(sigmoid(graph, u), indices=at).scaled(-1)]
    for derivative in v.derivatives:
        x, slope = derivative.operand, derivative.terms[0].powers
        sign = graph.nodes[slope[0][0][0]] if slope else v
        if sign.sign_of == (x, ZERO, ONE) and derivative.terms == [graph.itself(sign)]:
            turned = graph.itself(sign, indices=at)
            whole = turned.times(graph.itself(sigmoid(graph, x), indices=at))
            return [Term.of(HALF, []), turned.scaled(-HALF), whole]
    return [graph.itself(sigmoid(graph, v), indices=at)]


def negated(graph: Graph, u: Node) -> Node | None:
    """v, for u = -v."""
    (term,) = u.terms if u.terms is not None and len(u.terms) == 1 else (Term.of(1, []),)
    v = graph.nodes[term.powers[0][0][0]] if len(term.powers) == 1 else u
    return None if v is u or term != graph.itself(v, indices=u.free).scaled(-1) else v


def complemented(graph: Graph, terms: Sequence[Term]) -> list[Term] | None:
    """Terms in which sigmoid(-x) is 1 - sigmoid(x), where both are; None where they are not."""
    atoms = {atom: graph.nodes[atom].applied for t in terms for (atom, _), _ in t.powers}
    sigmoids = {of[1].number: n for n, of in atoms.items() if of and of[0] == "torch.sigmoid"}
    swaps = {
        atom: sigmoids[v.number]
        for u, atom in sigmoids.items()
        if (v := negated(graph, graph.nodes[u])) is not None and v.number in sigmoids
    }
    found: list[Term] = []
    for term in terms:
        parts = [Term.of(term.coefficient, [], term.bound)]
        for (atom, at), power in term.powers:
            whole = [Term.of(1, [((atom, at), power)])]
            if atom in swaps and power == 1:
                whole = [Term.of(1, []), Term.of(-1, [((swaps[atom], at), ONE)])]
            parts = [a.times(b) for a in parts for b in whole]
        found += parts
    return collect(found) if swaps else None


def _operand(node: Node, slope: Term) -> Node | None:
    """The operand of a function with this slope."""
    if node.terms is None and len(node.derivatives) == 1 and node.derivatives[0].terms == [slope]:
        return node.derivatives[0].operand
    return None


def sigmoid(graph: Graph, x: Node) -> Node:
    """The node of `torch.sigmoid(x)`."""
    for node in graph.nodes:
        if node.applied == ("torch.sigmoid", x):
            return node
    found = Node(0, x.shape, None, axes=x.axes, applied=("torch.sigmoid", x), made=2.0 * x.size)
    return graph.add(found)


def has_signs(graph: Graph, terms: Sequence[Term]) -> bool:
    """Whether a sign, or a mask by one, is a factor."""
    return any(graph.nodes[f[0]].sign_of is not None for term in terms for f, _ in term.powers)


def without_signs(graph: Graph, terms: Sequence[Term]) -> list[Term]:
    """Terms with one sign for all masks of a value's sign, whose square is 1."""
    found: list[Term] = []
    for term in terms:
        found += _without(graph, term)
    return collect(found)


def _without(graph: Graph, term: Term) -> Iterator[Term]:
    for factor, power in term.powers:
        parts = _parts(graph, factor, power)
        if parts is not None:
            left = Term.of(term.coefficient, [p for p in term.powers if p[0] != factor], term.bound)
            for part in parts:
                yield from _without(graph, left.times(part))
            return
    yield term


def _parts(graph: Graph, factor: Factor, power: Fraction) -> list[Term] | None:
    """What a power of a mask is, in one sign; None for what stays as it is."""
    node = graph.nodes[factor[0]]
    if node.sign_of is None or power.denominator != 1:
        return None
    of, constant, slope = node.sign_of
    first = next((n for n in graph.nodes if n.sign_of == (of, ZERO, ONE)), None)
    if first is None:
        return None
    whole = graph.itself(first, indices=factor[1])
    if constant == 0:
        if power == 1 and first is node:
            return None
        return [whole if power % 2 else Term.of(1, [])]
    return [Term.of(constant, []), whole.scaled(slope)] if power > 0 else None
