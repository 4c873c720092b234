"""Gradients that differ from the forward's on purpose, and how the intent is written down."""

from __future__ import annotations

import ast
from dataclasses import replace

from gradninja.check.functions.function_text import Text
from gradninja.check.functions.held import elements, names_in
from gradninja.check.tell.findings import Report

WINDOW = "clamp(-1, 1)"


def with_intents(report: Report, text: Text, inputs: list[str]) -> Report:
    """The same, with the `.detach()` spelling where a common form is recognised.

    Args:
        inputs: what the forward is called with, by place.
    """
    returned = _returned(text.backward)
    parts = [] if returned is None else (elements(returned) or [returned])
    given = {a.arg for a in text.backward.args.args[1:]}
    value = _returned(text.forward)
    of = "" if value is None else ast.unparse(value)
    rows = []
    for row in report.lines:
        name = row.name.removeprefix("d")
        at = inputs.index(name) if name in inputs else len(parts)
        if not row.ok and at < len(parts):
            told = _told(_written(parts[at], text.backward), given, name, of)
            if told is not None:
                row = replace(row, notes=(*row.notes, told))
        rows.append(row)
    return replace(report, lines=tuple(rows))


def _returned(function: ast.FunctionDef) -> ast.expr | None:
    last = function.body[-1]
    return last.value if isinstance(last, ast.Return) else None


def _written(part: ast.expr, function: ast.FunctionDef) -> ast.expr:
    """What a name that is returned was bound to, where one line does that."""
    found = [
        s.value
        for s in function.body
        if isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == ast.unparse(part)
    ]
    return found[0] if len(found) == 1 else part


def _told(part: ast.expr, given: set[str], x: str, value: str) -> str | None:
    """What form it is, with its spelling."""
    text = ast.unparse(part)
    if not names_in(part) & given:
        return None
    copied = value.removesuffix(".clone()").removesuffix(f".view_as({x})") == x
    if text.removesuffix(".clone()") in given:
        what, how = "a straight-through estimator", f"{x} + ({value} - {x}).detach()"
    elif copied and names_in(part) <= {*given, "ctx"}:
        what, how = "a scaled or reversed gradient", f"k * {x} + ({x} - k * {x}).detach()"
    elif "round" in value or "sign" in value or " > " in value:
        window = f"{x}.{WINDOW}"
        what = "a straight-through estimator with a window"
        how = f"{window} + ({value} - {window}).detach()"
    else:
        return None
    return (
        f"where {what} is meant, a plain forward beside it says so, and it is judged on that: "
        f"`return {how}`"
    )
