"""Reading a call of a plain function: its lines stand in the caller's place."""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from gradninja.lines.given import source as sources
from gradninja.lines.given.signature import parameters
from gradninja.lines.given.source import Source, Standing
from gradninja.lines.modules.live import live_defaults
from gradninja.lines.modules.wrappers import HARMLESS, QUIET, decorator_name, unwrapped
from gradninja.lines.plain import is_plain, literal
from gradninja.lines.program import NAME, STATIC, TUPLE, Expr, Input
from gradninja.lines.reading.calls import Calls

DEEPEST_CALL = 40
LIBRARIES = ("gradninja.", "torch.")  # whose text stands where the person calls it
OUTSIDE = frozenset({"torch", "einops"})  # whose functions are known by name


class Returned(Exception):
    """The return statement was reached."""

    def __init__(self, value: Expr, node: ast.Return) -> None:
        self.value, self.node = value, node


@dataclass(frozen=True, eq=False)
class Function:
    """A function that a call may put in its place: its text, or the live thing it is read from.

    `around`: the names that a function within a function sees.
    """

    name: str
    source: Source | None = None
    node: ast.FunctionDef | None = None
    live: Callable[..., Any] | None = None
    around: Mapping[str, Expr] | None = None

    @staticmethod
    def of(live: Callable[..., Any], name: str) -> Function:
        return Function(name, live=unwrapped(live))


