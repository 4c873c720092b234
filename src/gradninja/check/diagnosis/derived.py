"""Derived lines in the place of the person's: one variable at a time, or fused."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from gradninja.algebra.fuse import fuse
from gradninja.check.diagnosis.candidates import trees
from gradninja.check.diagnosis.contributions import Contribution
from gradninja.check.diagnosis.facts import Facts
from gradninja.derive.statement import is_view
from gradninja.errors import GradninjaError
from gradninja.lines import Line


def derived_lines(facts: Facts, variable: str) -> tuple[ast.stmt, ...]:
    """Derive's own lines for a variable's gradient, from gradients that are in reach."""
    needed, grew = {variable}, True
    gradients = facts.gradients
    while grew:
        reads = set().union(*(c.reads for c in facts.contributions if c.of in needed))
        more = {gradients[n] for n in reads if n in gradients and n not in facts.reach} - needed
        grew = bool(more)
        needed |= more
    return _written([c for c in facts.contributions if c.of in needed])


def _written(contributions: Sequence[Contribution]) -> tuple[ast.stmt, ...]:
    """`dX = ...` the first time, `dX += ...` from then on."""
    often: dict[str, int] = {}
    for contribution in contributions:
        often[contribution.of] = often.get(contribution.of, 0) + 1
    begun: set[str] = set()
    found: list[ast.stmt] = []
    for contribution in contributions:
        value, target = contribution.value, contribution.gradient
        if value is None:
            scatters = contribution.statements
            found.extend(scatters[-1:] if contribution.of in begun else scatters)
        elif contribution.of in begun:
            found.append(trees.add_to(target, value))
        else:
            alias = often[contribution.of] > 1 and is_view(value)
            found.append(trees.assign(target, trees.method(value, "clone") if alias else value))
        begun.add(contribution.of)
    return tuple(found)


def fused_lines(facts: Facts) -> tuple[ast.stmt, ...]:
    """The fused lines for the gradient; none where it is not led to by gradients in reach alone."""
    names = {variable: gradient for gradient, variable in facts.gradients.items()}
    lines, ends = _way(facts, names)
    if not ends:
        return ()
    values = facts.program.values
    bound = {target for line in lines for target in line.targets}
    given: dict[str, Any] = {facts.variable: values[facts.variable]}
    for line in lines:
        given |= {name: values[name] for name in _read(line.expr.syntax) & set(values) - bound}
    body = [*(line.code for line in lines), f"return {', '.join(ends)}"]
    text = f"def forward({', '.join(given)}):\n" + "".join(f"    {code}\n" for code in body)
    try:
        fused = fuse(text, given, [facts.variable], prefer="short")
    except GradninjaError:
        return ()
    said = {fused.gradient_names[end]: names[end] for end in ends}
    said[fused.gradient_names[facts.variable]] = facts.gradient
    return tuple(_Rename(said).visit(statement.tree()) for statement in fused.statements)


def _way(facts: Facts, names: dict[str, str]) -> tuple[list[Line], list[str]]:
    """The lines from the variable to the next names whose gradients are there, and these names."""
    program = facts.program
    reached, lines = {facts.variable}, []
    ends: list[str] = []
    for line in program.lines:
        if not (line.expr.differentiable and _read(line.expr.syntax) & reached):
            continue
        lines.append(line)
        for target in line.targets:
            (ends.append if names.get(target) in facts.reach else reached.add)(target)
    return (lines, ends) if not reached & set(program.outputs) else ([], [])


def _read(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


class _Rename(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self.names.get(node.id, node.id), node.ctx)
