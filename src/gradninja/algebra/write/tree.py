"""Expressions on the way from terms back to text: products, sums and matrix products of nodes."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from gradninja.algebra.index.graph import Node
from gradninja.algebra.measure.prices import Prices


@dataclass(frozen=True, eq=False)
class Tree:
    """An expression. `indices`: what it depends on; `key`: equal for equal expressions."""

    indices: frozenset[int]
    key: str
    cost: float  # to compute it, parts included


@dataclass(frozen=True, eq=False)
class Leaf(Tree):
    node: Node
    at: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Product(Tree):
    """`number * part**power * ...`"""

    number: Fraction
    parts: tuple[tuple[Tree, Fraction], ...]


@dataclass(frozen=True, eq=False)
class Total(Tree):
    """A sum of products."""

    parts: tuple[Product, ...]


@dataclass(frozen=True, eq=False)
class Reduced(Tree):
    """A sum, or a mean, over axes."""

    body: Tree
    over: frozenset[int]
    mean: bool = False


@dataclass(frozen=True, eq=False)
class Contracted(Tree):
    """A matrix product: the sum over axes of a product, which is never held in memory."""

    a: Tree
    b: Tree
    over: frozenset[int]


class Forest:
    """Makes trees, with their cost. `sizes`: how long the axis of an index is.

    `kept`: numbers of nodes that are at hand anyway, inputs and what was used before; any other
    named value costs the memory that it is kept in.
    """

    def __init__(self, sizes: Mapping[int, int], prices: Prices, kept: Container[int]) -> None:
        self.sizes = sizes
        self.prices = prices
        self.kept = kept

    def numel(self, indices: Iterable[int]) -> float:
        found = 1.0
        for index in indices:
            found *= self.sizes[index]
        return found

    def leaf(self, node: Node, at: tuple[int, ...]) -> Leaf:
        cost = 0.0
        if node.name is None and not node.static:
            cost = node.made + self.prices.call
        elif not node.static and node.number not in self.kept:
            cost = self.prices.keep * self.numel(at)
        return Leaf(frozenset(at), f"{node.number}{list(at)}", cost, node, at)

    def product(self, number: Fraction, parts: Iterable[tuple[Tree, Fraction]]) -> Product:
        ordered = sorted(parts, key=_rank)
        cost, sofar, operands = 0.0, frozenset[int](), 0
        above, below = number.numerator not in (1, -1), number.denominator != 1
        for tree, power in ordered:
            cost += tree.cost
            if isinstance(tree, Leaf) and tree.node.static:
                positive = power.numerator > 0
                above, below = above or positive, below or not positive
                continue
            if power.denominator != 1 or power.numerator not in (1, -1):
                cost += 2 * self.numel(tree.indices) + self.prices.call
            both = sofar | tree.indices
            if operands:
                cost += (
                    self.numel(sofar)
                    + self.numel(tree.indices)
                    + self.numel(both)
                    + self.prices.call
                )
            operands += 1
            sofar = both
        tensors = [(t, p) for t, p in ordered if not (isinstance(t, Leaf) and t.node.static)]
        if tensors and (above or below or all(p.numerator < 0 for _, p in tensors)):
            # Numbers are put together first, and scale the smallest factor.
            cost += 2 * self.numel(tensors[0][0].indices) + self.prices.call
        key = f"{number}*" + "*".join(f"{t.key}^{p}" for t, p in ordered)
        return Product(sofar, f"({key})", cost, number, tuple(ordered))

    def total(self, parts: Iterable[Product]) -> Tree:
        parts = tuple(parts)
        if len(parts) == 1:
            return simple(parts[0])
        indices = frozenset[int]().union(*(p.indices for p in parts))
        cost = sum(p.cost for p in parts)
        sofar = frozenset[int]()
        for at, part in enumerate(sorted(parts, key=lambda p: len(p.indices))):
            both = sofar | part.indices
            if at:
                cost += (
                    self.numel(sofar)
                    + self.numel(part.indices)
                    + self.numel(both)
                    + self.prices.call
                )
            sofar = both
        return Total(indices, "(" + "+".join(sorted(p.key for p in parts)) + ")", cost, parts)

    def reduced(self, body: Tree, over: frozenset[int], mean: bool = False) -> Tree:
        left = body.indices - over
        cost = body.cost + self.numel(body.indices) + self.numel(left) + self.prices.call
        name = "mean" if mean else "sum"
        return Reduced(left, _key(f"{name}{body.key}", over), cost, body, over, mean)

    def contracted(self, a: Tree, b: Tree, over: frozenset[int]) -> Tree:
        left = (a.indices | b.indices) - over
        cost = a.cost + b.cost + self.numel(a.indices) + self.numel(b.indices) + self.numel(left)
        cost += 2 * self.numel(a.indices | b.indices) * self.prices.multiply + 2 * self.prices.call
        return Contracted(left, _key(f"mat[{a.key},{b.key}]", over), cost, a, b, over)


def _key(text: str, over: frozenset[int]) -> str:
    """The key of a sum: what its bound indices are called does not matter."""
    names: dict[str, str] = {}

    def rename(found: re.Match[str]) -> str:
        index = found.group()
        return names.setdefault(index, f"b{len(names)}") if int(index) in over else index

    return re.sub(r"(?<=[\[ ])\d+(?=[\],])", rename, text)


def _rank(part: tuple[Tree, Fraction]) -> tuple[int, str]:
    return len(part[0].indices), part[0].key


def simple(tree: Tree) -> Tree:
    """A product of one thing is that thing."""
    if isinstance(tree, Product) and tree.number == 1 and len(tree.parts) == 1:
        part, power = tree.parts[0]
        if power == 1:
            return part
    return tree


def as_product(forest: Forest, tree: Tree) -> Product:
    return tree if isinstance(tree, Product) else forest.product(Fraction(1), [(tree, Fraction(1))])


def leaves(tree: Tree) -> list[Leaf]:
    """All leaves below a tree."""
    if isinstance(tree, Leaf):
        return [tree]
    below: Sequence[Tree] = ()
    if isinstance(tree, Product):
        below = [t for t, _ in tree.parts]
    elif isinstance(tree, Total):
        below = tree.parts
    elif isinstance(tree, Reduced):
        below = [tree.body]
    elif isinstance(tree, Contracted):
        below = [tree.a, tree.b]
    return [leaf for part in below for leaf in leaves(part)]
