"""Fractions of one exponential in terms of a named value: e / (1 + e)**2 is s * (1 - s).

With B = c + b * E for an atom E, every power of E and every other such sum over B is a polynomial
in 1 / B; and a named value that is linear in 1 / B, as a sigmoid or a tanh is, takes its place.
Without one, 1 / (1 + e**-x) is the library's sigmoid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from gradninja.algebra.index.graph import Node
from gradninja.algebra.index.normal import Normal
from gradninja.algebra.index.sigmoids import has_signs, inverse_of_sum, without_signs
from gradninja.algebra.index.terms import Factor, Powers, Term, collect

Polynomial = dict[int, Fraction]  # power -> coefficient


@dataclass(frozen=True)
class Affine:
    """`constant + slope * E` for an atom E."""

    atom: int
    constant: Fraction
    slope: Fraction


def affine(normal: Normal, node: Node) -> Affine | None:
    """A node of two terms, a number and a multiple of one atom with the node's own indices."""
    if node.static or node.terms is None or len(node.terms) != 2:
        return None
    terms = normal.normal(node.terms)
    numbers = [t for t in terms if not t.powers]
    others = [t for t in terms if t.powers]
    if len(numbers) != 1 or len(others) != 1 or others[0].bound or len(others[0].powers) != 1:
        return None
    ((atom, indices), power) = others[0].powers[0]
    if power != 1 or indices != node.free:
        return None
    return Affine(atom, numbers[0].coefficient, others[0].coefficient)


def rational(
    normal: Normal, terms: Sequence[Term], dividing: Mapping[int, Sequence[tuple[Node, Term]]]
) -> Iterator[list[Term]]:
    """The same terms, fractions of one sum written by a named value that is linear in it.

    `dividing`: named values and what they are, by the atoms that they are divided by.
    """
    nodes = normal.graph.nodes
    below = {f for t in terms for f, p in t.powers if p < 0 and p.denominator == 1}
    for factor in sorted(below):
        base = affine(normal, nodes[factor[0]])
        if base is None:
            continue
        named = dividing.get(factor[0], ())
        inverse = _by_name(normal, factor, base, named) or _by_sigmoid(normal, factor, base)
        found = inverse and _rewritten(normal, terms, factor, base, inverse)
        if found and inverse and has_signs(normal.graph, inverse):
            # Away from 0 it is right; where no sign is left over, so that it is smooth, at 0, too.
            found = without_signs(normal.graph, found)
            found = None if has_signs(normal.graph, found) else found
        if found:
            yield found


def _by_name(
    normal: Normal, factor: Factor, base: Affine, named: Sequence[tuple[Node, Term]]
) -> list[Term] | None:
    """1 / B as a named value that is linear in it."""
    for node, form in named:
        if len(node.free) != len(factor[1]):
            continue
        value = _laurent(normal, form, (factor[0], node.free), base)
        if value is None or set(value[0]) - {0, -1} or not value[0].get(-1) or value[1]:
            continue
        alpha, beta = value[0].get(0, Fraction(0)), value[0][-1]
        itself = normal.graph.itself(node, indices=factor[1])
        return [Term.of(-alpha / beta, []), itself.scaled(1 / beta)]
    return None


def _by_sigmoid(normal: Normal, factor: Factor, base: Affine) -> list[Term] | None:
    """1 / B as the library's sigmoid, for B a multiple of 1 + e**u."""
    if base.constant != base.slope:
        return None
    found = inverse_of_sum(normal.graph, normal.graph.nodes[base.atom], factor[1])
    return found and [term.scaled(1 / base.constant) for term in found]


def _laurent(
    normal: Normal, term: Term, factor: Factor, base: Affine
) -> tuple[Polynomial, Powers] | None:
    """A term as a polynomial in a factor B (powers may be negative), times what is left over."""
    nodes = normal.graph.nodes
    found: Polynomial = {0: term.coefficient}
    left = []
    for (atom, indices), power in term.powers:
        if indices != factor[1] or power.denominator != 1:
            left.append(((atom, indices), power))
        elif atom == factor[0]:
            found = {p + int(power): c for p, c in found.items()}
        else:
            line = Affine(atom, Fraction(0), Fraction(1))
            line = line if atom == base.atom else affine(normal, nodes[atom]) or line
            if line.atom != base.atom or power < 0:
                left.append(((atom, indices), power))
                continue
            # constant + slope * E, with E = (B - c) / b
            slope = line.slope / base.slope
            constant = line.constant - slope * base.constant
            for _ in range(int(power)):
                found = _times(found, {0: constant, 1: slope})
    return {p: c for p, c in found.items() if c}, tuple(left)


def _rewritten(
    normal: Normal,
    terms: Sequence[Term],
    factor: Factor,
    base: Affine,
    inverse: Sequence[Term],
) -> list[Term] | None:
    """The terms with 1 / B as the sum `inverse`; None where a positive power of B stays."""
    found: list[Term] = []
    for term in terms:
        if set(factor[1]) & term.bound:
            return None
        laurent = _laurent(normal, term, factor, base)
        if laurent is None or any(power > 0 for power in laurent[0]):
            return None
        for power, coefficient in laurent[0].items():
            step = [Term.of(coefficient, laurent[1], term.bound)]
            for _ in range(-power):
                step = [a.times(b) for a in step for b in inverse]
            found += step
    return collect(found)


def _times(a: Polynomial, b: Polynomial) -> Polynomial:
    found: Polynomial = {}
    for p, c in a.items():
        for q, d in b.items():
            found[p + q] = found.get(p + q, Fraction(0)) + c * d
    return found
