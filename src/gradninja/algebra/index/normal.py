"""The normal form of terms: products written out, sums folded, and what is known of sums used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from gradninja.algebra.index.divisors import Divisors
from gradninja.algebra.index.graph import Graph, Node
from gradninja.algebra.index.terms import (
    ONE,
    Factor,
    Indices,
    Powers,
    Term,
    collect,
    fresh,
    indices_of,
    matches,
)

MOST_TERMS = 48  # a gradient of more terms is not looked at
MOST_FACTORS = 12  # what is a product of more is not written out, or a chain of products grows


class TooLong(Exception):
    """Raised where a normal form outgrows its bound."""


@dataclass(frozen=True, eq=False)
class Fact:
    """`sum over bound of pattern` is the sum of `results` (over the pattern's free indices)."""

    pattern: Powers
    bound: frozenset[int]
    results: tuple[Term, ...]
    of: Node
    over: Indices = ()  # of `of`, the summed ones, for a fact about axes of a node
    told: bool = True  # whether it is worth a word


class Normal:
    """Normal forms over one graph."""

    def __init__(self, graph: Graph, written_out: bool = True) -> None:
        self.written_out = written_out  # whether matrix products are, where that is worth it
        self.graph = graph
        self.forms: dict[int, list[Term]] = {}  # what stands for a node: itself, a product, or 0
        self.facts: dict[int, list[Fact]] = {}  # by the pattern's last atom, which few have
        self.sums: dict[frozenset[tuple[Powers, Fraction]], Node] = {}
        self.centred: set[int] = set()  # what sums to 0: written out, x - mean(x) loses digits
        self.numbers = set[int]()  # sums of numbers, and decimals, that are kept as written
        self.used: list[Fact] = []
        self.divisors = Divisors(graph, self.forms)
        self.done = 0
        self.learn()

    # -- building ---------------------------------------------------------------------------

    def build(
        self,
        coefficient: Fraction,
        powers: Iterable[tuple[Factor, Fraction]],
        bound: Iterable[int],
    ) -> Term:
        """A term; a bound index that cancels leaves its axis's size behind."""
        powers, bound = list(powers), frozenset(bound)
        term = Term.of(coefficient, powers, bound)
        gone = bound - indices_of(term.powers)
        for index in gone:
            atom, place = next((f[0], f[1].index(index)) for f, _ in powers if index in f[1])
            extent = self.graph.extent(self.graph.nodes[atom].axes[place])
            powers.append(((extent.number, ()), ONE))
        return Term.of(coefficient, powers, bound - gone) if gone else term

    def product(self, a: Term, b: Term) -> Term:
        return self.build(a.coefficient * b.coefficient, (*a.powers, *b.powers), a.bound | b.bound)

    def form(self, node: Node) -> list[Term]:
        self.learn()
        return self.forms[node.number]

    # -- normal form ------------------------------------------------------------------------

    def normal(self, terms: Iterable[Term]) -> list[Term]:
        """The normal form of a sum of terms."""
        self.learn()
        return self._normal(terms)

    def _normal(self, terms: Iterable[Term]) -> list[Term]:
        todo, found = list(terms), []
        steps = 0
        while todo:
            steps += 1
            if steps > 20 * MOST_TERMS:
                raise TooLong
            term = todo.pop()
            if not term.coefficient:
                continue
            expanded = self._expanded(term)
            if expanded is None:
                continue
            known = self._known(expanded)
            if known is None:
                found.append(expanded)
            else:
                todo.extend(known)
        terms = self._added(collect(found[::-1]))
        if len(terms) > MOST_TERMS:
            raise TooLong
        return terms

    def _added(self, terms: list[Term]) -> list[Term]:
        """Terms alike but for numbers, such as `1 - eps` and `eps`, or 0.9 and 0.1, added up."""
        if not any(atom in self.numbers for term in terms for (atom, _), _ in term.powers):
            return terms
        alike: dict[Powers, list[Term]] = {}
        for term in terms:
            alike.setdefault(tuple(p for p in term.key if p[0][1]), []).append(term)
        found: list[Term] = []
        for group in alike.values():
            opened = collect(o for t in group for o in self.opened(self._exact(t), self.numbers))
            found += opened if len(opened) < len(group) else group
        return found

    def _exact(self, term: Term) -> Term:
        """A term with the numbers in it that are decimals as fractions."""
        number, left = term.coefficient, []
        for factor, power in term.powers:
            decimal = self.graph.nodes[factor[0]].decimal if factor[0] in self.numbers else None
            if decimal and power.denominator == 1:
                number *= decimal ** int(power)
            else:
                left.append((factor, power))
        return Term.of(number, left, term.bound)

    def _expanded(self, term: Term) -> Term | None:
        """Every factor written out by its normal form; None for 0."""
        if all(self._stays(atom) for (atom, _), _ in term.powers):
            return self._absorbed(self._inverted(term))
        coefficient, powers, bound = term.coefficient, [], set(term.bound)
        for (atom, indices), power in term.powers:
            if self._stays(atom):
                powers.append(((atom, indices), power))
                continue
            forms = self.forms[atom]
            if not forms:
                return None
            powers.append(((atom, indices), Fraction(0)))  # it stands for its axes
            times, each = (int(power), ONE) if forms[0].bound else (1, power)
            assert power.denominator == 1 or forms[0].coefficient == 1
            for _ in range(times):
                copy = forms[0].renamed(dict(enumerate(indices)))
                coefficient *= copy.coefficient ** int(each) if each.denominator == 1 else 1
                powers += [(factor, there * each) for factor, there in copy.powers]
                bound |= copy.bound
        return self._absorbed(self._inverted(self.build(coefficient, powers, bound)))

    def _inverted(self, term: Term) -> Term:
        """Inverses that are 0 where there is none, put together with what they are inverses of."""
        have = dict(term.powers)
        for (atom, at), power in term.powers:
            inverts = self.graph.nodes[atom].inverts
            if inverts is None:
                continue
            y, of, places = inverts
            there = have.get((y.number, at), Fraction(0))
            zero = there != power or any(
                f == of.number and p > 0 and tuple(ind[i] for i in places) == at
                for (f, ind), p in term.powers
            )
            if not there or not zero:
                continue
            # y / y is 1 where another factor is 0 with y; a power that is left takes care of 0.
            left = power - there
            plain = left <= 0 or there < 0
            have[(atom, at)] = Fraction(0) if plain else left
            have[(y.number, at)] = -left if plain else Fraction(0)
        if have == dict(term.powers):
            return term
        return self.build(term.coefficient, have.items(), term.bound)

    def _absorbed(self, term: Term) -> Term:
        """Without the masks of what is 0 already where they are; whole powers of numbers taken."""
        number, gone = term.coefficient, set()
        for (atom, indices), power in term.powers:
            value = self.graph.nodes[atom].value
            if isinstance(value, Fraction) and power.denominator == 1:
                number *= value ** int(power)
                gone.add((atom, indices))
        for (atom, indices), power in term.powers:
            absorbs = self.graph.nodes[atom].absorbs
            if absorbs is not None and power > 0 and not self.graph.nodes[atom].floor:
                mask, at = absorbs
                gone.add((mask.number, tuple(indices[i] for i in at)))
        if not any(factor in gone for factor, _ in term.powers):
            return term
        kept = [(factor, power) for factor, power in term.powers if factor not in gone]
        return Term.of(number, kept, term.bound)

    def absorbed(self, terms: Sequence[Term]) -> tuple[Node, Indices] | None:
        """A mask that leaves all terms as they are: each has a factor that is 0 where it is."""
        common: set[Factor] | None = None
        for term in terms:
            here = set()
            for (atom, indices), power in term.powers:
                node = self.graph.nodes[atom]
                if node.absorbs is not None and power > 0 and not node.floor:
                    mask, at = node.absorbs
                    here.add((mask.number, tuple(indices[i] for i in at)))
            common = here if common is None else common & here
        for atom, at in sorted(common or ()):
            if all(i < 1000 for i in at):
                return self.graph.nodes[atom], at
        return None

    def opened(self, term: Term, sums: set[int]) -> list[Term]:
        """A term in which some additive nodes are multiplied out."""
        found: list[tuple[Fraction, list[tuple[Factor, Fraction]], frozenset[int]]]
        found = [(term.coefficient, [], term.bound)]
        for (atom, indices), power in term.powers:
            if atom not in sums or power not in {1, 2}:
                for _, powers, _ in found:
                    powers.append(((atom, indices), power))
                continue
            for _ in range(int(power)):
                parts = self.graph.nodes[atom].terms or []
                copies = [part.renamed(dict(enumerate(indices))) for part in parts]
                whole = ((atom, indices), Fraction(0))  # it stands for its axes
                found = [
                    (number * one.coefficient, [*powers, *one.powers, whole], bound | one.bound)
                    for number, powers, bound in found
                    for one in copies
                ]
            if len(found) > MOST_TERMS:
                raise TooLong
        return [self.build(*parts) for parts in found]

    def _stays(self, atom: int) -> bool:
        forms = self.forms.get(atom)
        return forms is None or (len(forms) == 1 and [f[0] for f, _ in forms[0].powers] == [atom])

    def _known(self, term: Term) -> list[Term] | None:
        """What a fact makes of the term; None where none applies."""
        for (atom, _), _ in term.powers:
            for fact in self.facts.get(atom, ()):
                for match in matches(fact.pattern, fact.bound, term, exact=True):
                    inner = {match.names[i] for i in fact.bound}
                    gone = {f for f, _ in match.used if f[1]}
                    left = [*((f, p) for f, p in term.powers if f not in gone)]
                    left += [(f, -p) for f, p in match.used if not f[1]]
                    left += [(f, Fraction(0)) for f in gone]  # they stand for their axes
                    found = [
                        self._replaced(term, left, inner, r, match.names) for r in fact.results
                    ]
                    if not all(self.divisors.allow(term, result) for result in found):
                        continue
                    if fact.told:
                        self.used.append(fact)
                    return found
        return None

    def _replaced(
        self,
        term: Term,
        left: list[tuple[Factor, Fraction]],
        inner: set[int],
        result: Term,
        names: Mapping[int, int],
    ) -> Term:
        copy = result.renamed({i: j for i, j in names.items() if i not in result.bound})
        bound = (term.bound - inner) | copy.bound
        return self.build(term.coefficient * copy.coefficient, (*left, *copy.powers), bound)

    # -- what is known ----------------------------------------------------------------------

    def learn(self) -> None:
        """Take in the nodes that are new in the graph."""
        while self.done < len(self.graph.nodes):
            node = self.graph.nodes[self.done]
            self.done += 1
            self.forms[node.number] = [self.graph.itself(node)]
            if node.static and (len(node.terms or ()) > 1 or node.decimal):
                self.numbers.add(node.number)
            for over, result in node.sums:
                self._fact(node, over, [result])
            try:
                if node.squared is not None:
                    self._square(node, node.squared)
                if node.terms is not None:
                    self._learn(node, node.terms)
            except TooLong:
                node.atomic = True
            self.divisors.learn(node, node.terms or ())

    def _learn(self, node: Node, terms: list[Term]) -> None:
        found = self._normal(terms)
        if len(found) == 1 and not node.atomic:
            term = found[0]
            if len(term.powers) > MOST_FACTORS:
                return
            inner = {f[0] for f, _ in term.powers if term.bound & set(f[1])}
            if not term.bound or (len(inner) > 1 and self._is_worth(node)):
                self.forms[node.number] = found
                return
        if not found:
            self.forms[node.number] = []
            return
        if len(found) == 1 and found[0].bound and set(node.free) <= found[0].indices:
            self._fold(node, found[0])
        elif len(found) > 1:
            key = frozenset((term.key, term.coefficient) for term in found)
            first = self.sums.setdefault(key, node)
            if first is not node and len(first.free) == len(node.free):
                self.forms[node.number] = [self.graph.itself(first)]  # the same sum once more
                return
            self._mine(node, found)

    def _is_worth(self, node: Node) -> bool:
        """Whether a matrix product is written out: not if it is one of plain atoms, x @ W.

        With P of P @ V a product or a softmax, sums of P * (dO @ V.T) fold back into dO * O.
        """
        factors = [
            self.graph.nodes[atom] for term in node.terms or () for (atom, _), _ in term.powers
        ]
        return self.written_out and any(
            not self._stays(f.number) or f.sums for f in factors if not f.static
        )

    def vanishes(self, node: Node, terms: list[Term]) -> None:
        """Learn over which axes a sum of terms, which is a node, gives 0."""
        for index in node.free:
            try:
                if not self._normal(self._summed(node, terms, (index,))):
                    self._fact(node, (index,), [])
            except TooLong:
                return

    def _summed(self, node: Node, terms: list[Term], over: Indices) -> list[Term]:
        """Terms over a node's indices, some of them summed."""
        names = {index: fresh() for index in over}
        found = []
        for term in terms:
            copy = term.renamed(names)
            bound = copy.bound | {names[i] for i in over if i in term.indices}
            copy = Term(copy.coefficient, copy.powers, bound)
            for index in set(over) - term.indices:
                copy = copy.times(self.graph.itself(self.graph.extent(node.axes[index])))
            found.append(copy)
        return found

    def _square(self, node: Node, terms: list[Term]) -> None:
        """A length: where the sum of squares comes up, it is the node's square."""
        found = self._normal(terms)
        if len(found) == 1 and found[0].bound:
            self._fold(node, found[0], Fraction(2))

    def _fold(self, node: Node, term: Term, power: Fraction = ONE) -> None:
        """A node that is a sum, or has it as a power: where that sum comes up, it is the node."""
        inside = tuple((f, p) for f, p in term.powers if term.bound & set(f[1]))
        outside = [(f, -p) for f, p in term.powers if not term.bound & set(f[1])]
        itself = ((node.number, node.free), power)
        result = Term.of(1 / term.coefficient, [*outside, itself])
        if not set(node.free) <= indices_of(inside):
            return  # the sum alone does not say at which of the node's other indices
        hot = [(f, p) for f, p in inside if self.graph.nodes[f[0]].picks]
        if len(hot) == 1 and len(inside) > 1 and len(term.bound) == 1:
            # Where a one-hot row is 1, what it picks is the picked element.
            picked = Term.of(1 / term.coefficient, [*outside, itself, *hot])
            known = Fact(inside, frozenset(), (picked,), node, told=False)
            self.facts.setdefault(inside[-1][0][0], []).append(known)
        fact = Fact(inside, term.bound, (result,), node, told=False)
        self.facts.setdefault(inside[-1][0][0], []).append(fact)

    def _mine(self, node: Node, terms: list[Term]) -> None:
        """Sums of an additive node over axes that collapse: bndiff over n gives 0."""
        several = {tuple(i for i in node.free if i not in term.indices) for term in terms}
        for over in [*((i,) for i in node.free), *sorted(o for o in several if len(o) > 1)]:
            summed = self._normal(self._summed(node, terms, over))
            if not any(term.bound for term in summed) and len(summed) <= 1:
                self._fact(node, over, summed)

    def _fact(self, node: Node, over: Indices, results: list[Term]) -> None:
        if not results:
            self.centred.add(node.number)
        names = {index: fresh() for index in over}
        indices = tuple(names.get(i, i) for i in node.free)
        pattern = (((node.number, indices), ONE),)
        fact = Fact(pattern, frozenset(names.values()), tuple(results), node, over)
        self.facts.setdefault(node.number, []).append(fact)
