"""Variances and deviations in index notation, by the mean and what is left when it is taken off."""

from __future__ import annotations

import ast
from fractions import Fraction

import torch

from gradninja.algebra.index.axes import method
from gradninja.algebra.index.graph import Derivative, Node
from gradninja.algebra.index.terms import ONE, Indices, Term
from gradninja.algebra.ops.arithmetic import powers_of, summed
from gradninja.algebra.ops.indexing import kept
from gradninja.algebra.ops.lowering import Lowering, row, several
from gradninja.rules import Site


def inverse(low: Lowering, y: Node, of: Node, at: Indices) -> Node:
    """1 / y, and 0 where y is: there the elements of `of`, whose length y is, are 0 themselves.

    PyTorch gives a norm and a deviation of 0 the gradient 0. `at`: which of `of`'s indices y has.
    """

    def syntax() -> ast.expr:
        inverted = ast.BinOp(ast.Constant(1), ast.Div(), y.text())
        zero = ast.Compare(y.text(), [ast.Eq()], [ast.Constant(0)])
        return method(inverted, "masked_fill", [zero, ast.Constant(0)])

    value = (1 / y.value).masked_fill(y.value == 0, 0)
    found = Node(0, y.shape, value, axes=y.axes, writes=syntax, made=6.0 * y.size)
    found.inverts = (y, of, at)
    return low.graph.add(found)


def rows(a: Node, dims: tuple[int, ...]) -> tuple[Indices, tuple[int, ...]]:
    """A node's indices that stay when it is summed over `dims`, and their axes."""
    left = tuple(i for i, place in enumerate(a.places) if place not in dims)
    return left, tuple(a.axes[i] for i in left)


def _mean(low: Lowering, site: Site, a: Node) -> Node:
    dims = site.dims()
    shape = tuple(1 if d in dims else size for d, size in enumerate(a.shape))
    indices, bound, scale = summed(low.graph, a, dims)
    owner = site.bound["a"].syntax
    return low.hidden(
        shape,
        a.value.mean(dims, keepdim=True),
        [Term.of(1, [((a.number, indices), ONE)], bound).times(scale)],
        lambda: kept(owner, "mean", dims),
        rows(a, dims)[1],
        2.0 * a.size,
    )


def _spread(low: Lowering, site: Site, value: torch.Tensor, mean: Node, root: bool) -> Node:
    """The mean square of what is left when the mean is taken off; or its root."""
    graph, dims = low.graph, site.dims()
    a = low.node(site.bound["a"])
    divisor = _divisor(low, site, a, dims)
    at, axes = rows(a, dims)
    terms = [graph.itself(a), powers_of(mean, at).scaled(-1)]
    left = a.value - a.value.mean(dims, keepdim=True)
    diff = low.hidden(a.shape, left, terms, None, a.axes, 4.0 * a.size)
    indices, bound, _ = summed(graph, a, dims)
    square = [Term.of(1, [((diff.number, indices), Fraction(2))], bound).times(divisor)]
    y = graph.add(Node(0, tuple(value.shape), value, axes=axes))
    if not root:
        y.terms = square
        return y
    y.squared = square
    slope = graph.itself(diff).times(powers_of(inverse(low, y, diff, at), at)).times(divisor)
    y.derivatives = (Derivative(diff, [slope], at),)
    return y


@row("var")
def _variance(low: Lowering, site: Site) -> Node:
    a = low.node(site.bound["a"])
    return _spread(low, site, site.y, _mean(low, site, a), root=False)


@row("std")
def _deviation(low: Lowering, site: Site) -> Node:
    a = low.node(site.bound["a"])
    return _spread(low, site, site.y, _mean(low, site, a), root=True)


@several("var_mean", "std_mean")
def _with_mean(low: Lowering, site: Site) -> list[Node]:
    a = low.node(site.bound["a"])
    spread, value = site.y
    indices, bound, scale = summed(low.graph, a, site.dims())
    term = Term.of(1, [((a.number, indices), ONE)], bound).times(scale)
    axes = rows(a, site.dims())[1]
    mean = low.graph.add(Node(0, tuple(value.shape), value, axes=axes, terms=[term]))
    return [_spread(low, site, spread, mean, site.rule.name == "std_mean"), mean]


def _divisor(low: Lowering, site: Site, a: Node, dims: tuple[int, ...]) -> Term:
    """1 / (n - correction)."""
    if "unbiased" in site.bound:
        correction, text = (1, "1") if site.value("unbiased") else (0, "0")
    else:
        correction, text = site.value("correction"), str(site.bound["correction"])
    _, _, scale = summed(low.graph, a, dims)
    if correction == 0 and text == "0":
        return scale
    syntax = site.bound["a"].syntax
    owner = ast.unparse(syntax) if isinstance(syntax, ast.Name) else f"({ast.unparse(syntax)})"
    extents = [low.graph.nodes[atom] for (atom, _), _ in scale.powers]
    if len(dims) == 1 and extents and extents[0].name is not None:
        count = extents[0].name
    elif len(dims) > 1 and len(dims) == len(a.shape):
        count = f"{owner}.numel()"
    else:
        count = " * ".join(f"{owner}.shape[{dim}]" for dim in dims)
    return low.graph.itself(low.graph.scalar(f"{count} - {text}"), -ONE)
