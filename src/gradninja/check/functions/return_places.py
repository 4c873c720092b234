"""What a Function's backward returns, and in whose place."""

from __future__ import annotations

import ast

from gradninja.check.functions.function_text import Text
from gradninja.check.functions.held import Held, changed, elements, returns_in


def gives(text: Text, name: str) -> ast.stmt | None:
    """The last statement of a backward that gives an input's gradient its value, by place."""
    ends = list(returns_in(text.backward))
    if not ends or ends[-1].value is None or name not in text.inputs:
        return None
    parts, at = elements(ends[-1].value) or [ends[-1].value], text.inputs.index(name)
    lines = changed(text.backward.body).get(ast.unparse(parts[at]) if at < len(parts) else "")
    every = [n for n in ast.walk(text.backward) if isinstance(n, ast.stmt)]
    return next((n for n in every if lines and n.lineno == lines[-1]), ends[-1])


def given_none(text: Text) -> set[str]:
    """The inputs in whose place every `return` of a backward has None."""
    ends = [n.value for n in returns_in(text.backward) if n.value is not None]
    listed = [elements(end) or [] for end in ends]
    nothing = [
        {
            name
            for name, part in zip(text.inputs, parts, strict=False)
            if isinstance(part, ast.Constant) and part.value is None
        }
        for parts in listed
    ]
    return set.intersection(*nothing) if nothing else set()


def other_meanings(text: Text, held: Held) -> frozenset[str]:
    """The names `d<input>` that a backward has for other things: slopes, outputs' gradients."""
    ends = list(returns_in(text.backward))
    parts = (elements(ends[-1].value) if ends and ends[-1].value is not None else None) or []
    mine = set(changed(text.backward.body)) - {ast.unparse(part) for part in parts}
    mine |= {a.arg for a in text.backward.args.args} - set(held.outputs)
    pairs = zip(held.inputs, parts, strict=False)
    other = {
        f"d{name}" for name, part in pairs if isinstance(part, ast.Name) and part.id != f"d{name}"
    }
    return frozenset(other & mine)
