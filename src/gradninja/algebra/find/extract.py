"""From terms to one expression: folded into named variables, contracted, common factors out."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from gradninja.algebra.find.rational import rational
from gradninja.algebra.index.graph import Node
from gradninja.algebra.index.normal import Normal, TooLong
from gradninja.algebra.index.sigmoids import complemented
from gradninja.algebra.index.terms import ONE, Factor, Powers, Term, matches
from gradninja.algebra.measure.prices import Prices
from gradninja.algebra.write.tree import (
    Forest,
    Product,
    Reduced,
    Total,
    Tree,
    as_product,
    leaves,
    simple,
)

STATES = 60  # ways of folding one term that are looked at
WIDTH = 3
MOST_OPENED = 6  # terms whose sums are multiplied out


@dataclass(frozen=True, eq=False)
class Foldable:
    """A named value and the term that it is."""

    node: Node
    term: Term


class Extractor:
    """Finds a cheap expression for a sum of terms, from named values that are at hand."""

    def __init__(
        self,
        normal: Normal,
        foldables: Sequence[Foldable],
        prices: Prices,
        kept: Container[int],
    ) -> None:
        self.normal = normal
        self.prices = prices
        self.kept = kept
        self.dividing: dict[int, list[tuple[Node, Term]]] = {}  # by what they are divided by
        self.by_atom: dict[int, list[Foldable]] = {}
        for foldable in foldables:
            self.add(foldable)

    def add(self, foldable: Foldable) -> None:
        """One more value to fold into."""
        for (atom, _), power in foldable.term.powers:
            if power < 0:
                self.dividing.setdefault(atom, []).append((foldable.node, foldable.term))
        atoms = [f[0] for f, _ in foldable.term.powers if f[1]]
        if atoms:
            self.by_atom.setdefault(atoms[-1], []).append(foldable)

    def choices(self, terms: Sequence[Term]) -> list[Tree]:
        """Expressions for the terms, the cheapest first; the last keeps sums in one piece."""
        best = self.extract(terms)
        others = [*self._opened(terms), *rational(self.normal, terms, self.dividing)]
        complements = complemented(self.normal.graph, terms)
        if complements is not None:
            others += [complements, *self._opened(complements)]
        found = sorted((self.extract(other) for other in others), key=lambda tree: tree.cost)
        return [*(tree for tree in found if tree.cost < best.cost), best]

    def extract(self, terms: Sequence[Term]) -> Tree:
        """The cheapest expression found for the terms, sums kept in one piece."""
        forest = Forest(self._sizes(terms), self.prices, self.kept)
        return self.combine(forest, _added(forest, [self._best(forest, term) for term in terms]))

    def _opened(self, terms: Sequence[Term]) -> Iterable[list[Term]]:
        """The same terms with sums that have no name, such as `1 - p`, multiplied out."""
        nodes = self.normal.graph.nodes
        sums = {
            atom
            for term in terms
            for (atom, _), power in term.powers
            if _is_sum(nodes[atom]) and power in {1, 2} and atom not in self.normal.centred
        }
        if not sums or len(terms) > MOST_OPENED:
            return
        found: list[Term] = []
        for term in terms:
            try:
                found += self.normal.opened(term, sums)
            except TooLong:
                return
        try:
            yield self.normal.normal(found)
        except TooLong:
            return

    def _sizes(self, terms: Sequence[Term]) -> dict[int, int]:
        graph = self.normal.graph
        found: dict[int, int] = {}
        for term in terms:
            for (atom, indices), _ in term.powers:
                for index, axis in zip(indices, graph.nodes[atom].axes, strict=True):
                    found[index] = graph.sizes[axis]
        return found

    # -- one term ---------------------------------------------------------------------------

    def _best(self, forest: Forest, term: Term) -> Product:
        """The cheapest way to write a term, over the ways to fold it."""
        best = self.plan(forest, term)
        seen = {term.key}
        frontier = [term]
        while frontier and len(seen) < STATES:
            found: list[tuple[float, Term]] = []
            for state in frontier:
                for folded in self._folds(state):
                    if folded.key in seen:
                        continue
                    seen.add(folded.key)
                    plan = self.plan(forest, folded)
                    found.append((plan.cost, folded))
                    if plan.cost < best.cost:
                        best = plan
            found.sort(key=lambda pair: pair[0])
            frontier = [folded for _, folded in found[:4]]
        return best

    def _folds(self, term: Term) -> Iterable[Term]:
        for atom in {f[0] for f, _ in term.powers}:
            for foldable in self.by_atom.get(atom, ()):
                for sign in (1, -1):
                    if sign < 0 and foldable.term.bound:
                        continue
                    for match in matches(foldable.term.powers, foldable.term.bound, term, sign):
                        folded = self._folded(term, foldable, sign, match.used, match.names)
                        if self.normal.divisors.allow(term, folded):
                            yield folded

    def _folded(
        self, term: Term, foldable: Foldable, sign: int, used: Powers, names: Mapping[int, int]
    ) -> Term:
        node = foldable.node
        inner = {names[i] for i in foldable.term.bound}
        at: Factor = (node.number, tuple(names[i] for i in node.free))
        powers = [*term.powers, *((f, -p) for f, p in used), (at, Fraction(sign))]
        coefficient = term.coefficient / foldable.term.coefficient**sign
        return Term.of(coefficient, powers, term.bound - inner)

    # -- contracting ------------------------------------------------------------------------

    def plan(self, forest: Forest, term: Term) -> Product:
        """A term as a product of parts, its bound indices summed in a cheap order."""
        nodes = self.normal.graph.nodes
        parts: list[tuple[Tree, Fraction]] = [
            (forest.leaf(nodes[atom], indices), power) for (atom, indices), power in term.powers
        ]
        todo = set(term.bound)
        while todo:
            choices = {
                frozenset(
                    k
                    for k in todo
                    if all((k in t.indices) == (index in t.indices) for t, _ in parts)
                )
                for index in todo
            }
            best = min(
                (self._eliminated(forest, parts, over) for over in sorted(choices, key=sorted)),
                key=lambda found: found[1].cost,
            )
            parts = [*best[0], (best[1], ONE)]
            todo -= best[2]
        return forest.product(term.coefficient, self._means(forest, parts))

    def _means(
        self, forest: Forest, parts: Sequence[tuple[Tree, Fraction]]
    ) -> list[tuple[Tree, Fraction]]:
        """A sum over an axis, divided by its size, is a mean."""
        left = list(parts)
        for at, (tree, power) in enumerate(left):
            if not isinstance(tree, Reduced) or power != 1 or tree.mean:
                continue
            extents = [self._extent(tree.body, index) for index in sorted(tree.over)]
            if None in extents:
                continue
            sizes = [f"{node}[]" for node in extents]
            have = {t.key: p for t, p in left if p <= -1}
            if all(key in have and have[key] <= -sizes.count(key) for key in sizes):
                left[at] = (forest.reduced(tree.body, tree.over, True), power)
                left = [(t, p + sizes.count(t.key)) if p < 0 else (t, p) for t, p in left]
                left = [(t, p) for t, p in left if p]
                return self._means(forest, left)
        return left

    def _extent(self, tree: Tree, index: int) -> int | None:
        """The number of the node that is the size of an index's axis."""
        for leaf in leaves(tree):
            if index in leaf.at:
                axis = leaf.node.axes[leaf.at.index(index)]
                return self.normal.graph.extent(axis).number
        return None

    def _eliminated(
        self, forest: Forest, parts: Sequence[tuple[Tree, Fraction]], over: frozenset[int]
    ) -> tuple[list[tuple[Tree, Fraction]], Tree, frozenset[int]]:
        """The other parts, and one for those that have the indices `over`, summed."""
        others = [p for p in parts if not p[0].indices & over]
        groups: dict[frozenset[int], list[tuple[Tree, Fraction]]] = {}
        for part in parts:
            if part[0].indices & over:
                groups.setdefault(part[0].indices, []).append(part)
        trees = [simple(forest.product(ONE, group)) for group in groups.values()]
        while len(trees) > 2:
            pairs = [(a, b) for i, a in enumerate(trees) for b in trees[:i]]
            a, b = min(pairs, key=lambda ab: forest.numel(ab[0].indices | ab[1].indices))
            trees = [t for t in trees if t is not a and t is not b]
            trees.append(self._times(forest, a, b))
        if len(trees) == 1:
            return others, forest.reduced(trees[0], over), over
        a, b = trees
        vector = a.indices == over or b.indices == over
        nested = a.indices <= b.indices or b.indices <= a.indices
        batch = (a.indices & b.indices) - over
        if nested and not ((vector or batch) and a.indices != b.indices and len(over) == 1):
            return others, forest.reduced(self._times(forest, a, b), over), over
        return others, forest.contracted(a, b, over), over

    def _times(self, forest: Forest, a: Tree, b: Tree) -> Tree:
        first, second = as_product(forest, a), as_product(forest, b)
        return forest.product(first.number * second.number, [*first.parts, *second.parts])

    # -- common factors ---------------------------------------------------------------------

    def combine(self, forest: Forest, products: Sequence[Product], width: int = WIDTH) -> Tree:
        """A sum of products, common factors pulled out where that is cheaper.

        `width`: how many of the factors are tried, the most promising first; fewer further in.
        """
        if not products:
            return forest.product(Fraction(0), [])
        if len(products) == 1:
            return simple(products[0])
        best = forest.total(self._number_out(forest, products))
        for key, power in self._common(forest, products)[:width]:
            having, rest = [], []
            shared: Tree | None = None
            for product in products:
                found = [(t, p) for t, p in product.parts if t.key == key and p * power > 0]
                if found and abs(found[0][1]) >= abs(power):
                    shared = found[0][0]
                    left = [(t, p) for t, p in product.parts if t.key != key]
                    if found[0][1] != power:
                        left.append((shared, found[0][1] - power))
                    having.append(forest.product(product.number, left))
                else:
                    rest.append(product)
            assert shared is not None
            inner = self._signed(forest, self.combine(forest, having, max(1, width - 1)))
            whole = forest.product(inner.number, _merge(inner.parts, (shared, power)))
            if rest:
                others = _parts(forest, self.combine(forest, rest, max(1, width - 1)))
                if 1 + len(others) < len(products):  # fewer products may share a factor now
                    candidate = self.combine(forest, [whole, *others], max(1, width - 1))
                else:
                    candidate = forest.total([whole, *others])
            else:
                candidate = simple(whole)
            if candidate.cost <= best.cost:
                best = candidate
        return best

    def _signed(self, forest: Forest, tree: Tree) -> Product:
        """A sum as a product, the sign such that `a - b` and `b - a` are one factor."""
        if not isinstance(tree, Total):
            return as_product(forest, tree)
        if min(tree.parts, key=lambda part: part.key.lstrip("(-")).number > 0:
            return as_product(forest, tree)
        return forest.product(-ONE, [(negated(forest, tree), ONE)])

    def _number_out(self, forest: Forest, products: Sequence[Product]) -> Sequence[Product]:
        """The same number before every product is better before their sum."""
        numbers = {abs(p.number) for p in products}
        number = numbers.pop() if len(numbers) == 1 else ONE
        number = -number if all(p.number < 0 for p in products) else number
        if number == 1:
            return products
        inner = forest.total(forest.product(p.number / number, p.parts) for p in products)
        return [forest.product(number, [(inner, ONE)])]

    def _common(self, forest: Forest, products: Sequence[Product]) -> list[tuple[str, Fraction]]:
        """Parts that several products share, the one that saves most first."""
        powers: dict[tuple[str, bool], list[Fraction]] = {}
        trees: dict[str, Tree] = {}
        for product in products:
            for tree, power in product.parts:
                powers.setdefault((tree.key, power > 0), []).append(power)
                trees[tree.key] = tree
        scored = []
        for (key, _), found in powers.items():
            if len(found) > 1:
                power = min(found, key=abs)
                score = (len(found) - 1) * (forest.numel(trees[key].indices) + trees[key].cost)
                scored.append((score + len(found), key, power))
        scored.sort(reverse=True)
        return [(key, power) for _, key, power in scored]


