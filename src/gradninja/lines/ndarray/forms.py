"""What a NumPy forward returns beside its output: a cache for the backward, or the gradients.

`return out, cache` and `return loss, dx` are the forms of the field; the forward is what leads to
`out` and to `loss`.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from copy import copy

CACHES = frozenset({"ctx", "context", "saved", "memory", "memo", "tape", "residuals"})
GRADIENTS = frozenset({"grad", "grads", "gradient", "gradients"})


def is_cache(name: str) -> bool:
    """Whether a name is one that people give to what they keep for the backward."""
    return "cache" in name.lower() or name.lower() in CACHES


def outputs_of(function: ast.FunctionDef, value: ast.expr) -> tuple[int, ...] | None:
    """The places of a returned tuple that are outputs; None where all are, or it is no tuple."""
    if not isinstance(value, ast.Tuple) or not value.elts:
        return None
    names = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
    names |= {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}
    packed = {
        target.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple | ast.Dict)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    stored = {
        n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    given = {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)} - stored

    def beside(part: ast.expr) -> bool:
        if isinstance(part, ast.Name):
            handed_back = part.id in packed or part.id in given
            return is_cache(part.id) or handed_back
        return isinstance(part, ast.Tuple | ast.Dict)

    # What stands behind a gradient is for the next call: `return loss, dW, hs[-1]`.
    first = next((at for at, p in enumerate(value.elts) if _gradient(p, names)), len(value.elts))
    kept = tuple(at for at, part in enumerate(value.elts[:first]) if not beside(part))
    return kept if kept and len(kept) < len(value.elts) else None


def is_gradient(name: str, names: set[str]) -> bool:
    """Whether a name is that of a gradient: `dW` where there is a `W`, `grads`, `grad_x`."""
    bare = name.removeprefix("grad_") if name.startswith("grad_") else name[1:]
    if name.lower() in GRADIENTS:
        return True
    return name.startswith(("d", "grad_")) and bare.lstrip("_") in names


def forward_of(function: ast.FunctionDef) -> tuple[ast.FunctionDef, tuple[int, ...] | None]:
    """The function up to its outputs, and the places that these have in what it returns."""
    last = function.body[-1]
    value = last.value if isinstance(last, ast.Return) else None
    kept = None if value is None else outputs_of(function, value)
    if kept is None or not isinstance(value, ast.Tuple):
        return function, None
    found = copy(function)
    wanted = [value.elts[at] for at in kept]
    body = function.body[:-1]
    if any(_gradients(part, function) for at, part in enumerate(value.elts) if at not in kept):
        body = body[: _until(body, wanted)]
    end = wanted[0] if len(wanted) == 1 else ast.copy_location(ast.Tuple(wanted, ast.Load()), value)
    found.body = [*body, ast.copy_location(ast.Return(end), last)]
    return found, kept


def beside_of(function: ast.FunctionDef) -> list[ast.expr]:
    """What a forward returns for its backward beside its output."""
    last = function.body[-1]
    value = last.value if isinstance(last, ast.Return) else None
    kept = None if value is None else outputs_of(function, value)
    if kept is None or not isinstance(value, ast.Tuple):
        return []
    return [part for at, part in enumerate(value.elts) if at not in kept]


def backward_within(function: ast.FunctionDef) -> list[ast.stmt]:
    """The lines of a function that returns its loss and the gradients that come after the loss."""
    forward, kept = forward_of(function)
    last = function.body[-1]
    value = last.value if isinstance(last, ast.Return) else None
    if kept is None or not isinstance(value, ast.Tuple):
        return []
    beside = [part for at, part in enumerate(value.elts) if at not in kept]
    if not any(_gradients(part, function) for part in beside):
        return []
    return function.body[len(forward.body) - 1 : -1]


def _gradients(part: ast.expr, function: ast.FunctionDef) -> bool:
    names = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
    names |= {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}
    return _gradient(part, names)


def _gradient(part: ast.expr, names: set[str]) -> bool:
    return isinstance(part, ast.Name) and is_gradient(part.id, names)


def _until(body: Sequence[ast.stmt], wanted: Sequence[ast.expr]) -> int:
    """How many statements lead to these values."""
    names = {n.id for part in wanted for n in ast.walk(part) if isinstance(n, ast.Name)}
    for at in range(len(body), 0, -1):
        if names & set(_stored(body[at - 1])):
            return at
    return len(body)


def _stored(node: ast.stmt) -> list[str]:
    found = []
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            found.append(part.id)
        elif isinstance(part, ast.Subscript | ast.Attribute) and isinstance(part.ctx, ast.Store):
            root: ast.expr = part
            while isinstance(root, ast.Subscript | ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name):
                found.append(root.id)
    return found
