"""Calls of live objects: functions, methods, submodules, whose lines are put in the caller's place.

An object is a static value: numbers and flags are read off it as it stands, its tensors are inputs.
"""

from __future__ import annotations

import ast
import builtins
import functools
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gradninja.lines import fence
from gradninja.lines.modules.layers import PREPARED, meaning
from gradninja.lines.modules.live import callee_path, forward_of
from gradninja.lines.modules.wrappers import module_of, unwrapped
from gradninja.lines.plain import is_plain, literal
from gradninja.lines.program import STATIC, Expr
from gradninja.lines.reading.calls.arguments import apply
from gradninja.lines.reading.calls.library import call_library
from gradninja.lines.reading.calls.making import make
from gradninja.lines.reading.calls.python import call_builtin
from gradninja.lines.reading.inlining import enter
from gradninja.lines.reading.members import write_member
from gradninja.lines.reading.numbers import Logged
from gradninja.lines.reading.state import Function, Partly, Reading
from gradninja.lines.reading.values import value_of

# Methods that only tell what an object holds.
TELLING = frozenset(
    "parameters named_parameters buffers named_buffers children named_children modules "
    "named_modules items keys values get index count".split()
)


HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def call_value(
    reading: Reading, node: ast.Call, callee: Expr, args: list[Expr], kwargs: Mapping[str, Expr]
) -> Expr:
    """A call of a live thing: a function, a method, a module, a class."""
    value = unwrapped(callee.value)
    if value is not callee.value:
        callee = reading.static(node, value, callee.syntax)
    if isinstance(value, Logged):
        return callee
    if isinstance(value, Function):
        return enter(reading, node, value, args, kwargs)
    if isinstance(value, Partly):
        more = {**value.kwargs, **kwargs}
        return reading.call(node, value.function, [*value.args, *args], more)
    if isinstance(value, functools.partial):
        first = [value_of(reading, node, v, _plain_syntax(v)) for v in value.args]
        named = {k: value_of(reading, node, v, _plain_syntax(v)) for k, v in value.keywords.items()}
        inner = value_of(reading, node, value.func, node.func)
        return reading.call(node, inner, [*first, *args], {**named, **kwargs})
    path = callee_path(value) if not isinstance(value, nn.Module) else None
    if path is not None:
        return call_library(reading, node, fence.callee_of(path), args, kwargs)
    if isinstance(value, types.FunctionType):
        return enter(reading, node, Function.of(value, value.__name__), args, kwargs)
    if isinstance(value, type):
        return make(reading, node, value, args, kwargs)
    if isinstance(value, types.MethodType):
        return _bound(reading, node, value, args, kwargs)
    if isinstance(value, types.BuiltinMethodType):
        owner = getattr(value, "__self__", None)
        if isinstance(owner, dict | list | tuple | str) and value.__name__ in TELLING:
            return _told(reading, node, value, args)
        if owner is builtins:
            return call_builtin(reading, node, value.__name__, args, kwargs)
    elif isinstance(value, nn.Module) or forward_of(value) is not None:
        return _instance(reading, node, callee, args, kwargs)
    reading.fail(node, f"`{ast.unparse(node.func)}` is not a function that can be read")


def _plain_syntax(value: Any) -> ast.expr:
    return literal(value) if is_plain(value) else ast.Constant(None)


def _told(reading: Reading, node: ast.Call, method: Any, args: list[Expr]) -> Expr:
    """What a method such as `items()` tells of an object, as a list where it is several."""
    if any(e.op != STATIC for e in args):
        reading.fail(node, f"`{method.__name__}` takes plain values here")
    found = method(*(e.value for e in args))
    if method.__name__ not in {"get", "index", "count"}:
        found = list(found)
    return value_of(reading, node, found, literal(found) if is_plain(found) else node)


