"""Gradients in other spellings: `grad_W`, `W_grad`, `weights_gradient`, `dL_dW`, for `dW`."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy

from gradninja.lines.ndarray import meant_by

SPELT = (
    r"grad_?(?P<of>\w+)",
    r"gradient_(?P<of>\w+)",
    r"(?P<of>\w+?)_?(grad|gradient|grads)",
    r"d(L|J|E|C|loss|Loss|cost)_?_?d_?(?P<of>\w+)",
    r"d_(?P<of>\w+)",
)


def spelling_of(name: str, known: Collection[str]) -> str | None:
    """The value that a name says to be the gradient of; None where it says none that is known."""
    for form in SPELT:
        found = re.fullmatch(form, name)
        if found is not None and found["of"] in known:
            return found["of"]
    return meant_by(name, known)


def respelt(
    lines: Sequence[ast.stmt], known: Collection[str]
) -> tuple[list[ast.stmt], dict[str, str]]:
    """The lines with every gradient of a known value as `d<value>`, and these names as they stood.

    A name is left alone where its own is taken.
    """
    names = {n.id for line in lines for n in ast.walk(line) if isinstance(n, ast.Name)}
    names |= {a.arg for line in lines for a in ast.walk(line) if isinstance(a, ast.arg)}
    renamed: dict[str, str] = {}
    for name in sorted(names - set(known)):
        of = spelling_of(name, known)
        ours = f"d{of}"
        if of is not None and ours not in {*names, *known, *renamed.values()}:
            renamed[name] = ours
    if not renamed:
        return list(lines), {}
    found = [with_names(line, renamed) for line in lines]
    return found, {ours: name for name, ours in renamed.items()}


def with_names(line: ast.stmt, renamed: Mapping[str, str]) -> ast.stmt:
    """A copy of a statement in which these names are others."""
    found = deepcopy(line)
    for part in ast.walk(found):
        if isinstance(part, ast.Name):
            part.id = renamed.get(part.id, part.id)
        elif isinstance(part, ast.arg):
            part.arg = renamed.get(part.arg, part.arg)
    return found
