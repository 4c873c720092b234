"""What terms divide by: a rewriting may divide by nothing that what it stands for does not.

`(x * y).mean()` gives y the gradient mean(x), and not out / y: a gate may be 0. A divisor is a
factor to a negative power, or to a fractional one, which is no number below 0 and has no slope at
0. What is proven to be positive divides freely.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from gradninja.algebra.index.graph import Graph, Node
from gradninja.algebra.index.terms import Term

NOTHING = frozenset[int]()
UNKNOWN, NOT_NEGATIVE, POSITIVE = range(3)
CONSTANTS = {"math.pi", "math.e", "math.sqrt(2 / math.pi)"}
# As spreads.py writes it.
COUNT = re.compile(r"\w+\.numel\(\)|\w+\.shape\[\d+\]( \* \w+\.shape\[\d+\])*")


class Divisors:
    """Of the terms over one graph. `forms`: what stands for a node, by its number."""

    def __init__(self, graph: Graph, forms: Mapping[int, Sequence[Term]]) -> None:
        self.graph = graph
        self.forms = forms
        self.signs: dict[int, int] = {}  # what is proven of all elements of a node
        self._inside: dict[int, frozenset[int]] = {}  # what its value was divided by
        self._zeros: dict[int, frozenset[int]] = {}  # it is 0 where one of these is, else nowhere

    def allow(self, before: Term, after: Term) -> bool:
        """Whether one term may stand for another."""
        return self.of([after]) <= self.of([before])

    def of(self, terms: Iterable[Term]) -> frozenset[int]:
        """The numbers of the nodes that some of the terms divide by."""
        found = NOTHING
        for term in terms:
            for (atom, _), power in term.powers:
                found |= self._inside.get(atom, NOTHING)
                if power < 0 or power.denominator != 1:
                    found |= self._zeros.get(atom, NOTHING)
        return found

    def learn(self, node: Node, terms: Sequence[Term]) -> None:
        """Take in a node, after those that it is made of; `terms`: what it is a sum of."""
        atom = node.number
        self.signs[atom] = self._sign(node)
        self._inside[atom] = self.of(terms)
        forms = self.forms.get(atom) or ()
        form = forms[0] if len(forms) == 1 and self.graph.itself(node) not in forms else None
        if form is None and len(terms) == 1 and not terms[0].bound:
            form = terms[0]
        self._zeros[atom] = frozenset([atom])
        if self.signs[atom] == POSITIVE:
            self._zeros[atom] = NOTHING
        elif form is not None and not form.bound:
            inner = (f[0] for f, power in form.powers if power > 0)
            self._zeros[atom] = NOTHING.union(*(self._zeros.get(n, NOTHING) for n in inner))

    # -- signs ------------------------------------------------------------------------------

    def _sign(self, node: Node) -> int:
        """POSITIVE: a size, a positive number, e to a power, `v**2 + eps`."""
        if node.static:
            return self._of_number(node)
        if node.terms:
            return self._of_sum(node.terms)
        if self._is_exponential(node):
            return POSITIVE
        return NOT_NEGATIVE if node.squared is not None or node.picks else UNKNOWN

    def _of_sum(self, terms: Sequence[Term]) -> int:
        signs = [self._of_term(term) for term in terms]
        return max(signs) if min(signs) else UNKNOWN

    def _of_term(self, term: Term) -> int:
        found = POSITIVE if term.coefficient > 0 else UNKNOWN
        for (atom, _), power in term.powers:
            each = self.signs.get(atom, UNKNOWN)
            if power.denominator == 2 or power % 2 == 0:
                each = max(each, NOT_NEGATIVE)  # a root, or a square
            found = min(found, each)
        return found

    def _of_number(self, node: Node) -> int:
        """A size, a positive literal, or made of such; `n - 1` too: an axis of size 1 stays one."""
        if self._is_size(node):
            return POSITIVE
        if isinstance(node.value, Fraction):
            return POSITIVE if node.value > 0 else UNKNOWN
        if node.terms:
            less = [term for term in node.terms if term != Term.of(-1, [])]
            whole = len(less) == len(node.terms) or self._is_count(less)
            return self._of_sum(less) if less and whole else UNKNOWN
        if node.decimal is not None:
            return POSITIVE if node.decimal > 0 else UNKNOWN
        text = "" if node.syntax is None else ast.unparse(node.syntax)
        if text.endswith(" - 1"):
            count = text.removesuffix(" - 1")
            known = self.graph.named.get(count)
            sized = known is not None and known.static and self._is_count(known.terms or ())
            sized = sized or any(n.name == count for n in self.graph.size_nodes.values())
            return POSITIVE if sized or COUNT.fullmatch(count) else UNKNOWN
        return POSITIVE if text in CONSTANTS else UNKNOWN

    def _is_size(self, node: Node) -> bool:
        return any(node is size for size in self.graph.size_nodes.values())

    def _is_count(self, terms: Sequence[Term]) -> bool:
        """Whether a number is a product of sizes."""
        return len(terms) == 1 and all(
            self._is_size(self.graph.nodes[atom]) and power > 0
            for (atom, _), power in terms[0].powers
        )

    def _is_exponential(self, node: Node) -> bool:
        """e to something: its own slope."""
        if node.applied is not None:
            return node.applied[0] == "torch.exp"
        slopes = [d.terms for d in node.derivatives if d.at is None]
        return slopes == [[self.graph.itself(node)]]
