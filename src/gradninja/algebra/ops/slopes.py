"""Slopes in index notation, read from the text of a row of the rule book.

A row of an elementwise operation gives each operand's gradient as a product with `g`: what `g` is
multiplied with is the slope. Sums, products, quotients, roots and powers of the operands and the
result become terms; a function in it is an atom, `torch.cos(a)`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from fractions import Fraction

import torch

from gradninja.algebra.index.graph import Derivative, Graph, Node
from gradninja.algebra.index.terms import ONE, Indices, Term
from gradninja.algebra.ops.arithmetic import base, broadcast
from gradninja.algebra.ops.lowering import Lowering, NotLowered, otherwise
from gradninja.algebra.ops.plain_numbers import fraction
from gradninja.derive import template as templates
from gradninja.lines.scope import LIBRARY, value_of
from gradninja.rules import Rule, Site

ROOTS = {"torch.sqrt": Fraction(1, 2), "torch.rsqrt": Fraction(-1, 2)}


def sum_of(graph: Graph, terms: list[Term], like: Node) -> Node:
    """A sum of terms as one atom, such as `1 - h**2`."""
    return graph.add(Node(0, like.shape, None, axes=like.axes, terms=terms, atomic=True))


def takes(rule: Rule) -> bool:
    """Whether all gradients of a row are products with `g`, as they stand in the book."""
    return rule.elementwise and all(
        isinstance(text, str) and _is_product(ast.parse(text, mode="eval").body)
        for text in rule.backward.values()
    )


@otherwise(takes)
def function(low: Lowering, site: Site) -> Node:
    """An elementwise operation as an atom, each operand's slope read from the row."""
    formals = [f for f in site.rule.backward if f in site.bound and site.is_tensor(f)]
    if not any(site.flows(f) for f in formals):
        raise NotLowered(str(site.expr))
    operands = {f: low.node(site.bound[f]) for f in formals}
    y = low.graph.add(Node(0, tuple(site.y.shape), site.y, made=2.0 * site.y.numel()))
    indices = broadcast(low.graph, y.shape, [y, *operands.values()])
    low.entitle(y, site)
    where = dict(zip(["y", *formals], indices, strict=True))
    slopes = Slopes(low, site, {"y": y, **operands}, where)
    # The slopes' own atoms come before the node in the walk, so they get no gradient.
    y.derivatives = tuple(Derivative(operands[f], *slopes.of(f)) for f in formals if site.flows(f))
    return y


