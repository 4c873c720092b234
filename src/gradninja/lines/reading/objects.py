"""Reading what belongs to a live object: its attributes, its methods, its submodules' forwards.

An object is a static value: numbers and flags are read off it as it stands, its tensors are inputs,
and what it calls is put in its place, line by line. Nothing of it is changed: an attribute that the
forward writes is kept beside it.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gradninja.lines import fence
from gradninja.lines.modules.layers import ASKED, COMPUTED, FUNCTIONS, meaning, trimmed
from gradninja.lines.modules.live import callee_path, forward_of
from gradninja.lines.plain import is_object, is_plain, literal
from gradninja.lines.program import STATIC, Expr, Record
from gradninja.lines.reading.inlining import Function, Inlining
from gradninja.lines.source import Standing

# Methods that only tell what an object holds.
TELLING = frozenset(
    "parameters named_parameters buffers named_buffers children named_children modules "
    "named_modules items keys values get index count".split()
)
HOOKS = ("_forward_hooks", "_forward_pre_hooks")


NEEDED = object()  # no default


def _fields(kind: type) -> dict[str, Any] | None:
    """The fields of a named tuple or a plain dataclass, with their defaults; None of another."""
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        defaults: Mapping[str, Any] = getattr(kind, "_field_defaults", {})
        return {name: defaults.get(name, NEEDED) for name in kind._fields}
    if not dataclasses.is_dataclass(kind) or hasattr(kind, "__post_init__"):
        return None
    return {
        field.name: NEEDED if field.default is dataclasses.MISSING else field.default
        for field in dataclasses.fields(kind)
        if field.init
    }


class Objects(Inlining):
    """Attributes and calls of live objects."""

    state: dict[tuple[int, str], Expr]  # attributes that the forward wrote

    def member(self, node: ast.expr, owner: Expr, name: str) -> Expr:
        held = self.state.get((id(owner.value), name))
        if held is not None:
            return held
        described = getattr(type(owner.value), name, None)
        getter = getattr(described, "fget", None) or getattr(described, "func", None)
        if isinstance(described, property | functools.cached_property) and getter is not None:
            if getter.__module__.startswith("torch."):
                self.fail(
                    node,
                    f"`{name}` of this {type(owner.value).__name__} is computed anew by torch",
                    "compute it in the forward, or remove the parametrization",
                )
            return self.enter(node, Function.of(getter, name), [owner], {})
        try:
            value = getattr(owner.value, name)
        except AttributeError:
            self.fail(node, f"`{type(owner.value).__name__}` has no `{name}`")
        except Exception as error:  # whatever a `__getattr__` of the person's raises
            self.fail(node, f"`{name}` cannot be read: {error}")
        if isinstance(value, torch.Size):
            value = tuple(value)
        written = is_plain(value) or isinstance(value, torch.dtype | torch.device)
        syntax = literal(value) if written else ast.Attribute(owner.syntax, name, ast.Load())
        return self.value_of(node, value, syntax)

    def write_member(self, owner: Expr, name: str, expr: Expr) -> Expr:
        bound = self.named(name, expr)
        self.state[id(owner.value), name] = bound
        return bound

    def module_call(
        self,
        node: ast.Call,
        path: str,
        args: list[Expr] | None = None,
        kwargs: Mapping[str, Expr] | None = None,
    ) -> Expr:
        text = FUNCTIONS.get(path)
        if isinstance(self.source, Standing):  # a layer hands on all that it holds
            if args is None or kwargs is None:
                args, kwargs = self._arguments(node)
            args = args[: trimmed(path, [e.value for e in args])]
        if text is None:
            return super().module_call(node, path, args, kwargs)
        if args is None or kwargs is None:
            args, kwargs = self._arguments(node)
        if path in ASKED:
            wanted = kwargs.get(ASKED[path])
            if wanted is None or wanted.op != STATIC or not wanted.value:
                return super().module_call(node, path, args, kwargs)
        if path in fence.REFUSED and not self.tensors:
            settings = [*(e.value for e in args[1:3]), *(e.value for e in kwargs.values())]
            if not any(setting is False or setting == 0 for setting in settings):
                return super().module_call(node, path, args, kwargs)
        return self.enter(node, Function.of(text, path), args, kwargs)

    def enter(
        self, node: ast.expr, function: Function, args: list[Expr], kwargs: Mapping[str, Expr]
    ) -> Expr:
        if function.live not in COMPUTED or any(e.op != STATIC for e in args):
            return super().enter(node, function, args, kwargs)
        try:
            value = function.live(*(e.value for e in args))
        except (KeyError, ValueError) as error:
            self.fail(node, f"this line does not run: {type(error).__name__}: {error}")
        return self.static(node, value, literal(value))

    # -- calls ------------------------------------------------------------------------------

    def call_value(
        self, node: ast.Call, callee: Expr, args: list[Expr], kwargs: Mapping[str, Expr]
    ) -> Expr:
        """A call of a live thing: a function, a method, a module, a class."""
        value = callee.value
        if isinstance(value, Function):
            return self.enter(node, value, args, kwargs)
        if isinstance(value, functools.partial):
            first = [self.value_of(node, v, self._plain_syntax(v)) for v in value.args]
            named = {
                k: self.value_of(node, v, self._plain_syntax(v)) for k, v in value.keywords.items()
            }
            inner = self.value_of(node, value.func, node.func)
            return self.call_value(node, inner, [*first, *args], {**named, **kwargs})
        path = callee_path(value) if not isinstance(value, nn.Module) else None
        if path is not None:
            return self.module_call(node, fence.callee_of(path), args, kwargs)
        if isinstance(value, types.FunctionType):
            return self.enter(node, Function.of(value, value.__name__), args, kwargs)
        if isinstance(value, type):
            return self._made(node, value, args, kwargs)
        if isinstance(value, types.MethodType):
            return self._bound(node, value, args, kwargs)
        if isinstance(value, types.BuiltinMethodType):
            owner = getattr(value, "__self__", None)
            if isinstance(owner, dict | list | tuple | str) and value.__name__ in TELLING:
                return self._told(node, value, args)
            if owner is builtins:
                return self.builtin(node, value.__name__, args, kwargs)
        elif isinstance(value, nn.Module) or forward_of(value) is not None:
            return self._instance(node, callee, args, kwargs)
        self.fail(node, f"`{ast.unparse(node.func)}` is not a function that can be read")

    def _plain_syntax(self, value: Any) -> ast.expr:
        return literal(value) if is_plain(value) else ast.Constant(None)

    def _object(self, node: ast.expr, value: Any) -> Expr:
        return self.static(node, value, node)

    def _told(self, node: ast.Call, method: Any, args: list[Expr]) -> Expr:
        """What a method such as `items()` tells of an object, as a list where it is several."""
        if any(e.op != STATIC for e in args):
            self.fail(node, f"`{method.__name__}` takes plain values here")
        found = method(*(e.value for e in args))
        if method.__name__ not in {"get", "index", "count"}:
            found = list(found)
        return self.value_of(node, found, literal(found) if is_plain(found) else node)

    def _bound(
        self, node: ast.Call, method: types.MethodType, args: list[Expr], kwargs: Mapping[str, Expr]
    ) -> Expr:
        function, owner = method.__func__, method.__self__
        if isinstance(owner, nn.Module) and function.__module__.startswith("torch."):
            name = function.__name__
            if name in TELLING:
                return self._told(node, method, args)
            if name == "flatten_parameters":  # only how they lie in memory
                return self.static(node, None, ast.Constant(None))
            if name in {"forward", "__call__", "_call_impl", "_wrapped_call_impl"}:
                if "forward" in getattr(function, "__qualname__", "") and meaning(type(owner)):
                    return self._layer(node, type(owner), owner, args, kwargs)
                for base in type(owner).__mro__:  # `super().forward(x)` of a layer of torch's
                    if vars(base).get("forward") is function and meaning(base):
                        return self._layer(node, base, owner, args, kwargs)
            self.fail(node, f"`{name}` of a module is outside of what is read")
        if not isinstance(function, types.FunctionType):
            self.fail(node, f"`{method.__name__}` is not written in Python")
        held = self._object(node, owner)
        return self.enter(node, Function.of(function, function.__name__), [held, *args], kwargs)

    def _instance(
        self, node: ast.Call, callee: Expr, args: list[Expr], kwargs: Mapping[str, Expr]
    ) -> Expr:
        """A call of a module, or of an object with `__call__`: its forward's lines."""
        value, kind = callee.value, type(callee.value)
        if any(getattr(value, hooks, None) for hooks in HOOKS):
            self.fail(
                node,
                f"this {kind.__name__} has hooks, which run beside its forward",
                "remove them (remove_weight_norm, remove_spectral_norm, `handle.remove()`), or "
                "write what they do in the forward",
            )
        method = forward_of(value)
        if isinstance(value, nn.Module) and "forward" in vars(value):
            self.fail(node, f"this {kind.__name__} has a `forward` of its own that was set on it")
        if method is None:
            self.fail(node, f"the forward of {kind.__name__} is not written in Python")
        if method.__module__.startswith(("torch.", "einops.")):
            return self._layer(node, kind, value, args, kwargs)
        return self.enter(node, Function.of(method, kind.__name__), [callee, *args], kwargs)

    def _layer(
        self,
        node: ast.Call,
        kind: type,
        layer: Any,
        args: list[Expr],
        kwargs: Mapping[str, Expr],
    ) -> Expr:
        text = meaning(kind)
        if text is None:
            self.fail(
                node,
                f"torch.nn.{kind.__name__} is not read yet",
                "write its forward as lines, in a module of your own",
            )
        held = self._object(node, layer)
        return self.enter(node, Function.of(text, kind.__name__), [held, *args], kwargs)

    def _made(
        self, node: ast.Call, kind: type, args: list[Expr], kwargs: Mapping[str, Expr]
    ) -> Expr:
        """An object that the forward makes: `nn.ReLU()(x)`; it may hold no tensors."""
        if kind.__module__ == "builtins":
            return self.builtin(node, kind.__name__, args, kwargs)
        fields = _fields(kind)
        if fields is not None:
            return self._record(node, kind, fields, args, kwargs)
        if any(e.op != STATIC for e in (*args, *kwargs.values())):
            self.fail(
                node,
                f"a {kind.__name__} is made of tensors here",
                "return the tensors themselves, or a tuple of them",
            )
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
        return self.value_of(node, made, node)

    def _record(
        self,
        node: ast.Call,
        kind: type,
        fields: Mapping[str, Any],
        args: list[Expr],
        kwargs: Mapping[str, Expr],
    ) -> Expr:
        """A named tuple, or a dataclass that does nothing else: its fields."""
        given = {**dict(zip(fields, args, strict=False)), **kwargs}
        entries = {}
        for name, default in fields.items():
            if name not in given and default is NEEDED:
                self.fail(node, f"`{kind.__name__}` needs a value for `{name}`")
            plain = literal(default) if is_plain(default) else ast.Constant(None)
            entries[name] = given.get(name) or self.value_of(node, default, plain)
        if len(args) > len(fields) or set(kwargs) - set(fields):
            self.fail(node, f"`{kind.__name__}` has the fields {', '.join(fields)}")
        return self.dictionary(node, entries, Record)

    # -- names and builtins that only objects need ---------------------------------------------

    def read_JoinedStr(self, node: ast.JoinedStr) -> Expr:
        """`f"layer{i}"` of plain values: the name of an attribute, say."""
        parts = []
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                expr = self.read(part.value)
                if expr.op != STATIC or part.format_spec is not None or is_object(expr.value):
                    self.fail(node, "text has no place in a forward")
                parts.append(str(expr.value))
            else:
                assert isinstance(part, ast.Constant)
                parts.append(str(part.value))
        return self.static(node, "".join(parts), ast.Constant("".join(parts)))

    def builtin(
        self, node: ast.Call, name: str, args: list[Expr], kwargs: Mapping[str, Expr]
    ) -> Expr:
        known = {"hasattr", "getattr", "callable", "type", "next", "iter", "str", "super", "print"}
        if name not in known:
            return super().builtin(node, name, args, kwargs)
        if name == "super":
            return self._super(node, args)
        if not args or kwargs:
            self.fail(node, f"`{name}` takes its arguments by place")
        first = args[0]
        if name in {"hasattr", "getattr"}:
            wanted = args[1].value if len(args) > 1 else None
            if not isinstance(wanted, str):
                self.fail(node, f"`{name}` takes the name of an attribute")
            written = (id(first.value), wanted) in self.state
            if name == "hasattr" or (len(args) > 2 and not written):
                has = written or hasattr(first.value, wanted)
                if name == "hasattr":
                    return self.static(node, has, ast.Constant(has))
                if not has:
                    return args[2]
            syntax = ast.copy_location(ast.Attribute(node.args[0], wanted, ast.Load()), node)
            return self.read(syntax)
        if name == "next":
            elements = self.elements_of(node, first)
            if elements:
                return elements[0]
            self.fail(node, "there is nothing next")
        if name == "iter":
            return first
        if first.op != STATIC:
            if name == "callable":
                return self.static(node, False, ast.Constant(False))
            self.fail(node, f"`{name}` of a tensor leaves the lines")
        value = getattr(builtins, name)(first.value)
        return self.static(node, value, literal(value) if is_plain(value) else node)

    def _super(self, node: ast.Call, args: list[Expr]) -> Expr:
        if len(args) == 2:
            return self.static(node, super(args[0].value, args[1].value), node)
        home = self.source.outside.get("__class__")
        held = self.scope.get(self.source.function.args.args[0].arg)
        if not isinstance(home, type) or held is None:
            self.fail(node, "`super()` stands in a method of a class")
        return self.static(node, super(home, held.value), node)
