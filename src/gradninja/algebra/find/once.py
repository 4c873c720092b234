"""What is used once needs no name, and what is not used no line.

Of parts of lines that were named for the walk, and of other names for the same.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

from gradninja.algebra.measure.cost import cost_of
from gradninja.derive.statement import Statement
from gradninja.derive.template import rebuild

WIDTH = 100  # characters of a line
WORTH = 0.015  # of what a backward costs: what a name saves that makes it longer than it was


def length(statements: Sequence[Statement]) -> int:
    """How long a text is, in lines of up to WIDTH characters."""
    return sum(ceil(len(str(statement)) / WIDTH) for statement in statements)


def put_in(statements: Sequence[Statement], kept: Collection[str]) -> list[Statement]:
    """The statements without names that are used once, put in where they are.

    `kept`: the names of gradients that stay whatever they are.
    """
    found = _needed(statements, kept)
    at = 0
    while at < len(found):
        user = _user(found, at, kept)
        if user is None:
            at += 1
            continue
        first = found.pop(at)
        assert first.value is not None
        found[user - 1] = _with(found[user - 1], first)
        at = max(0, at - 1)
    return found


def no_longer(
    statements: Sequence[Statement],
    kept: Collection[str],
    most: Sequence[Statement],
    values: Mapping[str, Any],
) -> list[Statement]:
    """Statements that are no more than `most`: the names that save least are put in.

    One that saves WORTH of all costs is worth its line.
    """
    found = list(statements)
    limit = length(most)
    scope = dict(values)  # with what the statements write
    worth = 0.0
    if len(found) > len(most):
        worth = WORTH * cost_of((s.tree() for s in found), scope, 0.0, keep=scope).total()

    def saved(at: int) -> float:
        uses = sum(_uses(s, found[at].target) for s in found)
        return cost_of([found[at].tree()], scope, 0.0).total() * (uses - 1)

    while len(found) > len(most):
        shorter = {at: _everywhere(found, at) for at in _names(found, kept)}
        limit = max(limit, length(found))
        places = [at for at, without in shorter.items() if length(without) <= limit]
        least = min(places, key=saved, default=None)
        if least is None or saved(least) > worth:
            break
        found = shorter[least]
    return found


def _names(statements: Sequence[Statement], kept: Collection[str]) -> Iterator[int]:
    """The places of names that may be put in wherever they are used."""
    for at, first in enumerate(statements):
        rest = statements[at + 1 :]
        if first.value is None or first.adds or first.clone or first.target in kept:
            continue
        reads = {node.id for node in ast.walk(first.value) if isinstance(node, ast.Name)}
        if {first.target, *reads} & {s.target for s in rest}:
            continue
        users = [s for s in rest if _uses(s, first.target)]
        if not any(_repeats(s) or (s.scatter is not None and s.target in reads) for s in users):
            yield at


def _everywhere(statements: Sequence[Statement], at: int) -> list[Statement]:
    first = statements[at]
    return [*statements[:at], *(_with(s, first) for s in statements[at + 1 :])]


def _repeats(statement: Statement) -> bool:
    """Whether something in it runs several times: a comprehension, a person's own helper."""
    kinds = ast.comprehension | ast.Lambda
    return any(isinstance(node, kinds) for node in ast.walk(_tree(statement)))


def _needed(statements: Sequence[Statement], kept: Collection[str]) -> list[Statement]:
    """Without the parts that no gradient is made of, as what cancels leaves them."""
    found: list[Statement] = []
    read = set(kept)
    for statement in reversed(statements):
        if statement.target in read:
            found.append(statement)
            read |= {node.id for node in ast.walk(_tree(statement)) if isinstance(node, ast.Name)}
    return found[::-1]


def _user(statements: list[Statement], at: int, kept: Collection[str]) -> int | None:
    """The place of the one statement that a name can be put into."""
    first = statements[at]
    value = first.value
    if value is None or first.adds or first.clone or first.target in kept:
        return None
    rest = statements[at + 1 :]
    if any(statement.target == first.target for statement in rest):
        return None
    users = [(place, uses) for place, s in enumerate(rest) if (uses := _uses(s, first.target))]
    if len(users) != 1 or users[0][1] != 1:
        return None
    place = users[0][0]
    reads = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    if reads & {statement.target for statement in rest[:place]}:
        return None  # it may have been written to by then
    user = rest[place]
    if _repeats(user):  # what it does several times, it would do with it, too
        return None
    if user.scatter is not None and user.target in reads:
        return None
    return at + 1 + place if len(str(_with(user, first))) <= WIDTH else None


def _uses(statement: Statement, name: str) -> int:
    return sum(
        isinstance(node, ast.Name) and node.id == name for node in ast.walk(_tree(statement))
    )


def _tree(statement: Statement) -> ast.AST:
    """The expression that a statement computes with."""
    tree = statement.value if statement.scatter is None else statement.scatter
    assert tree is not None
    return tree


def _with(statement: Statement, first: Statement) -> Statement:
    def swap(node: ast.AST) -> ast.AST | None:
        return first.value if isinstance(node, ast.Name) and node.id == first.target else None

    value = None if statement.value is None else rebuild(statement.value, swap)
    scatter = None if statement.scatter is None else rebuild(statement.scatter, swap)
    return replace(
        statement,
        value=value,
        scatter=scatter,
        rules=tuple(dict.fromkeys((*first.rules, *statement.rules))),
    )