class Slopes:
    """Reads one row's texts at one place. All values stand over the result's indices."""

    def __init__(
        self, low: Lowering, site: Site, nodes: Mapping[str, Node], where: Mapping[str, Indices]
    ) -> None:
        self.low, self.graph, self.site = low, low.graph, site
        self.nodes, self.where = nodes, where

    def of(self, formal: str) -> tuple[list[Term], Indices | None]:
        """The slope by one operand, over the operand's indices, and where the result stands then.

        An operand that was broadcast has fewer indices: the others are negative, and summed.
        """
        text = self.site.rule.backward[formal]
        assert isinstance(text, str)
        tree = ast.parse(text, mode="eval").body
        mine, free = self.where[formal], self.where["y"]
        terms = self._factor_of_g(tree)
        if mine == free:
            return terms, None
        names = {i: mine.index(i) if i in mine else -1 - i for i in free}
        return [term.renamed(names) for term in terms], tuple(names[i] for i in free)

    def _factor_of_g(self, tree: ast.expr) -> list[Term]:
        """What `g` is multiplied with; it stands in a product, or alone."""
        if isinstance(tree, ast.Name) and tree.id == "g":
            return [Term.of(1, [])]
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
            return [term.scaled(-1) for term in self._factor_of_g(tree.operand)]
        if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Mult):
            sides = (tree.left, tree.right) if _has_g(tree.left) else (tree.right, tree.left)
            return self._times(self._factor_of_g(sides[0]), self._terms(sides[1]))
        if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Div) and _has_g(tree.left):
            below = self._power(self._terms(tree.right), Fraction(-1))
            return self._times(self._factor_of_g(tree.left), [below])
        raise AssertionError(ast.unparse(tree))  # not a product with `g`: see `takes`

    def _terms(self, tree: ast.expr) -> list[Term]:
        """A text without `g` as a sum of terms."""
        if isinstance(tree, ast.Constant):
            return [self._number(tree)]
        if isinstance(tree, ast.Name) and tree.id in self.nodes:
            return [self._itself(self.nodes[tree.id], self.where[tree.id])]
        if not any(isinstance(n, ast.Name) and n.id in self.nodes for n in ast.walk(tree)):
            return [self._number(tree)]
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
            return [term.scaled(-1) for term in self._terms(tree.operand)]
        if isinstance(tree, ast.BinOp):
            return self._combined(tree)
        if isinstance(tree, ast.Call) and ast.unparse(tree.func) in ROOTS:
            return [self._power(self._terms(tree.args[0]), ROOTS[ast.unparse(tree.func)])]
        return [self._atom(tree)]

    def _combined(self, tree: ast.BinOp) -> list[Term]:
        if isinstance(tree.op, ast.Pow):
            exponent = tree.right
            power = fraction(exponent.value) if isinstance(exponent, ast.Constant) else None
            return (
                [self._atom(tree)]
                if power is None
                else [self._power(self._terms(tree.left), power)]
            )
        left, right = self._terms(tree.left), self._terms(tree.right)
        if isinstance(tree.op, ast.Add):
            return left + right
        if isinstance(tree.op, ast.Sub):
            return left + [term.scaled(-1) for term in right]
        if isinstance(tree.op, ast.Mult):
            return self._times(left, right)
        if isinstance(tree.op, ast.Div):
            return self._times(left, [self._power(right, Fraction(-1))])
        return [self._atom(tree)]

    # -- parts ------------------------------------------------------------------------------

    def _itself(self, node: Node, at: Indices, power: Fraction = ONE) -> Term:
        return self.graph.itself(node, power, at)

    def _number(self, tree: ast.expr) -> Term:
        """A number as it is written."""
        written = templates.substitute(tree, self._arguments(tree))
        found = fraction(written.value) if isinstance(written, ast.Constant) else None
        if found is not None:
            return Term.of(found, [])
        return self.graph.itself(self.graph.scalar(ast.unparse(written)))

    def _arguments(self, tree: ast.expr) -> dict[str, Callable[[], ast.expr]]:
        """The plain arguments that a text reads, as they are written; each must stay as it is."""
        found = {}
        for formal, expr in self.site.bound.items():
            if formal not in self.nodes and _names(tree, formal):
                if not self.site.fixed(formal):
                    raise NotLowered(f"`{formal}` may be another the next time")
                found[formal] = _constantly(expr.syntax)
        return found

    def _one(self, terms: list[Term]) -> Term:
        """A sum as one factor."""
        if len(terms) == 1:
            return terms[0]
        y = self.nodes["y"]
        return self._itself(sum_of(self.graph, terms, y), self.where["y"])

    def _times(self, left: list[Term], right: list[Term]) -> list[Term]:
        return [self._one(left).times(self._one(right))]

    def _power(self, terms: list[Term], power: Fraction) -> Term:
        term = self._one(terms)
        whole = power.denominator == 1
        if term.coefficient != 1 and not whole:
            return self._itself(sum_of(self.graph, terms, self.nodes["y"]), self.where["y"], power)
        for (atom, _), _ in term.powers:
            base(self.graph, self.graph.nodes[atom], power)
        coefficient = Fraction(term.coefficient) ** int(power) if whole else Fraction(1)
        return Term.of(coefficient, [(factor, p * power) for factor, p in term.powers])

    def _atom(self, tree: ast.expr) -> Term:
        """A function of the operands and the result, with its value on what was read."""
        y = self.nodes["y"]
        match tree:
            case ast.Call(args=[ast.BinOp() | ast.UnaryOp() as within], keywords=[]):
                inner = sum_of(self.graph, self._terms(within), y)
                applied = (ast.unparse(tree.func), inner)
                node = Node(0, y.shape, None, axes=y.axes, applied=applied, made=5.0 * y.size)
                return self._itself(self.graph.add(node), self.where["y"])
        names = {n: node.text for n, node in self.nodes.items()} | self._arguments(tree)
        values = {f: self.site.bound[f].value for f in self.site.bound} | {"y": self.site.y}
        with torch.no_grad():
            value = value_of(tree, {**LIBRARY, **values})
        if not isinstance(value, torch.Tensor) or value.shape != y.shape:
            value = torch.as_tensor(value).expand(y.shape)

        def syntax() -> ast.expr:
            found: ast.expr = templates.substitute(tree, names)
            return found

        node = Node(0, y.shape, value, axes=y.axes, writes=syntax, made=2.0 * y.size)
        return self._itself(self.graph.add(node), self.where["y"])


def _constantly(syntax: ast.expr) -> Callable[[], ast.expr]:
    return lambda: syntax


def _is_product(tree: ast.expr) -> bool:
    """Whether `g` is a factor of it, and occurs nowhere else."""
    match tree:
        case ast.Name(id="g"):
            return True
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _is_product(inner)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return (_is_product(left) and not _has_g(right)) or (
                _is_product(right) and not _has_g(left)
            )
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _is_product(left) and not _has_g(right)
    return False


def _has_g(tree: ast.expr) -> bool:
    return _names(tree, "g")


def _names(tree: ast.expr, name: str) -> bool:
    return any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(tree))
