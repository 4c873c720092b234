"""Edits of what is picked, and in which order: ends of an axis, positions, running sums."""

from __future__ import annotations

import ast

import torch

from gradninja.check.diagnosis.candidates import trees
from gradninja.check.diagnosis.candidates.costs import Cost
from gradninja.check.diagnosis.candidates.edits import Proposal, Proposals, is_value
from gradninja.check.diagnosis.candidates.tree_edits import Place
from gradninja.check.diagnosis.facts import Facts
from gradninja.check.diagnosis.kinds import Kind

RUNNING = frozenset({"cumsum", "logcumsumexp", "cumprod"})


def ends(place: Place, facts: Facts) -> Proposals:
    """As many from the other end: `x[-n:]` for `x[:n]`, `x[:-n]` for `x[n:]`."""
    node = place.node
    if not isinstance(node, ast.Slice) or node.step is not None:
        return
    if node.lower is None and node.upper is not None:
        other = ast.Slice(_minus(node.upper), None, None)
    elif node.upper is None and node.lower is not None:
        other = ast.Slice(None, _minus(node.lower), None)
    else:
        return
    yield Proposal(Cost.OTHER_END, Kind.WRONG_OPERATOR, other)


def _minus(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return node.operand
    return trees.negative(node)


def put_back(place: Place, facts: Facts) -> Proposals:
    """`x[order.argsort()]` for `x[order]`: what was picked in an order goes back to its places."""
    node = place.node
    if not (isinstance(node, ast.Subscript) and is_value(place)):
        return
    order = facts.tensor(node.slice)
    if order is None or order.dtype != torch.int64 or order.ndim != 1:
        return
    if torch.equal(order.sort().values, torch.arange(len(order))):
        back = ast.Subscript(node.value, trees.method(node.slice, "argsort"), ast.Load())
        yield Proposal(Cost.PUT_BACK, Kind.WRONG_OPERATOR, back)


def running(place: Place, facts: Facts) -> Proposals:
    """A sum that runs from the other end, as the gradient of a running sum does."""
    node = place.node
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return
    if node.func.attr not in RUNNING:
        return
    library = isinstance(node.func.value, ast.Name) and node.func.value.id == "torch"
    rest = node.args[1:] if library else node.args
    named = [k.value for k in node.keywords if k.arg in ("dim", "axis")]
    dims = [*rest, *named]
    if len(dims) != 1 or (library and not node.args):
        return
    dim = dims[0]
    given = node.args[0] if library else node.func.value
    turned = trees.method(given, "flip", dim)
    if library:
        inside = ast.Call(node.func, [turned, *rest], node.keywords)
    else:
        func = ast.Attribute(turned, node.func.attr, ast.Load())
        inside = ast.Call(func, node.args, node.keywords)
    yield Proposal(Cost.RUNNING, Kind.WRONG_OPERATOR, trees.method(inside, "flip", dim))
    yield Proposal(Cost.RUNNING_HALF, Kind.WRONG_OPERATOR, trees.method(node, "flip", dim))
    yield Proposal(Cost.RUNNING_HALF, Kind.WRONG_OPERATOR, inside)


def unread(place: Place, facts: Facts) -> Proposals:
    """A value that lines make and none reads, or its part for each position, where it may belong.

    Nobody makes one for nothing; least of all where None is returned.
    """
    node = place.node
    nothing = isinstance(node, ast.Constant) and node.value is None
    if not facts.unread or not is_value(place) or not (nothing or facts.is_float(node)):
        return
    if isinstance(node, ast.Name) and len(place.path) == 1:
        return
    for name in sorted(facts.unread):
        whole = trees.name(name)
        value = facts.tensor(whole)
        if value is None or not (nothing or value.ndim):
            continue
        yield Proposal(Cost.ORDER if nothing else Cost.UNREAD, Kind.WRONG_NAME, whole)
        for index in facts.tensors:
            picked = facts.scope[index]
            if picked.dtype == torch.int64 and picked.ndim == 1:
                part = ast.Subscript(whole, trees.name(index), ast.Load())
                yield Proposal(Cost.UNREAD, Kind.WRONG_NAME, part)
