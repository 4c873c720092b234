"""Places in arrays as sums: what a loop's variables make of them, and what shapes do to them.

An `Index` is `constant + coefficient * atom + ...` over the variables of loops and over ints that
are looked up. Views of all kinds are arithmetic on it, so they cost nothing when they are compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradninja.native.maps.scalars import Scalar


@dataclass(frozen=True, eq=False)
class Var:
    """The variable of a loop: 0, 1, ..., size - 1."""

    name: str
    size: int


@dataclass(frozen=True)
class Part:
    """An index divided by a number, or what is left of it then."""

    kind: str  # "//" or "%"
    of: Index
    by: int


@dataclass(frozen=True)
class Index:
    """`constant + sum(coefficient * atom)`; atoms are variables, parts of indices, looked-up ints.

    Equal indices compare equal: terms are kept in one order.
    """

    constant: int = 0
    terms: tuple[tuple[Var | Part | Scalar, int], ...] = ()

    def __add__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return Index(self.constant + other, self.terms)
        return _sum(self.constant + other.constant, (*self.terms, *other.terms))

    def __mul__(self, factor: int) -> Index:
        return _sum(self.constant * factor, ((a, c * factor) for a, c in self.terms))

    def __sub__(self, other: Index | int) -> Index:
        return self + other * -1

    @property
    def range(self) -> tuple[int, int] | None:
        """The least and the largest value; None where a looked-up int has no known bounds."""
        low = high = self.constant
        for atom, coefficient in self.terms:
            found = _range(atom)
            if found is None:
                return None
            ends = (found[0] * coefficient, found[1] * coefficient)
            low, high = low + min(ends), high + max(ends)
        return low, high

    def __floordiv__(self, by: int) -> Index:
        if by == 1:
            return self
        whole, rest = self._divided(by)
        if rest.within(by):
            return whole
        unit, high, _ = rest._in_units(by)
        if unit > 1:
            return whole + high // (by // unit)
        return whole + Index(0, ((Part("//", rest, by), 1),))

    def __mod__(self, by: int) -> Index:
        if by == 1:
            return Index()
        rest = self._divided(by)[1]
        if rest.within(by):
            return rest
        unit, high, low = rest._in_units(by)
        if unit > 1:
            return high % (by // unit) * unit + low
        return Index(0, ((Part("%", rest, by), 1),))

    def within(self, size: int) -> bool:
        """Whether it is surely one of 0, 1, ..., size - 1."""
        found = self.range
        return found is not None and found[0] >= 0 and found[1] < size

    def _divided(self, by: int) -> tuple[Index, Index]:
        """The multiples of `by`, divided by it, and the other terms."""
        multiples = tuple((a, c // by) for a, c in self.terms if c % by == 0)
        others = tuple((a, c) for a, c in self.terms if c % by)
        return Index(self.constant // by, multiples), Index(self.constant % by, others)

    def _in_units(self, by: int) -> tuple[int, Index, Index]:
        """A divisor of `by`, how many of it there are, and what is less than one; or 1."""
        for unit in sorted({c for _, c in self.terms if c > 1 and by % c == 0}, reverse=True):
            high, low = self._divided(unit)
            if low.within(unit):
                return unit, high, low
        return 1, self, Index()

    def variables(self) -> frozenset[Var]:
        """The loops' variables that it depends on."""
        found: frozenset[Var] = frozenset()
        for atom, _ in self.terms:
            if isinstance(atom, Var):
                found |= {atom}
            else:
                found |= atom.of.variables() if isinstance(atom, Part) else atom.variables
        return found

    def strides(self, variables: Sequence[Var]) -> tuple[int, ...] | None:
        """The coefficients of these variables where there is nothing else in it; else None."""
        found = dict.fromkeys(variables, 0)
        for atom, coefficient in self.terms:
            if not isinstance(atom, Var) or atom not in found:
                return None
            found[atom] = coefficient
        return tuple(found.values())


def index_of(var: Var) -> Index:
    """The index that a loop's variable is; 0 where the loop runs once."""
    return Index(0, ((var, 1),)) if var.size != 1 else Index()


def _range(atom: Var | Part | Scalar) -> tuple[int, int] | None:
    if isinstance(atom, Var):
        return 0, max(atom.size - 1, 0)
    if isinstance(atom, Part):
        if atom.kind == "%":
            return 0, atom.by - 1
        inner = atom.of.range
        return None if inner is None else (inner[0] // atom.by, inner[1] // atom.by)
    return atom.range


def _key(atom: Var | Part | Scalar) -> tuple[int, object]:
    if isinstance(atom, Var):
        return 0, atom.name
    return (1, str((atom.kind, atom.of, atom.by))) if isinstance(atom, Part) else (2, atom.number)


def _sum(constant: int, terms: Iterable[tuple[Var | Part | Scalar, int]]) -> Index:
    totals: dict[Var | Part | Scalar, int] = {}
    for atom, coefficient in terms:
        totals[atom] = totals.get(atom, 0) + coefficient
    # c*(x % k) + c*k*(x // k) is c*x
    for atom in [a for a in totals if isinstance(a, Part) and a.kind == "%"]:
        assert isinstance(atom, Part)
        coefficient = totals[atom]
        whole = Part("//", atom.of, atom.by)
        if coefficient and totals.get(whole) == coefficient * atom.by:
            del totals[atom], totals[whole]
            rest = [(a, c) for a, c in totals.items() if c]
            joined = atom.of * coefficient
            return _sum(constant + joined.constant, (*rest, *joined.terms))
    kept = sorted(((a, c) for a, c in totals.items() if c), key=lambda term: _key(term[0]))
    return Index(constant, tuple(kept))


def flat(places: Sequence[Index], shape: Sequence[int]) -> Index:
    """The place in a contiguous array of this shape."""
    total = Index()
    for place, size in zip(places, shape, strict=True):
        total = total * size + place
    return total


def unflat(place: Index, shape: Sequence[int]) -> tuple[Index, ...]:
    """The indices, one an axis, of a place in a contiguous array of this shape."""
    found = []
    for axis, size in enumerate(shape):
        after = prod(shape[axis + 1 :])
        whole = place // after if after else Index()
        found.append(whole % size if axis and size else whole)
    return tuple(found)
