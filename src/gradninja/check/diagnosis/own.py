"""Edits of the person's own locals, which no truth is known of, by the parts that derive names."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from gradninja.check.diagnosis import build
from gradninja.check.diagnosis.facts import Facts
from gradninja.check.diagnosis.kinds import Kind
from gradninja.check.diagnosis.statements import Change, Edit


def restorations(facts: Facts, statements: Sequence[ast.stmt]) -> Iterator[Edit]:
    """A local that lines read and no line binds: the line that is missing, put in before."""
    if facts.unbound is None:
        return
    names = [build.name(name) for name in sorted(facts.reach) if facts.is_float(build.name(name))]
    values = [*facts.parts, *names, *(build.negative(name) for name in names)]
    for value in values:
        new = build.assign(facts.unbound, value)
        if _names(value) <= facts.reach:
            change = Change(None, new)
            yield Edit(1.6, Kind.MISSING_LINE, (change,), (new, *statements), before=(new,))


def rewritings(facts: Facts, statements: Sequence[ast.stmt]) -> Iterator[Edit]:
    """A local's line as derive writes one of its parts."""
    for index, statement in enumerate(statements):
        target = _own_target(facts, statement)
        if target is None:
            continue
        for value in facts.parts:
            new = build.assign(target, value)
            if _names(value) <= facts.reach:
                rest = (*statements[:index], new, *statements[index + 1 :])
                yield Edit(6.0, Kind.UNKNOWN, (Change(statement, new),), rest, was=statement)


def _own_target(facts: Facts, statement: ast.stmt) -> str | None:
    target = None
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    elif isinstance(statement, ast.AugAssign):
        target = statement.target
    if isinstance(target, ast.Name) and target.id not in facts.gradients:
        return target.id
    return None


def _names(value: ast.expr) -> set[str]:
    found = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    return found - {"torch", "F", "math"}
