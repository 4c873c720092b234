"""Objects that a forward makes: a record of tensors, a layer without any, a class of the person's.

What a class's `__init__` puts on an object that is made of tensors is kept beside it, as all that a
forward writes to an object is.
"""

from __future__ import annotations

import ast
import dataclasses
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.autograd import Variable

from gradninja.lines.modules.layers import STANDING
from gradninja.lines.plain import is_plain, literal
from gradninja.lines.program import STATIC, Expr, Record
from gradninja.lines.reading.inlining import Function
from gradninja.lines.reading.numpy_constants import Constants

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


class Making(Constants):
    """Calls of classes."""

    state: dict[tuple[int, str], Expr]  # attributes that the forward wrote
    objects: list[Any]  # that the forward made: an identity is one as long as they are there

    def make(
        self, node: ast.Call, kind: type, args: list[Expr], kwargs: Mapping[str, Expr]
    ) -> Expr:
        """An object of a class."""
        if kind.__module__ == "builtins":
            return self.builtin(node, kind.__name__, args, kwargs)
        if kind is Variable and args:  # what a tensor was called once
            return args[0]
        if kind is torch.Tensor or kind in TYPED:
            return self._of_old(node, kind, args)
        kind = STANDING.get(kind, kind)
        fields = _fields(kind)
        if fields is not None and not hasattr(kind, "__post_init__"):
            return self.dictionary(node, self._entered(node, kind, fields, args, kwargs), Record)
        if any(e.op != STATIC for e in (*args, *kwargs.values())):
            return self._constructed(node, kind, fields, args, kwargs)
        try:
            made = kind(*(e.value for e in args), **{k: e.value for k, e in kwargs.items()})
        except Exception as error:  # the person's own class, on the person's own line
            self.fail(node, f"this line does not run: {error}")
        if isinstance(made, nn.Module) and next(iter(made.parameters()), None) is not None:
            self.fail(
                node,
                f"this {kind.__name__} is made anew in every call, so it never learns",
                "make it in `__init__`",
            )
        self.objects.append(made)
        return self.value_of(node, made, node)

    def _of_old(self, node: ast.Call, kind: type, args: list[Expr]) -> Expr:
        """`torch.Tensor([0])`, `torch.LongTensor(lengths)`, and of sizes what is to be filled."""
        dtype = TYPED.get(kind)
        named = {} if dtype is None else {"dtype": self.static(node, dtype, literal(dtype))}
        if len(args) != 1 or not isinstance(args[0].value, list | tuple):
            if args and args[0].is_tensor:
                self.fail(node, "a tensor is made of a tensor here", "use the tensor itself")
            return self.module_call(node, "torch.empty", args, named)
        first = args[0]
        if first.op == STATIC and (dtype is None or dtype.is_floating_point):
            floats = _floats(first.value)
            first = self.static(node, floats, literal(floats), args)
        return self.module_call(node, "torch.tensor", [first], named)

    def _constructed(
        self,
        node: ast.Call,
        kind: type,
        fields: Mapping[str, Any] | None,
        args: list[Expr],
        kwargs: Mapping[str, Expr],
    ) -> Expr:
        """An object of a plain class that is made of tensors: its `__init__`, line by line."""
        begin = getattr(kind, "__init__" if fields is None else "__post_init__", None)
        if issubclass(kind, nn.Module) or not isinstance(begin, types.FunctionType):
            self.fail(
                node,
                f"a {kind.__name__} is made of tensors here",
                "return the tensors themselves, or a tuple of them",
            )
        made = object.__new__(kind)
        self.objects.append(made)
        held = self.static(node, made, node)
        if fields is not None:
            entered = self._entered(node, kind, fields, args, kwargs)
            self.state.update({(id(made), name): value for name, value in entered.items()})
            args, kwargs = [], {}
        self.enter(node, Function.of(begin, kind.__name__), [held, *args], kwargs)
        return held

    def _entered(
        self,
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
                self.fail(node, f"`{kind.__name__}` needs a value for `{name}`")
            plain = literal(default) if is_plain(default) else ast.Constant(None)
            entries[name] = given.get(name) or self.value_of(node, default, plain)
        if len(args) > len(fields) or set(kwargs) - set(fields):
            self.fail(node, f"`{kind.__name__}` has the fields {', '.join(fields)}")
        return entries
