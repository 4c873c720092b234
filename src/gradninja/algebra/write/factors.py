"""The factors of a product on their way to text: grouped by size, masks apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import torch

from gradninja.algebra.write.tree import Leaf, Product, Total, Tree, leaves

Item = tuple[Tree, Fraction, bool]  # a factor, its power, and whether it divides


def masked(items: list[Item]) -> tuple[list[Item], list[Leaf]]:
    """The factors of a product but for the masks that select from it; and those masks."""
    left: list[Item] = []
    masks: list[Leaf] = []
    for part, power, down in items:
        if isinstance(part, Leaf) and part.node.selects and not down:
            masks.append(part)
        else:
            left.append((part, power, down))
    return (left, masks) if any(has_float(p) for p, _, _ in left) else (items, [])


def unsigned(tree: Product) -> Product:
    """`b - a` for `-(a - b)`."""
    if tree.number < 0:
        for at, (part, power) in enumerate(tree.parts):
            if isinstance(part, Total) and power == 1 and any(p.number < 0 for p in part.parts):
                turned = tuple(replace(p, number=-p.number) for p in part.parts)
                parts = [*tree.parts]
                parts[at] = (replace(part, parts=turned), power)
                return replace(tree, number=-tree.number, parts=tuple(parts))
    return tree


def grouped(tree: Product) -> list[tuple[Tree, Fraction]]:
    """A product's parts, those of one smaller set of indices put together."""
    groups: dict[frozenset[int], list[tuple[Tree, Fraction]]] = {}
    for part in tree.parts:
        groups.setdefault(part[0].indices, []).append(part)
    found: list[tuple[Tree, Fraction]] = []
    for indices, parts in groups.items():
        several = len(parts) > 1 and any(power > 0 for _, power in parts)
        if indices and indices != tree.indices and several:
            found.append((Product(indices, "", 0.0, Fraction(1), tuple(parts)), Fraction(1)))
        else:
            found += parts
    return found


def is_mask(part: Product) -> bool:
    """Whether it is a tensor of True and False, which cannot be subtracted."""
    return bool(part.parts) and all(
        isinstance(tree, Leaf)
        and isinstance(tree.node.value, torch.Tensor)
        and tree.node.value.dtype == torch.bool
        for tree, _ in part.parts
    )


def has_float(tree: Tree) -> bool:
    """Whether a float tensor takes part, so that ints become floats of its dtype by themselves."""
    return any(
        not leaf.node.static
        and leaf.node.hot is None
        and (leaf.node.value is None or leaf.node.value.is_floating_point())
        for leaf in leaves(tree)
    )


def bits(tree: Tree) -> int:
    """How wide the floats are that a tree is computed in; 0 for ints and bools, 64 unknown."""
    floats = (
        64
        if leaf.node.value is None
        else torch.finfo(leaf.node.dtype or leaf.node.value.dtype).bits
        for leaf in leaves(tree)
        if has_float(leaf)
    )
    return max(floats, default=0)


def narrow(tree: Product, parts: Sequence[Tree], wanted: int) -> Tree | None:
    """The factor, of those in the order in which they are written, that must be made wider.

    Plain numbers would be rounded with a first factor that is narrower than the result; and what
    has no axes does not make wider what has some: it is rounded with the first that has.
    """
    lead = next((part for part in parts if not static(part)), None)
    if lead is not None and bits(lead) < max(wanted, bits(tree)) and _is_fractional(tree):
        return lead
    first = next((part for part in parts if _has_axes(part)), None)
    if first is None or not bits(first) < min(wanted, bits(tree)):
        return None
    rounded = any(bits(part) > bits(first) for part in parts if not _has_axes(part))
    return first if rounded else None


def _has_axes(part: Tree) -> bool:
    """Whether it may have some: of one element at the sizes that it was read with, perhaps."""
    return bool(part.indices) or any(
        isinstance(leaf.node.value, torch.Tensor) and leaf.node.value.ndim > 0
        for leaf in leaves(part)
    )


def _is_fractional(tree: Product) -> bool:
    """Whether a product has plain numbers that float32 does not hold as they are."""
    below = tree.number.denominator
    return below & (below - 1) != 0 or any(
        static(part) and not (_is_size(part) and power > 0 and power.denominator == 1)
        for part, power in tree.parts
    )


def _is_size(part: Tree) -> bool:
    return isinstance(part, Leaf) and isinstance(part.node.value, int)


def static(tree: Tree) -> bool:
    """Whether it is a plain Python number."""
    if isinstance(tree, Product):
        return all(static(part) for part, _ in tree.parts)
    if isinstance(tree, Total):
        return all(map(static, tree.parts))
    return isinstance(tree, Leaf) and tree.node.static


def short(number: Fraction) -> bool:
    """Whether a fraction reads better as a decimal: 0.5, 1.5, 0.9."""
    tenths = number.numerator != 1 and 100 % number.denominator == 0
    return tenths or number.denominator in {2, 4, 8} or number.denominator > 100
