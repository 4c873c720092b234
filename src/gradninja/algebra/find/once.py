"""What is used once needs no name, and what is not used no line.

Of parts of lines that were named for the walk, and of other names for the same.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Sequence
from dataclasses import replace
from math import ceil

from gradninja.derive.statement import Statement
from gradninja.derive.template import rebuild

WIDTH = 100  # characters of a line


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
    # What a person's own helper does twice, a comprehension or a scatter, it would do with it, too.
    if any(isinstance(node, ast.comprehension | ast.Lambda) for node in ast.walk(_tree(user))):
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
