"""Names that are bound once: every binding of a person's name gets a version of its own."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

import torch

from gradninja.lines.plain import continuous, is_plain
from gradninja.lines.program import NAME, STATIC, TUPLE, Expr, Line
from gradninja.lines.reading.state import Reading


def fresh(reading: Reading, base: str) -> str:
    """`base`, or `base_1`, `base_2`, ... where it is taken."""
    name, count = base, reading.counts.get(base, 0)
    while name in reading.taken or (count and name in reading.reserved):
        count += 1
        name = f"{base}_{count}"
    reading.taken.add(name)
    reading.counts[base] = count
    reading.made[name] = reading.depth
    return name


def add_line(reading: Reading, targets: tuple[str, ...], expr: Expr) -> None:
    number = reading.source.spot(reading.statement).line
    text = reading.source.statement(reading.statement)
    reading.lines.append(Line(targets, expr, number, text, tuple(reading.turns)))


def bind(reading: Reading, name: str, expr: Expr) -> Expr:
    """Bind a name of the person's to a value; the scope then holds what to read for it."""
    reading.scope[name] = bound = name_value(reading, name, expr)
    return bound


def name_value(reading: Reading, name: str, expr: Expr) -> Expr:
    """A value under a name like this one, with a line where it needs one."""
    reading.hold_fresh(reading.statement, expr)
    return name_version(reading, name, expr)


def name_version(reading: Reading, name: str, expr: Expr) -> Expr:
    """The same, of what a line writes to: it may share memory with the version before."""
    if expr.op == NAME and str(expr) == name and name in reading.whole_names:
        return expr  # `W1 = parameters["W1"]`
    if reading.of_object and expr.op == NAME and reading.made.get(str(expr), 0) > reading.depth:
        return _handed_out(reading, name, expr)
    if expr.op == TUPLE:
        named = [name_leaf(reading, name, element) for element in expr.args]
        bound = reading.rebuilt(reading.statement, expr, named)
    elif expr.op != STATIC and isinstance(expr.value, tuple):
        bound = name_outputs(reading, name, expr)
    elif expr.op == STATIC and not _keeps_name(expr):
        bound = expr
    else:
        target = fresh(reading, name)
        add_line(reading, (target,), expr)
        bound = reference(target, expr.value, expr)
    return bound


def _handed_out(reading: Reading, name: str, expr: Expr) -> Expr:
    """What a forward within returned under a name of its own takes the caller's name.

    Where other lines have read it by then it keeps its own, and there is no line `y = x`.
    """
    last = reading.lines[-1] if reading.lines else None
    holders = [*reading.state.values(), *reading.scope.values()]
    holders += [held for frame in reading.frames for held in frame.values()]
    kept = any(_holds(held, str(expr)) for held in holders)
    if last is None or last.targets != (str(expr),) or kept:
        return expr
    reading.taken.discard(str(expr))
    target = fresh(reading, name)
    reading.lines[-1] = replace(last, targets=(target,))
    return reference(target, expr.value, expr)


def name_outputs(reading: Reading, base: str, expr: Expr) -> Expr:
    targets = tuple(fresh(reading, f"{base}_{i}") for i in range(len(expr.value)))
    add_line(reading, targets, expr)
    several = [reference(t, v, expr) for t, v in zip(targets, expr.value, strict=True)]
    return reading.container(reading.statement, several)


def _keeps_name(expr: Expr) -> bool:
    """Whether a plain value is a line that can be read later: numbers are, a slice is not."""
    plain = isinstance(expr.value, bool | int | float | torch.Size) or (
        isinstance(expr.value, tuple) and is_plain(expr.value)
    )
    return plain and not isinstance(expr.syntax, ast.Name | ast.Slice)


def name_element(reading: Reading, base: str, value: Expr) -> Expr:
    """An element under a name, where it needs one."""
    if value.op not in (TUPLE, STATIC) and isinstance(value.value, tuple):
        return name_outputs(reading, base, value)
    return name_leaf(reading, base, value, plain=True)


def name_leaf(reading: Reading, name: str, element: Expr, plain: bool = False) -> Expr:
    """An element of a list: it may be used many times, so it gets a name.

    `plain`: the name itself, where it is free.
    """
    if element.op in (NAME, STATIC):
        return element
    if element.op == TUPLE:
        parts = [name_leaf(reading, name, e) for e in element.args]
        return reading.rebuilt(reading.statement, element, parts)
    target = fresh(reading, name if plain else f"{name}_0")
    add_line(reading, (target,), element)
    return reference(target, element.value, element)


def name_argument(reading: Reading, name: str, value: Expr) -> Expr:
    """An argument of a call that is put in place: what its formal stands for there."""
    if value.op in (NAME, STATIC):
        return value
    if value.op == TUPLE:
        parts = [name_argument(reading, name, e) for e in value.args]
        return reading.rebuilt(reading.statement, value, parts)
    if isinstance(value.value, tuple):
        before = reading.scope.get(name)
        bound = bind(reading, name, value)
        if before is None:
            del reading.scope[name]
        else:
            reading.scope[name] = before
        return bound
    target = fresh(reading, name)
    add_line(reading, (target,), value)
    return reference(target, value.value, value)


def reference(name: str, value: Any, of: Expr) -> Expr:
    syntax = ast.Name(name, ast.Load())
    if not isinstance(value, torch.Tensor):
        return Expr(STATIC, (), syntax, value, of.spot, sized=of.sized)
    flows = of.differentiable and continuous(value)
    return Expr(NAME, (), syntax, value, of.spot, differentiable=flows)


def _holds(held: Expr, name: str) -> bool:
    """Whether what a scope holds is a line's value, or has it in a list."""
    if held.op == TUPLE:
        return any(_holds(part, name) for part in held.args)
    return held.op == NAME and str(held) == name