def _bound(
    reading: Reading,
    node: ast.Call,
    method: types.MethodType,
    args: list[Expr],
    kwargs: Mapping[str, Expr],
) -> Expr:
    function, owner = unwrapped(method.__func__), method.__self__
    if isinstance(owner, type) and issubclass(owner, torch.autograd.Function):
        return _own_gradient(reading, node, owner, args, kwargs)
    if isinstance(owner, nn.Module) and module_of(function).startswith("torch."):
        name = function.__name__
        if name in TELLING:
            return _told(reading, node, method, args)
        if name == "flatten_parameters":  # only how they lie in memory
            return reading.static(node, None, ast.Constant(None))
        if name in {"forward", "__call__", "_call_impl", "_wrapped_call_impl"}:
            if "forward" in getattr(function, "__qualname__", "") and meaning(type(owner)):
                return _layer(reading, node, type(owner), owner, args, kwargs)
            for base in type(owner).__mro__:  # `super().forward(x)` of a layer of torch's
                if vars(base).get("forward") is function and meaning(base):
                    return _layer(reading, node, base, owner, args, kwargs)
        reading.fail(node, f"`{name}` of a module is outside of what is read")
    if not isinstance(function, types.FunctionType):
        reading.fail(node, f"`{method.__name__}` is not written in Python")
    held = reading.static(node, owner, node)
    return enter(reading, node, Function.of(function, function.__name__), [held, *args], kwargs)


def _own_gradient(
    reading: Reading, node: ast.Call, kind: type, args: list[Expr], kwargs: Mapping[str, Expr]
) -> Expr:
    """`MyFunction.apply(x)`: one step, whose gradient is what the Function says."""
    held = reading.functions.setdefault(kind.__name__, kind)
    if held is not kind:
        reading.fail(node, f"two Functions are called {kind.__name__}", "give one another name")
    if kwargs:
        reading.fail(node, f"`{kind.__name__}.apply` takes its arguments by place")
    func = ast.Attribute(ast.Name(kind.__name__, ast.Load()), "apply", ast.Load())
    return apply(reading, node, reading.book.take(kind), func, kind.apply, args, {})  # type: ignore[attr-defined]


def _instance(
    reading: Reading, node: ast.Call, callee: Expr, args: list[Expr], kwargs: Mapping[str, Expr]
) -> Expr:
    """A call of a module, or of an object with `__call__`: its forward's lines."""
    value, kind = callee.value, type(callee.value)
    _prepare(reading, node, callee)
    method = forward_of(value)
    if isinstance(value, nn.Module) and "forward" in vars(value):
        reading.fail(node, f"this {kind.__name__} has a `forward` of its own that was set on it")
    if method is None:
        reading.fail(node, f"the forward of {kind.__name__} is not written in Python")
    if module_of(method).startswith(("torch.", "einops.")):
        return _layer(reading, node, kind, value, args, kwargs)
    return enter(reading, node, Function.of(method, kind.__name__), [callee, *args], kwargs)


def _prepare(reading: Reading, node: ast.Call, callee: Expr) -> None:
    """What runs before a module's forward: a weight that is computed; other hooks are refused."""
    value = callee.value
    hooks = [hook for held in HOOKS for hook in getattr(value, held, {}).values()]
    for hook in hooks:
        text = PREPARED.get(type(hook))
        if text is None:
            reading.fail(
                node,
                f"this {type(value).__name__} has hooks, which run beside its forward",
                "remove them (`handle.remove()`), or write what they do in the forward",
            )
        held = reading.static(node, hook, node)
        found = enter(reading, node, Function.of(text, hook.name), [held, callee], {})
        write_member(reading, callee, hook.name, found)


def _layer(
    reading: Reading,
    node: ast.Call,
    kind: type,
    layer: Any,
    args: list[Expr],
    kwargs: Mapping[str, Expr],
) -> Expr:
    text = meaning(kind) or forward_of(layer)  # most only call a function: their own text
    assert text is not None
    held = reading.static(node, layer, node)
    return enter(reading, node, Function.of(text, kind.__name__), [held, *args], kwargs)
