"""Index notation: a term is a number times powers of indexed atoms, some indices summed.

    - 1/n * sum over j of  probs[i, j] * dprobs[i, j]

An atom's index tuple has one index per axis; axes of size 1 carry none, so that keepdim and
broadcasting vanish here and come back when a term is printed. Indices 0, 1, ... are free: they are
the axes of what the term is a value of. A bound index is summed over its axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

Indices = tuple[int, ...]
Factor = tuple[int, Indices]  # an atom's number and its indices
Powers = tuple[tuple[Factor, Fraction], ...]

ONE = Fraction(1)
_counter = itertools.count(1000)
PERMUTATIONS = 24  # ways of naming tied bound indices that a key looks at


def fresh() -> int:
    """A bound index that no other term has."""
    return next(_counter)


@dataclass(frozen=True)
class Term:
    """`coefficient * product of factor**power`, summed over the bound indices."""

    coefficient: Fraction
    powers: Powers
    bound: frozenset[int] = frozenset()

    @staticmethod
    def of(
        coefficient: Fraction | int,
        powers: Iterable[tuple[Factor, Fraction]],
        bound: Iterable[int] = (),
    ) -> Term:
        """A term whose equal factors are put together; factors to the power 0 are left out.

        A bound index that no factor has any more must be answered for by the caller.
        """
        total: dict[Factor, Fraction] = {}
        for factor, power in powers:
            total[factor] = total.get(factor, Fraction(0)) + power
        kept = tuple(sorted((f, p) for f, p in total.items() if p))
        return Term(Fraction(coefficient), kept, frozenset(bound))

    def renamed(self, names: Mapping[int, int]) -> Term:
        """The same term with other indices; bound ones that `names` lacks get fresh ones."""
        full = dict(names)
        for index in self.bound:
            full.setdefault(index, fresh())
        powers = [
            ((atom, tuple(full.get(i, i) for i in indices)), power)
            for (atom, indices), power in self.powers
        ]
        return Term.of(self.coefficient, powers, (full[i] for i in self.bound))

    def times(self, other: Term) -> Term:
        """The product; the bound indices of the two are different already."""
        return Term.of(
            self.coefficient * other.coefficient,
            (*self.powers, *other.powers),
            self.bound | other.bound,
        )

    def scaled(self, number: Fraction | int) -> Term:
        return Term(self.coefficient * number, self.powers, self.bound)

    @cached_property
    def indices(self) -> frozenset[int]:
        """The free indices that it depends on."""
        return indices_of(self.powers) - self.bound

    @cached_property
    def key(self) -> Powers:
        """Equal for terms that differ in the names of bound indices and the number alone."""
        return canonical(self.powers, self.bound)


def indices_of(powers: Iterable[tuple[Factor, Fraction]]) -> frozenset[int]:
    return frozenset(i for (_, indices), _ in powers for i in indices)


def canonical(powers: Powers, bound: frozenset[int]) -> Powers:
    """The powers with bound indices -1, -2, ... in an order that does not depend on their names."""
    if not bound:
        return powers
    colour: dict[int, object] = dict.fromkeys(bound, ())
    for _ in range(3):
        ranks = {value: rank for rank, value in enumerate(sorted(set(map(repr, colour.values()))))}
        colour = {
            index: sorted(
                (
                    atom,
                    power,
                    tuple(
                        "*" if i == index else ranks[repr(colour[i])] if i in bound else f"f{i}"
                        for i in indices
                    ).__repr__(),
                )
                for (atom, indices), power in powers
                if index in indices
            )
            for index in bound
        }
    groups: dict[str, list[int]] = {}
    for index in sorted(bound):
        groups.setdefault(repr(colour[index]), []).append(index)
    ordered = [groups[key] for key in sorted(groups)]
    best: Powers | None = None
    ways = itertools.product(*(itertools.permutations(group) for group in ordered))
    for way in itertools.islice(ways, PERMUTATIONS):
        names = {index: -1 - at for at, index in enumerate(itertools.chain(*way))}
        found = tuple(
            sorted(((a, tuple(names.get(i, i) for i in ind)), p) for (a, ind), p in powers)
        )
        if best is None or found < best:
            best = found
    assert best is not None
    return best


def collect(terms: Iterable[Term]) -> list[Term]:
    """Like terms added up; those that come to 0 are left out."""
    total: dict[Powers, Term] = {}
    for term in terms:
        key = term.key
        if key in total:
            term = Term(total[key].coefficient + term.coefficient, *_rest(total[key]))
        total[key] = term
    return [term for term in total.values() if term.coefficient]


def _rest(term: Term) -> tuple[Powers, frozenset[int]]:
    return term.powers, term.bound


@dataclass(frozen=True)
class Match:
    """Where a pattern's factors were found: its indices' names there, and what was used up."""

    names: Mapping[int, int]
    used: Powers


def matches(
    pattern: Powers,
    bound: frozenset[int],
    term: Term,
    sign: int = 1,
    exact: bool = False,
) -> Iterator[Match]:
    """The ways in which a term contains a pattern (to the power `sign`).

    The pattern's free indices may stand for any index of the term, its bound ones for bound ones
    that have no factor outside of the match. Factors without indices (sizes, numbers) always fit:
    what is left over may have any power. `exact`: powers must be equal, nothing is left over.
    """
    wanted = [(f, p * sign) for f, p in pattern if f[1]]
    scalars = [(f, p * sign) for f, p in pattern if not f[1]]
    have = dict(term.powers)

    def step(at: int, names: dict[int, int], used: dict[Factor, Fraction]) -> Iterator[Match]:
        if at == len(wanted):
            full = {**used, **dict(scalars)}
            if _closed(bound, names, full, term):
                yield Match(names, tuple(full.items()))
            return
        (atom, indices), power = wanted[at]
        for factor, there in term.powers:
            if factor[0] != atom:
                continue
            if exact and there != power:
                continue
            left = there - used[factor] if factor in used else there
            if left != power and not _contains(left, power):
                continue
            new = dict(names)
            if all(_bind(new, i, j, bound, term) for i, j in zip(indices, factor[1], strict=True)):
                yield from step(
                    at + 1, new, {**used, factor: used.get(factor, Fraction(0)) + power}
                )

    if all(any(f[0] == w[0][0] for f in have) for w in wanted):
        yield from step(0, {}, {})


def _contains(whole: Fraction, part: Fraction) -> bool:
    """Whether one power is another of the same sign, or more."""
    same = whole.numerator * part.numerator > 0
    return same and abs(whole) >= abs(part)


def _bind(names: dict[int, int], i: int, j: int, bound: frozenset[int], term: Term) -> bool:
    if i in names:
        return names[i] == j
    if j in names.values() or (i in bound and j not in term.bound):
        return False
    names[i] = j
    return True


def _closed(
    bound: frozenset[int], names: Mapping[int, int], used: Mapping[Factor, Fraction], term: Term
) -> bool:
    inner = {names[i] for i in bound}
    if not inner:
        return True
    return all(used.get(factor) == power for factor, power in term.powers if inner & set(factor[1]))
