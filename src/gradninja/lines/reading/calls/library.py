"""Calls of torch's functions and of other libraries', by their paths."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from gradninja.lines import fence
from gradninja.lines.given.source import Standing
from gradninja.lines.modules.layers import ASKED, FUNCTIONS, trimmed
from gradninja.lines.plain import literal
from gradninja.lines.program import STATIC, Expr
from gradninja.lines.reading.calls.arguments import apply, refuse_outside
from gradninja.lines.reading.calls.copying import copied
from gradninja.lines.reading.calls.numpy_constants import as_numbers, numpy_constant
from gradninja.lines.reading.in_place.parts import fitted
from gradninja.lines.reading.in_place.writing import in_place, write_to
from gradninja.lines.reading.inlining import enter
from gradninja.lines.reading.state import Function, Reading
from gradninja.lines.reading.values import static_operation


def call_library(
    reading: Reading, node: ast.Call, path: str, args: list[Expr], kwargs: Mapping[str, Expr]
) -> Expr:
    """A call of a library's function; also `F.relu(x, inplace=True)` and `F.relu_(x)`."""
    writes = kwargs.get("inplace")
    if writes is None and not in_place(path):
        return _call(reading, node, path, args, kwargs)
    rest = {name: value for name, value in kwargs.items() if name != "inplace"}
    if writes is None:
        path = path.removesuffix("_")
    found = _call(reading, node, path, args, rest)
    if not args or not args[0].is_tensor or (writes is not None and not writes.value):
        return found
    held = args[0]
    target = node.args[0] if node.args else node
    return write_to(reading, target, held, fitted(reading, node, held, found))


def _call(
    reading: Reading, node: ast.Call, path: str, args: list[Expr], kwargs: Mapping[str, Expr]
) -> Expr:
    """One that writes to nothing: by the lines that it means, as a constant, as an operation."""
    if isinstance(reading.source, Standing):  # a layer hands on all that it holds
        args = args[: trimmed(path, [e.value for e in args])]
    if path in {"copy.copy", "copy.deepcopy"} and len(args) == 1:
        return copied(reading, node, args[0], path)
    text = _meaning(path, kwargs)
    if text is not None:
        return enter(reading, node, Function.of(text, path), args, kwargs)
    constant = numpy_constant(reading, node, path, args, kwargs)
    if constant is not None:
        return constant
    path, args, kwargs = as_numbers(reading, node, path, args, kwargs)
    return _operation(reading, node, path, args, kwargs)


def _meaning(path: str, kwargs: Mapping[str, Expr]) -> Callable[..., Any] | None:
    """The function of ours that says in lines what a library's means; None where none does."""
    if path in ASKED:
        wanted = kwargs.get(ASKED[path])
        if wanted is None or wanted.op != STATIC or not wanted.value:
            return None
    return FUNCTIONS.get(path)


def _operation(
    reading: Reading, node: ast.Call, path: str, args: list[Expr], kwargs: Mapping[str, Expr]
) -> Expr:
    function = fence.find(path)
    if function is None or not callable(function):
        reading.fail(node, f"there is no function `{path}`")
    refuse_outside(reading, node, path)
    if path == "torch.is_grad_enabled":
        return reading.static(node, reading.grad_enabled, ast.Constant(reading.grad_enabled))
    if path in fence.ASKING and all(e.op == STATIC for e in args):
        answer = function(*(e.value for e in args))
        return reading.static(node, answer, literal(answer))
    if path in fence.STATIC_FUNCTIONS:
        if kwargs or any(e.op != STATIC for e in args):
            reading.fail(node, f"`{path}` takes plain numbers here", "use torch's function instead")
        syntax = ast.Call(fence.callee_syntax(path), [e.syntax for e in args], [])
        return static_operation(reading, node, function, tuple(args), syntax)
    # What is left of NumPy is no word of torch's.
    if not reading.book.knows(path) or path.startswith("np."):
        reading.fail(
            node,
            f"there is no rule for `{path}`",
            "write it with operations that have one, or give it a rule with gradninja.rule",
        )
    return apply(reading, node, path, fence.callee_syntax(path), function, args, kwargs)
