"""The one adjoint: from the gradient of a sum of terms to the gradients of their factors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from gradninja.algebra.index.graph import Derivative, Node
from gradninja.algebra.index.normal import Normal
from gradninja.algebra.index.terms import Factor, Term, fresh


def adjoint(normal: Normal, node: Node, gradient: Sequence[Term]) -> Iterator[tuple[Node, Term]]:
    """What a node's gradient gives to each node that it is made from.

    A product gives the other factors, a power brings itself down; a sum is answered by a broadcast
    and a broadcast by a sum, as indices that one side lacks.
    """
    nodes = normal.graph.nodes
    for derivative in node.derivatives:
        if derivative.operand.flows:
            for above in gradient:
                for slope in derivative.terms:
                    yield derivative.operand, _sloped(normal, node, above, slope, derivative)
    for term in () if node.derivatives else node.terms or ():
        for at, ((atom, _), _) in enumerate(term.powers):
            if nodes[atom].flows:
                for above in gradient:
                    yield nodes[atom], _through(normal, node, above, term, at)


def _sloped(normal: Normal, node: Node, above: Term, slope: Term, derivative: Derivative) -> Term:
    at = derivative.operand.free if derivative.at is None else derivative.at
    names = {index: fresh() for index in at if index < 0}
    below = above.renamed({i: names.get(j, j) for i, j in zip(node.free, at, strict=True)})
    factor = slope.renamed(names)
    itself = ((node.number, tuple(names.get(j, j) for j in at)), Fraction(0))
    return normal.build(
        below.coefficient * factor.coefficient,
        (*below.powers, *factor.powers, itself),
        below.bound | factor.bound | set(names.values()),
    )


def _through(normal: Normal, node: Node, above: Term, term: Term, at: int) -> Term:
    free = node.free
    (_, indices), power = term.powers[at]
    assert len(set(indices)) == len(indices), "a diagonal"
    # The factor's own indices become the free ones; all others of the term are summed.
    names = {index: place for place, index in enumerate(indices)}
    for index in (*free, *term.bound):
        names.setdefault(index, fresh())
    inner = {names[i] for i in (*free, *term.bound)} - set(range(len(indices)))
    slope: list[tuple[Factor, Fraction]] = []
    for place, ((a, ind), p) in enumerate(term.powers):
        slope.append(((a, tuple(names[i] for i in ind)), p - 1 if place == at else p))
    below = above.renamed({i: names[i] for i in free})
    powers = [*below.powers, *slope]
    bound = below.bound | inner
    # The node itself stands for its axes, should a summed index have no other factor.
    powers.append(((node.number, tuple(names[i] for i in free)), Fraction(0)))
    return normal.build(below.coefficient * term.coefficient * power, powers, bound)
