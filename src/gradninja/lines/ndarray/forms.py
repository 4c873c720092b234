"""What a NumPy forward returns beside its output: a cache for the backward, or the gradients.

`return out, cache` and `return loss, dx` are the forms of the field; the forward is what leads to
`out` and to `loss`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
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
    names = names_of(function)
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

    # What stands behind a gradient is for the next call: `return loss, dW, hs[-1]`, unless the
    # gradients come first: `return grads, cost`.
    steep = [at for at, part in enumerate(value.elts) if _gradient(part, names)]
    first = steep[0] if steep else len(value.elts)
    places = range(first) if first else [at for at in range(len(value.elts)) if at not in steep]
    kept = tuple(at for at in places if not beside(value.elts[at]))
    return kept if kept and len(kept) < len(value.elts) else None


def is_gradient(name: str, names: set[str]) -> bool:
    """Whether a name is that of a gradient: `dW` where there is a `W`, `grads`, `grad_x`."""
    bare = name.removeprefix("grad_") if name.startswith("grad_") else name[1:]
    if name.lower() in GRADIENTS or meant_by(name, names) is not None:
        return True
    return name.startswith(("d", "grad_")) and bare.lstrip("_") in names


def meant_by(name: str, known: Iterable[str]) -> str | None:
    """`outsideVectors` for `gradOutsideVecs`: the one known name that has each of its words.

    None where there is none, or are several.
    """
    if not re.match(r"grad[A-Z]", name):
        return None
    words = _words(name.removeprefix("grad"))
    found = [
        other
        for other in set(known) - {name}
        if not other.startswith("grad")
        and all(any(_same_word(one, two) for two in _words(other)) for one in words)
    ]
    return found[0] if len(found) == 1 else None


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)]


def _same_word(one: str, other: str) -> bool:
    """`vecs` is short for `vectors`."""
    short, long = sorted((one.removesuffix("s"), other.removesuffix("s")), key=len)
    return short == long or (len(short) > 2 and long.startswith(short))


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
        body = _without_gradients(body[: _until(body, wanted)], names_of(function))
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
    kept = forward_of(function)[1]
    last = function.body[-1]
    value = last.value if isinstance(last, ast.Return) else None
    if kept is None or not isinstance(value, ast.Tuple):
        return []
    beside = [part for at, part in enumerate(value.elts) if at not in kept]
    if not any(_gradients(part, function) for part in beside):
        return []
    body, names = function.body[:-1], names_of(function)
    until = _until(body, [value.elts[at] for at in kept])
    before = [s for s in body[:until] if _without_gradients([s], names) != [s]]
    return [*before, *body[until:]]


def gradients_beside(function: ast.FunctionDef) -> list[ast.expr]:
    """What a function returns of gradients beside its loss."""
    parts = beside_of(function)
    return [part for part in parts if _gradients(part, function) or isinstance(part, ast.Dict)]


def _without_gradients(body: Sequence[ast.stmt], names: set[str]) -> list[ast.stmt]:
    """The statements of a body but for those that write gradients alone, in its loops too."""
    kept: list[ast.stmt] = []
    for node in body:
        written = _stored(node)
        steep = [name for name in written if is_gradient(name, names)]
        inner = [part for part in ("body", "orelse") if getattr(node, part, None)]
        if not steep:
            kept.append(node)
        elif inner and isinstance(node, ast.For | ast.If | ast.While):
            found = copy(node)
            for part in inner:
                setattr(found, part, _without_gradients(getattr(node, part), names))
            if found.body:
                kept.append(found)
        elif len(steep) < len(written):
            kept.append(node)
    return kept


def names_of(function: ast.FunctionDef) -> set[str]:
    """The names of a function: its parameters, and what its lines say."""
    names = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
    return names | {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}


def _gradients(part: ast.expr, function: ast.FunctionDef) -> bool:
    return _gradient(part, names_of(function))


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
