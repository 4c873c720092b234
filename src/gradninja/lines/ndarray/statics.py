"""Which names of a function hold plain numbers, as far as the text tells: sizes, settings."""

from __future__ import annotations

import ast
from collections.abc import Iterator

SIZES = frozenset({"shape", "ndim", "size"})
PLAIN_CALLS = frozenset({"len", "int", "float", "range", "max", "min", "abs", "sum", "round"})


def statics_of(function: ast.FunctionDef, around: frozenset[str]) -> frozenset[str]:
    """The names of a function that are bound to plain values alone; `around`: those outside."""
    bindings: dict[str, list[ast.expr | None]] = {}
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    none: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = [
        *zip(positional, [*none, *arguments.defaults], strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    for argument, default in pairs:
        told = argument.annotation
        number = isinstance(told, ast.Name) and told.id in {"int", "float", "bool"}
        plain = ast.Constant(0) if number else default
        if isinstance(plain, ast.Constant) and plain.value is None:
            plain = None  # an array that may be left out
        bindings.setdefault(argument.arg, []).append(plain)
    for name, value in _bindings(function.body):
        bindings.setdefault(name, []).append(value)
    found = set(around) - set(bindings)
    while True:
        more = {
            name
            for name, values in bindings.items()
            if name not in found
            and all(v is not None and is_static(v, frozenset({*found, name})) for v in values)
        }
        if not more:
            return frozenset(found)
        found |= more


def is_static(node: ast.expr, names: frozenset[str]) -> bool:
    """Whether an expression is a plain value where these names are."""

    def plain(part: ast.expr) -> bool:
        return is_static(part, names)

    match node:
        case ast.Constant(value=value):
            return isinstance(value, bool | int | float | str)
        case ast.Name(id=name):
            return name in names
        case ast.Attribute(attr=attr, value=of):
            numbers = {"np.pi", "numpy.pi", "np.e", "math.pi", "math.e", "math.inf"}
            return attr in SIZES or ast.unparse(node) in numbers or plain(of)
        case ast.Subscript(value=of):
            return plain(of)
        case ast.BinOp(left=left, right=right):
            return plain(left) and plain(right)
        case ast.UnaryOp(operand=operand):
            return plain(operand)
        case ast.IfExp(body=body, orelse=orelse):
            return plain(body) and plain(orelse)
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return bool(parts) and all(plain(part) for part in parts)
        case (
            ast.Call(func=ast.Name(id="len" | "range")) | ast.Call(func=ast.Attribute(attr="numel"))
        ):
            return True
        case ast.Call(func=ast.Name(id=name), args=parts):
            return name in PLAIN_CALLS and all(plain(part) for part in parts)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="np" | "numpy" | "math")), args=parts):
            return bool(parts) and all(plain(part) for part in parts) and not node.keywords
    return False


def _bindings(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr | None]]:
    """Every name that statements bind, with what it is bound to; None where that is not told."""
    for statement in body:
        match statement:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    yield from _bound(target, value)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                yield from _bound(target, value)
            case ast.AugAssign(target=ast.Name(id=name), value=value):
                yield name, value
            case ast.For(target=target, iter=over):
                yield from _bound(target, _element(over))
            case ast.FunctionDef(name=name):
                yield name, None
                continue
        for part in ("body", "orelse"):
            yield from _bindings(getattr(statement, part, None) or [])


def _bound(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[str, ast.expr | None]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple | ast.List):
        parts: list[ast.expr | None] = [None] * len(target.elts)
        if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(parts):
            parts = list(value.elts)
        elif isinstance(value, ast.Attribute) and value.attr == "shape":
            parts = [value] * len(parts)
        for inner, part in zip(target.elts, parts, strict=True):
            yield from _bound(inner, part)


def _element(over: ast.expr) -> ast.expr | None:
    """What a loop's variable is bound to, where that is an int."""
    if isinstance(over, ast.Call) and isinstance(over.func, ast.Name):
        if over.func.id == "range":
            return ast.Constant(0)
        if over.func.id == "reversed" and len(over.args) == 1:
            return _element(over.args[0])
        if over.func.id == "enumerate":
            return ast.Tuple([ast.Constant(0), ast.Name("__element__", ast.Load())], ast.Load())
    return None
