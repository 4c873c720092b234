"""Edits of the person's own locals, which no truth is known of, by the parts that derive names."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from gradninja.check.diagnosis.candidates import trees
from gradninja.check.diagnosis.candidates.costs import Cost
from gradninja.check.diagnosis.candidates.statement_edits import Change, Edit
from gradninja.check.diagnosis.facts import Facts
from gradninja.check.diagnosis.kinds import Kind
from gradninja.check.given.plan import bound, written


def restorations(facts: Facts, statements: Sequence[ast.stmt]) -> Iterator[Edit]:
    """A local that lines read and no line binds: the line that is missing, put in before."""
    if facts.unbound is None:
        return
    names = [trees.name(name) for name in sorted(facts.reach) if facts.is_float(trees.name(name))]
    values = [*facts.parts, *names, *(trees.negative(name) for name in names)]
    for value in values:
        new = trees.assign(facts.unbound, value)
        if _names(value) <= facts.reach:
            change = Change(None, new)
            rest = (new, *statements)
            yield Edit(Cost.LOCAL, Kind.MISSING_LINE, (change,), rest, before=(new,))


def rewritings(facts: Facts, statements: Sequence[ast.stmt]) -> Iterator[Edit]:
    """A local's line as derive writes one of its parts."""
    right = proven(facts, statements)
    for index, statement in enumerate(statements):
        name = target(facts, statement)
        if name is None or name in right:
            continue
        for value in facts.parts:
            new = trees.assign(name, value)
            if _names(value) <= facts.reach:
                rest = (*statements[:index], new, *statements[index + 1 :])
                change = Change(statement, new)
                yield Edit(Cost.REWRITTEN, Kind.UNKNOWN, (change,), rest, was=statement)


def proven(facts: Facts, statements: Sequence[ast.stmt]) -> set[str]:
    """The locals that hold a true gradient, or what a part of derive's does.

    Of two with one value, the first; before the gradient of a loss comes in, or after.
    """
    return _told(facts, statements, facts.incoming)


def opposed(facts: Facts, statements: Sequence[ast.stmt]) -> set[str]:
    """The locals that hold minus a true gradient, or minus such a part."""
    return _told(facts, statements, [-one for one in facts.incoming])


def _told(facts: Facts, statements: Sequence[ast.stmt], times: Sequence[Any]) -> set[str]:
    parts = [part for part in map(facts.tensor, facts.parts) if part is not None]
    parts += facts.truths
    found: set[str] = set()
    for statement in statements:
        name = target(facts, statement)
        value = facts.scope.get(name) if name is not None else None
        if not isinstance(value, torch.Tensor) or value.dtype == torch.bool:
            continue
        left = [part for part in parts if not any(_equal(value * one, part) for one in times)]
        if name is not None and len(left) < len(parts):
            found.add(name)
            parts = left
    return found


def sound(facts: Facts, loop: ast.stmt) -> set[int]:
    """The ids of the statements of a loop's body that gradients which are right come from."""
    body = getattr(loop, "body", [])
    needed, grew = set(facts.right), True
    found: set[int] = set()
    while grew:
        grew = False
        for statement in body:
            names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
            if id(statement) not in found and needed & {*bound(statement), *written(statement)}:
                found.add(id(statement))
                needed |= names
                grew = True
    return found


def _equal(value: Any, part: torch.Tensor) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.shape == part.shape
        and value.is_floating_point() == part.is_floating_point()
        and torch.allclose(value.double(), part.double(), rtol=1e-9, atol=1e-12)
    )


def target(facts: Facts, statement: ast.stmt) -> str | None:
    """The person's own local that a statement gives a value; None for other statements."""
    node = None
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        node = statement.targets[0]
    elif isinstance(statement, ast.AugAssign):
        node = statement.target
    if isinstance(node, ast.Name) and node.id not in facts.gradients:
        return node.id
    return None


def _names(value: ast.expr) -> set[str]:
    found = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    return found - {"torch", "F", "math"}