class Inlining(Calls):
    """Calls of plain functions; the statement reader runs their bodies."""

    local_functions: dict[str, Function]
    loaded: dict[Callable[..., Any], Source]
    depth: int
    statement: ast.stmt
    inputs: tuple[Input, ...]

    def run(self, body: list[ast.stmt]) -> None:
        raise NotImplementedError

    def fresh(self, base: str) -> str:
        raise NotImplementedError

    def bind(self, name: str, expr: Expr) -> Expr:
        raise NotImplementedError

    def named(self, name: str, expr: Expr) -> Expr:
        raise NotImplementedError

    def add_line(self, targets: tuple[str, ...], expr: Expr) -> None:
        raise NotImplementedError

    def reference(self, name: str, value: Any, of: Expr) -> Expr:
        raise NotImplementedError

    def is_function(self, name: str) -> bool:
        return self.function(name) is not None

    def function(self, name: str) -> Function | None:
        if name in self.local_functions:
            return self.local_functions[name]
        if name in self.source.functions:
            return Function(name, self.source, self.source.functions[name])
        live = unwrapped(self.source.outside.get(name))
        if (
            isinstance(live, types.FunctionType)
            and live.__module__.partition(".")[0] not in OUTSIDE
        ):
            return Function(name, live=live)
        return None

    def read_Name(self, node: ast.Name) -> Expr:
        if node.id not in self.scope and node.id not in self.source.constants:
            found = self.function(node.id)
            if found is not None:
                return self.static(node, found, node)
        return super().read_Name(node)

    def read_Lambda(self, node: ast.Lambda) -> Expr:
        body = ast.copy_location(ast.Return(node.body), node.body)
        function = ast.copy_location(ast.FunctionDef("lambda", node.args, [body], []), node)
        return self.static(node, Function("lambda", self.source, function, None, self.scope), node)

    def inline(
        self, node: ast.Call, name: str, args: list[Expr], kwargs: Mapping[str, Expr]
    ) -> Expr:
        found = self.function(name)
        assert found is not None
        return self.enter(node, found, args, kwargs)

    def _text(self, node: ast.expr, function: Function) -> tuple[Source, ast.FunctionDef]:
        """The text of a function; one of our own stands where the person calls it."""
        if function.source is not None and function.node is not None:
            return function.source, function.node
        live = function.live
        assert live is not None
        if live not in self.loaded:
            lambdas = getattr(live, "__name__", "") == "<lambda>"
            self.loaded[live] = (
                sources.of_lambda(live)
                if lambdas
                else sources.load(live, dialect=self._dialect(live), whole=True)
            )
        found = self.loaded[live]
        if live.__module__.startswith(LIBRARIES):
            parts = {f.name: getattr(found, f.name) for f in fields(Source)}
            said = self.source.statement(self.statement)
            found = Standing(**parts, place=self.source.spot(node), said=said)
        return found, found.function

    def _dialect(self, live: Callable[..., Any]) -> str | None:
        """A function of the person's speaks as its caller does."""
        return None if live.__module__.startswith(LIBRARIES) else self.source.dialect

    def enter(
        self, node: ast.expr, function: Function, args: list[Expr], kwargs: Mapping[str, Expr]
    ) -> Expr:
        """What a function returns for these arguments; its lines stand before this one."""
        source, definition = self._text(node, function)
        name = function.name
        if self.depth >= DEEPEST_CALL:
            self.fail(node, f"`{name}` calls itself, or calls go {DEEPEST_CALL} deep")
        given, more = self._given(node, name, source, definition, args, kwargs)
        defaults = live_defaults(function.live)
        inner = dict(function.around or {})
        plain = isinstance(source, Standing) and _used_once(definition)
        self.depth += 1
        for formal in parameters(source, definition, stars=True):
            if formal.name in given:
                value = given[formal.name]
                inner[formal.name] = value if plain else self._leaf_argument(formal.name, value)
            elif formal.name in defaults:
                default = defaults[formal.name]
                syntax = literal(default) if is_plain(default) else ast.Constant(None)
                inner[formal.name] = self.value_of(node, default, syntax)
            elif formal.default is not None:
                inner[formal.name] = self.read(formal.default)
            else:
                self.fail(node, f"`{name}` needs a value for `{formal.name}`")
        for star, several in more.items():
            inner[star] = several if several.op == STATIC else self._leaf_argument(star, several)
        quiet = self._decorated(node, name, source, definition)
        outer = (self.source, self.scope, self.statement, dict(self.local_functions))
        recorded = self.grad_enabled
        self.grad_enabled = recorded and not quiet
        self.frames.append(self.scope)
        self.source, self.scope = source, inner
        try:
            self.run(definition.body)
            value = self.static(node, None, ast.Constant(None))
        except Returned as reached:
            value = reached.value
            quiet = not self.grad_enabled
        finally:
            self.frames.pop()
            self.grad_enabled = recorded
            self.source, self.scope, self.statement, self.local_functions = outer
            self.depth -= 1
        if quiet and recorded and value.op not in (NAME, STATIC):
            return self.named(name, value)  # in a line of its own, which no gradient enters
        return value

    def _decorated(
        self, node: ast.AST, name: str, source: Source, definition: ast.FunctionDef
    ) -> bool:
        """Whether a function runs without gradients; what else decorates it is not guessed at."""
        quiet = False
        for decorator in definition.decorator_list:
            told = decorator_name(decorator)
            if told == "autocast" and self.leaves_precision(decorator):
                continue
            if told in QUIET:
                quiet = True
            elif told not in HARMLESS and not isinstance(source, Standing):
                self.fail(
                    node,
                    f"`{name}` is decorated with `@{ast.unparse(decorator)}`, "
                    "which may change what it gives",
                    "call the function without it",
                )
        return quiet

    def leaves_precision(self, context: ast.expr) -> bool:
        """Whether an `autocast` is off, or for another device than the one that this is read on."""
        if not isinstance(context, ast.Call):
            return False
        named = {k.arg: k.value for k in context.keywords}
        enabled = named.get("enabled")
        if enabled is not None and not self.decide(enabled):
            return True
        path = self.dotted(context.func) or ast.unparse(context.func)
        told = context.args[0] if context.args else named.get("device_type")
        device = "cuda" if ".cuda." in path else told and self.read(told).value
        here = {i.value.device.type for i in self.inputs if isinstance(i.value, torch.Tensor)}
        return isinstance(device, str) and device not in here

    def _given(
        self,
        node: ast.expr,
        name: str,
        source: Source,
        definition: ast.FunctionDef,
        args: list[Expr],
        kwargs: Mapping[str, Expr],
    ) -> tuple[dict[str, Expr], dict[str, Expr]]:
        """The arguments by name, and what `*args` and `**kwargs` take."""
        arguments = definition.args
        only_named = {a.arg for a in arguments.kwonlyargs}
        formals = [f.name for f in parameters(source, definition, stars=True)]
        places = [name for name in formals if name not in only_named]
        given = dict(zip(places, args, strict=False))
        rest = args[len(places) :]
        extra: dict[str, Expr] = {}
        if rest and arguments.vararg is None:
            self.fail(node, f"`{name}` takes {len(places)} values and is given {len(args)}")
        for key, value in kwargs.items():
            if key in given or (key not in formals and arguments.kwarg is None):
                self.fail(node, f"`{name}` takes no `{key}` here")
            (given if key in formals else extra)[key] = value
        more = {}
        if arguments.vararg is not None:
            more[arguments.vararg.arg] = self.container(node, rest)
        if arguments.kwarg is not None:
            values = {key: value.value for key, value in extra.items()}
            plain = all(value.op == STATIC for value in extra.values())
            more[arguments.kwarg.arg] = (
                self.static(node, values, ast.Constant(None))
                if plain
                else self.dictionary(node, extra)
            )
        return given, more

    def _leaf_argument(self, name: str, value: Expr) -> Expr:
        if value.op in (NAME, STATIC):
            return value
        if value.op == TUPLE:
            parts = [self._leaf_argument(name, e) for e in value.args]
            return self.rebuilt(self.statement, value, parts)
        if isinstance(value.value, tuple):
            before = self.scope.get(name)
            bound = self.bind(name, value)
            if before is None:
                del self.scope[name]
            else:
                self.scope[name] = before
            return bound
        target = self.fresh(name)
        self.add_line((target,), value)
        return self.reference(target, value.value, value)


def _used_once(definition: ast.FunctionDef) -> bool:
    """Whether each parameter is read once on every way to a `return`, so needs no name."""
    tests = [n for n in ast.walk(definition) if isinstance(n, ast.Return)]
    within = {id(n) for one in tests for n in ast.walk(one)}
    names = {a.arg for a in definition.args.args[1:]}

    def reads(among: list[ast.AST]) -> int:
        found = [n.id for n in among if isinstance(n, ast.Name) and n.id in names]
        return max((found.count(name) for name in found), default=0)

    outside = [n for n in ast.walk(definition) if id(n) not in within]
    return reads(outside) == 0 and all(reads(list(ast.walk(one))) <= 1 for one in tests)
