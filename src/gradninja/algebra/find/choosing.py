"""Whether a gradient gets a name: what follows from it is tried with one and without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from heapq import heappop, heappush

from gradninja.algebra.index.adjoint import adjoint
from gradninja.algebra.index.graph import Graph, Node
from gradninja.algebra.index.normal import Normal, TooLong
from gradninja.algebra.index.terms import Powers, Term

WINDOW = 12  # lines that are looked ahead for whether a name pays
MOST_AHEAD = 12  # terms of one gradient, from where on a name is given without looking further

Gradients = dict[int, list[Term]]


class Chooser:
    """Looks ahead from a place in the walk. `ends` says where gradients get names anyway."""

    def __init__(
        self,
        graph: Graph,
        normal: Normal,
        ends: Callable[[Node], bool],
        cost: Callable[[Sequence[Term]], float],
        free: float,
    ) -> None:
        self.graph = graph
        self.normal = normal
        self.ends = ends
        self.cost = cost
        self.free = free  # what is written again at no more than this needs no name

    def pays(self, node: Node, gradients: Gradients, atom: Callable[[], Term]) -> bool:
        """Whether a name for a gradient makes what follows from it cheaper."""
        terms = gradients[node.number]
        if not terms or is_name(terms) or paths(self.graph, node) < 2:
            return False
        own = self.cost(terms)
        if own <= self.free or self._hands_on(node, terms):
            return False
        try:
            inline = self.ahead(node, terms, gradients)
        except TooLong:
            return True
        return own + self.ahead(node, [atom()], gradients) < inline

    def _hands_on(self, node: Node, terms: list[Term]) -> bool:
        """Whether one other value gets the gradient as it is, and no other anything.

        The largest logit is taken off before exp: dlogits, and not dnorm_logits, is worth a name.
        """
        found: Gradients = {}
        for operand, term in adjoint(self.normal, node, terms):
            found.setdefault(operand.number, []).append(term)
        given = [g for g in map(self.normal.normal, found.values()) if g]
        return len(given) == 1 and _keys(given[0]) == _keys(terms)

    def ahead(self, start: Node, gradient: list[Term], known: Gradients) -> float:
        """What it costs to write all gradients that follow from one, up to the next names."""
        # What inputs were given already would only add the same to both costs.
        gradients = {n: list(g) for n, g in known.items() if self.graph.nodes[n].line is not None}
        gradients[start.number] = gradient
        touched = {start.number}
        waiting = {-number for number in gradients if number <= start.number}
        last_first = sorted(waiting)  # a heap
        lines = set[int]()
        cost = 0.0
        while last_first and touched and len(lines) <= WINDOW:
            node = self.graph.nodes[-heappop(last_first)]
            here = node.number in touched
            if not node.flows or not gradients.get(node.number):
                touched.discard(node.number)
                continue
            if node.line is not None:
                lines.add(id(node.line))
            if node is not start and self.ends(node):
                continue
            touched.discard(node.number)
            terms = self.normal.normal(gradients.pop(node.number))
            for operand, term in adjoint(self.normal, node, terms):
                found = gradients.setdefault(operand.number, [])
                found.append(term)
                if len(found) > MOST_AHEAD:
                    raise TooLong
                if here:
                    touched.add(operand.number)
                if -operand.number not in waiting:
                    waiting.add(-operand.number)
                    heappush(last_first, -operand.number)
        for number in touched:
            cost += self.cost(self.normal.normal(gradients.get(number, [])))
        return cost


def _keys(terms: Sequence[Term]) -> set[tuple[Fraction, Powers]]:
    return {(term.coefficient, term.key) for term in terms}


def is_name(terms: Sequence[Term]) -> bool:
    """Whether a gradient is another one as it is."""
    return len(terms) == 1 and terms[0].coefficient == 1 and len(terms[0].powers) == 1


def paths(graph: Graph, node: Node) -> int:
    """In how many places a node's gradient is used."""
    found = sum(derivative.operand.flows for derivative in node.derivatives)
    for term in node.terms or ():
        found += sum(graph.nodes[atom].flows for (atom, _), _ in term.powers)
    return found
