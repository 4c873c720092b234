"""Plain numbers of a forward as nodes: sizes by their axis, other numbers as they are written."""

from __future__ import annotations

import ast
from fractions import Fraction
from typing import Any

import torch

from gradninja.algebra.index.graph import Graph, Node
from gradninja.algebra.index.terms import ONE, Term

DYADIC = 1 << 12  # a float with a denominator up to this is a fraction; others stay as written


def number(graph: Graph, name: str, value: Any, syntax: ast.expr | None = None) -> Node | None:
    """The node of a plain number: a product of sizes and numbers, or itself; None for no number.

    With `syntax`, a bare `name` becomes the name of the size or number that the syntax stands for.
    """
    if isinstance(value, torch.Tensor | bool) or not isinstance(value, int | float):
        return None
    term = _kept(graph, ast.Name(name) if syntax is None else syntax)
    if syntax is not None:
        term = scalar_term(graph, syntax) or term
    node = graph.add(Node(0, (), None, static=True))
    node.terms = [term]
    if name.isidentifier():
        for extent in graph.size_nodes.values():
            if term == graph.itself(extent) and extent.name is None:
                extent.name = name
    return node


def fraction(value: Any) -> Fraction | None:
    """A number as a fraction, where it is one with a small dyadic denominator."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = Fraction(value)
    except (ValueError, OverflowError):
        return None
    return found if found.denominator <= DYADIC and abs(found.numerator) < 1 << 40 else None


def scalar_term(graph: Graph, node: ast.expr) -> Term | None:
    """A number's syntax as a term; None where it is a sum, or unknown: it stays as written."""
    if isinstance(node, ast.Constant):
        found = fraction(node.value)
        if found is not None:
            return Term.of(found, [])
        return Term.of(1, [((graph.scalar(repr(node.value)).number, ()), ONE)])
    if isinstance(node, ast.Name):
        known = graph.named.get(node.id)
        return known.terms[0] if known is not None and known.static and known.terms else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = scalar_term(graph, node.operand)
        return inner and inner.scaled(-1)
    if isinstance(node, ast.BinOp):
        return _product(graph, node)
    if isinstance(node, ast.Attribute) and ast.unparse(node) in {"math.pi", "math.e"}:
        return graph.itself(graph.scalar(ast.unparse(node)))
    if isinstance(node, ast.Call) and ast.unparse(node.func) in {"math.sqrt", "float"}:
        half = ast.unparse(node.func) == "math.sqrt"
        inner = _held(graph, node.args[0])
        if half and inner is not None and not inner.powers and inner.coefficient > 0:
            inner = graph.itself(graph.literal(inner.coefficient))
        return inner and _power(inner, Fraction(1, 2) if half else ONE)
    return _size(graph, node)


def _held(graph: Graph, node: ast.expr) -> Term | None:
    """The same, where a sum of numbers is one number of its own."""
    found = scalar_term(graph, node)
    return _kept(graph, node) if found is None and isinstance(node, ast.BinOp) else found


def _kept(graph: Graph, node: ast.expr) -> Term:
    """A number as it is written; of a sum, `1 - eps`, it is known what it is the sum of."""
    scalar = graph.scalar(ast.unparse(node))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub) and not scalar.terms:
        left, right = _held(graph, node.left), _held(graph, node.right)
        if left is not None and right is not None:
            sign = 1 if isinstance(node.op, ast.Add) else -1
            scalar.terms, scalar.atomic = [left, right.scaled(sign)], True
    return graph.itself(scalar)


def _product(graph: Graph, node: ast.BinOp) -> Term | None:
    if isinstance(node.op, ast.Pow):
        left, right = _held(graph, node.left), scalar_term(graph, node.right)
        if left is None or right is None or right.powers:
            return None
        return _power(left, right.coefficient)
    if not isinstance(node.op, ast.Mult | ast.Div):
        return None
    left, right = _held(graph, node.left), _held(graph, node.right)
    if left is None or right is None:
        return None
    if isinstance(node.op, ast.Div):
        inverse = _power(right, Fraction(-1))
        return inverse and left.times(inverse)
    return left.times(right)


def _power(term: Term, power: Fraction) -> Term | None:
    """A product of positive numbers to a power; None where the number's own is no fraction."""
    if power.denominator != 1 and term.coefficient != 1:
        return None
    if term.coefficient == 0 or abs(power) > 8:
        return None
    return Term.of(
        term.coefficient ** int(power) if power.denominator == 1 else 1,
        [(factor, there * power) for factor, there in term.powers],
    )


def _size(graph: Graph, node: ast.expr) -> Term | None:
    """`x.shape[0]`, `x.size(0)`, `len(x)`, `x.numel()`."""
    owner: ast.expr
    place: ast.expr | None = None
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute):
        if node.value.attr != "shape":
            return None
        owner, place = node.value.value, node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr not in {"size", "numel"} or node.keywords:
            return None
        owner, place = node.func.value, node.args[0] if node.args else None
        if (place is None) != (node.func.attr == "numel"):
            return None
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "len" and len(node.args) == 1:
        owner, place = node.args[0], ast.Constant(0)
    else:
        return None
    known = graph.named.get(owner.id) if isinstance(owner, ast.Name) else None
    if known is None or known.static:
        return None
    places = known.places
    if place is not None:
        try:
            at = ast.literal_eval(place) % len(known.shape)
        except (ValueError, TypeError, ZeroDivisionError):
            return None
        if at not in places:
            return Term.of(1, [])
        return graph.itself(graph.extent(known.axes[places.index(at)]))
    term = Term.of(1, [])
    for axis in known.axes:
        term = term.times(graph.itself(graph.extent(axis)))
    return term
