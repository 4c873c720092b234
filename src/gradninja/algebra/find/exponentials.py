"""What the exponential of a named value is: of `logprobs = norm - total.log()`, counts / total."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import partial

import torch

from gradninja.algebra.find.extract import Foldable
from gradninja.algebra.index.axes import method
from gradninja.algebra.index.graph import Graph, Node
from gradninja.algebra.index.normal import Normal
from gradninja.algebra.index.terms import ONE, Factor, Term


def exponentials(normal: Normal, known: dict[str, Node]) -> Iterable[Foldable]:
    """`logprobs.exp()` for the terms that it is: then nothing but logprobs need be kept.

    `known` has the nodes that were made before for the same graph.
    """
    graph = normal.graph
    exps = {operand.number: node for node, operand in _functions(graph, slope=1)}
    logs = {node.number: operand for node, operand in _functions(graph, slope=-1)}
    for node in list(graph.named.values()) if exps and logs else ():
        term = _exponential(node, exps, logs)
        found = normal.normal([term]) if term is not None else []
        if len(found) != 1 or not set(node.free) <= found[0].indices:
            continue
        key = f"exp({node.number})"
        if key not in known:
            value = torch.exp(node.value)
            exp = Node(0, node.shape, value, axes=node.axes, made=3.0 * node.size)
            exp.writes = partial(method, node.text(), "exp")
            known[key] = graph.add(exp)
        yield Foldable(known[key], found[0])


def _functions(graph: Graph, slope: int) -> Iterable[tuple[Node, Node]]:
    """Every y = exp(a), of slope y, or y = log(a), of slope 1 / a: y and a."""
    for node in graph.nodes:
        if len(node.derivatives) != 1 or node.terms is not None:
            continue
        (derivative,) = node.derivatives
        of = node if slope == 1 else derivative.operand
        whole = graph.itself(of, slope * ONE)
        if derivative.at is None and derivative.terms == [whole]:
            yield node, derivative.operand


def _exponential(node: Node, exps: dict[int, Node], logs: dict[int, Node]) -> Term | None:
    """e**u / s of a sum `u - log(s)`; None where a part is neither."""
    powers: list[tuple[Factor, Fraction]] = []
    if node.line is None or len(node.terms or ()) < 2:
        return None
    for term in node.terms or ():
        if abs(term.coefficient) != 1 or term.bound or len(term.powers) != 1:
            return None
        ((atom, indices), power) = term.powers[0]
        of = exps.get(atom) or logs.get(atom)
        if of is None or power != 1:
            return None
        powers.append(((of.number, indices), term.coefficient))
    return Term.of(1, powers)