def _is_sum(node: Node) -> bool:
    return node.name is None and not node.static and len(node.terms or ()) > 1


def negated(forest: Forest, tree: Total) -> Tree:
    """A sum with all its signs turned."""
    return forest.total(forest.product(-part.number, part.parts) for part in tree.parts)


def _added(forest: Forest, products: Sequence[Product]) -> list[Product]:
    """Products added up that are alike, as what is folded into one name is; without those of 0."""
    numbers: dict[tuple[tuple[str, Fraction], ...], Fraction] = {}
    parts: dict[tuple[tuple[str, Fraction], ...], Sequence[tuple[Tree, Fraction]]] = {}
    for product in products:
        key = tuple((tree.key, power) for tree, power in product.parts)
        numbers[key] = numbers.get(key, Fraction(0)) + product.number
        parts[key] = product.parts
    return [forest.product(number, parts[key]) for key, number in numbers.items() if number]


def _merge(
    parts: Sequence[tuple[Tree, Fraction]], extra: tuple[Tree, Fraction]
) -> list[tuple[Tree, Fraction]]:
    same = [p for t, p in parts if t.key == extra[0].key]
    rest = [(t, p) for t, p in parts if t.key != extra[0].key]
    return [*rest, (extra[0], sum(same, extra[1]))]


def _parts(forest: Forest, tree: Tree) -> Sequence[Product]:
    return tree.parts if isinstance(tree, Total) else [as_product(forest, tree)]
