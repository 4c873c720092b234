"""Objects that a forward makes: a record of tensors, a layer without any, a class of the person's.

What a class's `__init__` puts on an object that is made of tensors is kept beside it, as all that a
forward writes to an object is.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.autograd import Variable

from gradninja.lines.modules.layers import STANDING
from gradninja.lines.plain import is_plain, literal
from gradninja.lines.program import STATIC, Expr, Record
from gradninja.lines.reading.calls.arguments import method_on
from gradninja.lines.reading.calls.library import call_library
from gradninja.lines.reading.calls.python import call_builtin
from gradninja.lines.reading.inlining import enter
from gradninja.lines.reading.state import Function, Partly, Reading
from gradninja.lines.reading.values import value_of

NEEDED = object()  # no default


def _fields(kind: type) -> dict[str, Any] | None:
    """The fields of a named tuple or a dataclass, with their defaults; None of another."""
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        defaults: Mapping[str, Any] = getattr(kind, "_field_defaults", {})
        return {name: defaults.get(name, NEEDED) for name in kind._fields}
    if not dataclasses.is_dataclass(kind):
        return None
    return {
        field.name: NEEDED if field.default is dataclasses.MISSING else field.default
        for field in dataclasses.fields(kind)
        if field.init
    }


def _floats(values: Any) -> Any:
    """The same numbers as floats: `torch.Tensor([0])` is one of floats."""
    return [_floats(v) for v in values] if isinstance(values, list | tuple) else float(values)


# Classes of old: a tensor's type by its name.
TYPED: dict[Any, torch.dtype] = {
    torch.FloatTensor: torch.float32,
    torch.DoubleTensor: torch.float64,
    torch.LongTensor: torch.int64,
    torch.IntTensor: torch.int32,
    torch.BoolTensor: torch.bool,
    torch.ByteTensor: torch.uint8,
}


def make(
    reading: Reading, node: ast.Call, kind: type, args: list[Expr], kwargs: Mapping[str, Expr]
) -> Expr:
    """An object of a class."""
    if kind.__module__ == "builtins":
        return call_builtin(reading, node, kind.__name__, args, kwargs)
    if kind is Variable and args:  # what a tensor was called once
        return args[0]
    if kind is nn.Parameter and args and args[0].is_tensor:  # a new leaf: no gradient goes on
        return method_on(reading, node, "detach", args[0])
    if kind is functools.partial and args:
        return reading.static(node, Partly(args[0], tuple(args[1:]), dict(kwargs)), node)
    if kind is torch.Tensor or kind in TYPED:
        return _of_old(reading, node, kind, args)
    if kind.__module__.startswith("torch.distributions") and kind not in STANDING:
        known = sorted(one.__name__ for one in STANDING)
        reading.fail(
            node,
            f"{kind.__name__} is not among the distributions that are read",
            f"write its density out; read are {', '.join(known)}",
        )
    kind = STANDING.get(kind, kind)
    fields = _fields(kind)
    if fields is not None and not hasattr(kind, "__post_init__"):
        return reading.dictionary(node, _entered(reading, node, kind, fields, args, kwargs), Record)
    if any(e.op != STATIC for e in (*args, *kwargs.values())):
        return _constructed(reading, node, kind, fields, args, kwargs)
    try:
        made = kind(*(e.value for e in args), **{k: e.value for k, e in kwargs.items()})
    except Exception as error:  # the person's own class, on the person's own line
        reading.fail(node, f"this line does not run: {error}")
    if isinstance(made, nn.Module) and next(iter(made.parameters()), None) is not None:
        reading.fail(
            node,
            f"this {kind.__name__} is made anew in every call, so it never learns",
            "make it in `__init__`",
        )
    reading.objects.append(made)
    return value_of(reading, node, made, node)


def _of_old(reading: Reading, node: ast.Call, kind: type, args: list[Expr]) -> Expr:
    """`torch.Tensor([0])`, `torch.LongTensor(lengths)`, and of sizes what is to be filled."""
    dtype = TYPED.get(kind)
    named = {} if dtype is None else {"dtype": reading.static(node, dtype, literal(dtype))}
    if len(args) != 1 or not isinstance(args[0].value, list | tuple):
        if args and args[0].is_tensor:
            reading.fail(node, "a tensor is made of a tensor here", "use the tensor itself")
        return call_library(reading, node, "torch.empty", args, named)
    first = args[0]
    if first.op == STATIC and (dtype is None or dtype.is_floating_point):
        floats = _floats(first.value)
        first = reading.static(node, floats, literal(floats), args)
    return call_library(reading, node, "torch.tensor", [first], named)


def _constructed(
    reading: Reading,
    node: ast.Call,
    kind: type,
    fields: Mapping[str, Any] | None,
    args: list[Expr],
    kwargs: Mapping[str, Expr],
) -> Expr:
    """An object of a plain class that is made of tensors: its `__init__`, line by line."""
    begin = getattr(kind, "__init__" if fields is None else "__post_init__", None)
    if issubclass(kind, nn.Module) or not isinstance(begin, types.FunctionType):
        reading.fail(
            node,
            f"a {kind.__name__} is made of tensors here",
            "return the tensors themselves, or a tuple of them",
        )
    made = object.__new__(kind)
    reading.objects.append(made)
    held = reading.static(node, made, node)
    if fields is not None:
        entered = _entered(reading, node, kind, fields, args, kwargs)
        reading.state.update({(id(made), name): value for name, value in entered.items()})
        args, kwargs = [], {}
    enter(reading, node, Function.of(begin, kind.__name__), [held, *args], kwargs)
    return held


def _entered(
    reading: Reading,
    node: ast.Call,
    kind: type,
    fields: Mapping[str, Any],
    args: list[Expr],
    kwargs: Mapping[str, Expr],
) -> dict[str, Expr]:
    """The fields of a named tuple or a dataclass as they are given, or by default."""
    given = {**dict(zip(fields, args, strict=False)), **kwargs}
    entries = {}
    for name, default in fields.items():
        if name not in given and default is NEEDED:
            reading.fail(node, f"`{kind.__name__}` needs a value for `{name}`")
        plain = literal(default) if is_plain(default) else ast.Constant(None)
        entries[name] = given.get(name) or value_of(reading, node, default, plain)
    if len(args) > len(fields) or set(kwargs) - set(fields):
        reading.fail(node, f"`{kind.__name__}` has the fields {', '.join(fields)}")
    return entries
