"""Plain values of an operation: sizes, shapes, numbers; how a rank writes those of the whole."""

from __future__ import annotations

import ast
from typing import Any

from gradninja.ranks.operations.taking import Operation
from gradninja.ranks.operations.trying import FAILURES, Trial
from gradninja.ranks.rank_values import Value
from gradninja.ranks.split import Split

UNFIT = object()  # in place of a number that a share does not have


def plain(split: Split, whole: Any, held: list[Any], syntax: ast.expr) -> Value:
    """One of several plain values."""
    value = Value(whole, held, None, syntax)
    if value.sized:
        value.whole_syntax = split.exact(value) or split.proportional(value)
    return value


def plain_result(split: Split, operation: Operation, operands: list[Value], trial: Trial) -> Value:
    """A plain value: a size, a shape, a number."""
    held = []
    for rank in range(len(split.mesh.ranks)):
        try:
            held.append(trial.run([v.held[rank] for v in operands], None))
        except FAILURES:
            held.append(UNFIT)  # of a share too short for it; the whole's may do
    syntax = operation.filled([v.syntax for v in operands])
    value = Value(trial.wholes(operands)[0], held, None, syntax)
    if value.sized:
        value.whole_syntax = split.exact(value)
        of_tensors = any(v.types is not None for v in operands)
        if value.whole_syntax is None and not of_tensors:
            wholes = [v.whole_syntax if v.sized else v.syntax for v in operands]
            if all(w is not None for w in wholes):
                value.whole_syntax = operation.filled([w for w in wholes if w is not None])
        if value.whole_syntax is None and isinstance(value.whole, tuple):
            value.whole_syntax = _whole_shape(split, value)
        elif value.whole_syntax is None:
            value.whole_syntax = split.proportional(value)
    return value


def _whole_shape(split: Split, value: Value) -> ast.expr | None:
    """How a shape of the whole is written: `(n_all, *x.shape[1:])`."""
    if UNFIT in value.held:
        return None
    parts: list[str] = []
    same = 0  # axes from here on are as they are
    written = ast.unparse(value.syntax)
    for at, size in enumerate(value.whole):
        one = ast.Subscript(value.syntax, ast.Constant(at), ast.Load())
        part = plain(split, size, [h[at] for h in value.held], one)
        if part.sized:
            if part.whole_syntax is None:
                return None
            parts += [f"*{written}[{same}:{at}]"] if at > same else []
            parts.append(ast.unparse(part.whole_syntax))
            same = at + 1
    parts += [f"*{written}[{same}:]"] if same < len(value.whole) else []
    return ast.parse(f"({', '.join(parts)},)", mode="eval").body
