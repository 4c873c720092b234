"""A pass over a program: parts of expressions that the backward needs get names of their own."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from gradninja.derive.template import rebuild
from gradninja.lines import ITEM, NAME, STATIC, TUPLE, Expr, Line, Program
from gradninja.lines.plain import continuous

SYMBOL_NAMES = {
    "+": "sum",
    "-": "diff",
    "*": "prod",
    "/": "quot",
    "**": "pow",
    "@": "matmul",
    "[]": "part",
    "neg": "neg",
}


def temporary_name(line: Line, expr: Expr, taken: set[str]) -> str:
    """A name for a part of a line: the line's own name and what the part does (`h_matmul`)."""
    operation = expr.op.rpartition(".")[2] or expr.op
    base = f"{line.name}_{SYMBOL_NAMES.get(expr.op, operation)}"
    name, count = base, 1
    while name in taken or not name.isidentifier():
        count += 1
        base = base if base.isidentifier() else f"{line.name}_part"
        name = f"{base}{count}"
    taken.add(name)
    return name


def taken_names(program: Program) -> set[str]:
    """Every name that the program binds."""
    names = {given.name for given in program.inputs}
    for line in program.lines:
        names.update(line.targets)
    return names


def name_temporaries(program: Program, wanted: Iterable[Expr]) -> Program:
    """The same program with the wanted parts of its lines on lines of their own."""
    ids = {id(expr) for expr in wanted}
    taken = taken_names(program)
    lines: list[Line] = []
    for line in program.lines:
        lines.extend(_split(line, ids, taken))
    return replace(program, lines=tuple(lines))


def _split(line: Line, ids: set[int], taken: set[str]) -> Iterator[Line]:
    parts: list[Line] = []
    known: dict[int, Expr] = {}  # what stands in two places is one value, with one name

    def visit(expr: Expr) -> Expr:
        if id(expr) not in known:
            known[id(expr)] = named(expr)
        return known[id(expr)]

    def named(expr: Expr) -> Expr:
        if expr.op == ITEM and id(expr.args[0]) in ids:
            at: int = expr.args[1].value
            return visit(expr.args[0]).args[at]
        args = tuple(visit(arg) for arg in expr.args)
        kwargs = {key: visit(value) for key, value in expr.kwargs.items()}
        changed = any(a is not b for a, b in zip(args, expr.args, strict=True)) or any(
            kwargs[key] is not expr.kwargs[key] for key in kwargs
        )
        found = expr
        if changed:
            old = [*expr.args, *expr.kwargs.values()]
            new = [*args, *kwargs.values()]
            swaps = {id(a.syntax): b.syntax for a, b in zip(old, new, strict=True) if a is not b}
            syntax = rebuild(expr.syntax, _swap(swaps))
            found = replace(expr, args=args, kwargs=kwargs, syntax=syntax)
        if id(expr) not in ids or expr is line.expr or expr.op in (NAME, STATIC, TUPLE):
            return found
        several = isinstance(expr.value, tuple)
        values = expr.value if several else (expr.value,)
        names = tuple(temporary_name(line, expr, taken) for _ in values)
        parts.append(replace(line, targets=names, expr=found))
        held = tuple(_under(name, value, expr) for name, value in zip(names, values, strict=True))
        return replace(found, op=TUPLE, args=held, kwargs={}) if several else held[0]

    whole = visit(line.expr)
    yield from parts
    yield line if whole is line.expr else replace(line, expr=whole)


def _under(name: str, value: Any, expr: Expr) -> Expr:
    """A value of an expression, read by its name."""
    return replace(
        expr,
        op=NAME,
        args=(),
        kwargs={},
        syntax=ast.Name(name, ast.Load()),
        value=value,
        differentiable=expr.differentiable and continuous(value),
        random=False,
    )


def _swap(swaps: dict[int, ast.expr]) -> Callable[[ast.AST], ast.AST | None]:
    return lambda node: swaps.get(id(node))
