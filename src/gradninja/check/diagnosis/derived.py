"""Derived lines in the place of the person's."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradninja.check.diagnosis.candidates import build
from gradninja.check.diagnosis.contributions import Contribution
from gradninja.check.diagnosis.facts import Facts
from gradninja.derive.statement import is_view


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
            found.append(build.add_to(target, value))
        else:
            alias = often[contribution.of] > 1 and is_view(value)
            found.append(build.assign(target, build.method(value, "clone") if alias else value))
        begun.add(contribution.of)
    return tuple(found)
