"""Reading what belongs to a live object: its attributes, its methods, its submodules' forwards.

An object is a static value: numbers and flags are read off it as it stands, its tensors are inputs,
and what it calls is put in its place, line by line. Nothing of it is changed: an attribute that the
forward writes is kept beside it.
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

from gradninja.errors import ReadError
from gradninja.lines import fence
from gradninja.lines.given.source import Standing
from gradninja.lines.modules.layers import ASKED, COMPUTED, FUNCTIONS, meaning, trimmed
from gradninja.lines.modules.live import callee_path, forward_of
from gradninja.lines.modules.wrappers import unwrapped
from gradninja.lines.plain import is_plain, literal
from gradninja.lines.program import STATIC, TUPLE, Expr
from gradninja.lines.reading.inlining import Function
from gradninja.lines.reading.making import Making
from gradninja.lines.reading.numbers import Logged, logged

# Methods that only tell what an object holds.
TELLING = frozenset(
    "parameters named_parameters buffers named_buffers children named_children modules "
    "named_modules items keys values get index count".split()
)
HOOKS = ("_forward_hooks", "_forward_pre_hooks")


class Objects(Making):
    """Attributes and calls of live objects."""

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
        if isinstance(owner.value, Logged):  # `acc.cpu().numpy().mean()` is logged as well
            return owner
        try:
            value = getattr(owner.value, name)
        except AttributeError:
            self.hold_single(node, (owner,))
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

    def replace_container(self, target: ast.expr, old: Expr, new: Expr) -> None:
        raise NotImplementedError

    # -- calls ------------------------------------------------------------------------------

    def call_value(
        self, node: ast.Call, callee: Expr, args: list[Expr], kwargs: Mapping[str, Expr]
    ) -> Expr:
        """A call of a live thing: a function, a method, a module, a class."""
        value = unwrapped(callee.value)
        if value is not callee.value:
            callee = self.static(node, value, callee.syntax)
        if isinstance(value, Logged):
            return callee
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
            return self.make(node, value, args, kwargs)
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
        function, owner = unwrapped(method.__func__), method.__self__
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
        text = meaning(kind) or forward_of(layer)  # most only call a function: their own text
        assert text is not None
        held = self._object(node, layer)
        return self.enter(node, Function.of(text, kind.__name__), [held, *args], kwargs)

    # -- names and builtins that only objects need ---------------------------------------------

    def read_JoinedStr(self, node: ast.JoinedStr) -> Expr:
        """`f"layer{i}"` of plain values: the name of an attribute, say."""
        parts = []
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                expr = self.read(part.value)
                error = ReadError("text has no place in a forward", spot=self.source.spot(node))
                told = logged(expr.value)
                if expr.op != STATIC or told is not None:
                    return self.static(node, told or Logged(error), node)
                spec = "" if part.format_spec is None else self.read(part.format_spec).value
                parts.append(format(expr.value, spec))
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
                if isinstance(node.args[0], ast.Name):  # what is left, for who reads on
                    rest = self.container(node, elements[1:], list)
                    self.replace_container(node.args[0], first, rest)
                return elements[0]
            if len(args) > 1:
                return args[1]
            self.fail(node, "there is nothing next")
        if name == "iter":
            several = self.elements_of(node, first)
            return self.container(node, several, list) if first.op == TUPLE else first
        if name == "callable":
            called = isinstance(first.value, Function) or callable(first.value)
            return self.static(node, called, ast.Constant(called))
        if name == "type" and len(args) == 1:
            kind = types.FunctionType if isinstance(first.value, Function) else type(first.value)
            return self.static(node, kind, node)
        if first.op != STATIC:
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
