"""One turn of a loop as a forward of its own, and its backward by the same reverse walk."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from gradninja.derive.holding.against_autograd import cotangents_of
from gradninja.derive.loops.turns import Differs, Turns
from gradninja.derive.statement import Statement
from gradninja.derive.template import rebuild
from gradninja.derive.walk import Walk
from gradninja.lines import NAME, Expr, Input, Line, Program
from gradninja.lines.program import names_in
from gradninja.rules import Book


@dataclass
class Body:
    """A turn's lines, what it reads, what others read of it, and its backward.

    `before`: a carried name -> what it is called as the turn before left it; `element`: the first
    of a list's names -> the one that the turn reads; `gradients`: names -> their gradients' names.
    """

    turns: Turns
    lines: tuple[Line, ...]
    before: dict[str, str]
    element: dict[str, str]
    statements: tuple[Statement, ...]
    gradients: Mapping[str, str]
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]  # what has a gradient


def body_of(
    program: Program,
    turns: Turns,
    read_after: set[str],
    book: Book,
    style: str,
    fresh: Callable[[str], str],
) -> Body | None:
    """The body of a loop; None where no gradient goes through it. `read_after`: names after it.

    Raises:
        Differs: a turn's own name is read after the loop.
    """
    names = {each[1]: key for key, each in turns.names.items()}
    before = {key: fresh(f"{key}_prev") for key in turns.carried}
    names.update({turns.names[key][0]: before[key] for key in before})
    element = {key: fresh(f"{key}_t") for key in turns.rows}
    names.update({row[1]: element[key] for key, row in turns.rows.items()})
    lines = tuple(_renamed(line, names, turns) for line in turns.lines[1])
    values = program.values
    made = {name for line in lines for name in line.targets}
    read = dict.fromkeys(n for line in lines for n in names_in(line.expr.syntax) if n not in made)
    old = {new: name for name, new in names.items()}
    flows = _flowing(program)
    inputs = tuple(
        Input(name, values[old.get(name, name)], differentiable=old.get(name, name) in flows)
        for name in read
        if name != "t" and old.get(name, name) in values
    )
    kept = [key for key in turns.names if key in before or _listed(turns, key, read_after)]
    outputs = tuple(key for key in kept if turns.names[key][1] in flows)
    if not outputs:
        return None
    turn = Program("turn", program.file, inputs, lines, outputs, namespace=program.namespace)
    walk = Walk(turn, book, style)
    walk.run(cotangents_of(turn, {**turn.values, "t": 1}, 1))
    if walk.needs:
        raise Differs
    return Body(
        turns,
        lines,
        before,
        element,
        tuple(walk.statements),
        walk.gradient_names,
        outputs,
        tuple(i.name for i in inputs if i.differentiable),
    )


def _flowing(program: Program) -> set[str]:
    """The names that a gradient goes to."""
    found = set(program.differentiable)
    for line in program.lines:
        if line.expr.differentiable:
            found.update(
                name
                for name, value in zip(line.targets, line.outputs, strict=True)
                if isinstance(value, torch.Tensor) and (value.is_floating_point())
            )
    return found


def _listed(turns: Turns, key: str, read_after: set[str]) -> bool:
    return bool(read_after.intersection(turns.names[key]))


def _renamed(line: Line, names: Mapping[str, str], turns: Turns) -> Line:
    """A line of the second turn in the names of any turn."""

    def other(node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.Name) and node.id in names:
            return ast.Name(names[node.id], node.ctx)
        return turns.numbers.get(id(node))

    def visit(expr: Expr) -> Expr:
        return replace(
            expr,
            args=tuple(visit(part) for part in expr.args),
            kwargs={key: visit(part) for key, part in expr.kwargs.items()},
            syntax=swapped(expr),
        )

    made: dict[int, Any] = {}

    def swapped(expr: Expr) -> ast.expr:
        if id(expr.syntax) not in made:
            made[id(expr.syntax)] = rebuild(expr.syntax, other)
        found: ast.expr = made[id(expr.syntax)]
        return found

    targets = tuple(names.get(name, name) for name in line.targets)
    expr = visit(line.expr)
    assert expr.op != NAME or expr.syntax is not None
    return replace(line, targets=targets, expr=expr)
