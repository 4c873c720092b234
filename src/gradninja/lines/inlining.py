"""Reading a call of a plain function: its lines stand in the caller's place."""

from __future__ import annotations

import ast
import types
from collections.abc import Mapping
from typing import Any

from gradninja.lines import source as sources
from gradninja.lines.calls import Calls
from gradninja.lines.program import NAME, STATIC, TUPLE, Expr
from gradninja.lines.signature import parameters
from gradninja.lines.source import Source

DEEPEST_CALL = 40


class Returned(Exception):
    """The return statement was reached."""

    def __init__(self, value: Expr, node: ast.Return) -> None:
        self.value, self.node = value, node


class Inlining(Calls):
    """Calls of plain functions; the statement reader runs their bodies."""

    local_functions: dict[str, tuple[Source, ast.FunctionDef]]
    depth: int
    statement: ast.stmt

    def run(self, body: list[ast.stmt]) -> None:
        raise NotImplementedError

    def fresh(self, base: str) -> str:
        raise NotImplementedError

    def bind(self, name: str, expr: Expr) -> Expr:
        raise NotImplementedError

    def add_line(self, targets: tuple[str, ...], expr: Expr) -> None:
        raise NotImplementedError

    def reference(self, name: str, value: Any, of: Expr) -> Expr:
        raise NotImplementedError

    def is_function(self, name: str) -> bool:
        return self._function(name) is not None

    def _function(self, name: str) -> tuple[Source, ast.FunctionDef] | None:
        if name in self.local_functions:
            return self.local_functions[name]
        if name in self.source.functions:
            return self.source, self.source.functions[name]
        live = getattr(self.source.live, "__globals__", {}).get(name)
        if isinstance(live, types.FunctionType) and not live.__module__.startswith("torch"):
            loaded = sources.load(live)
            return loaded, loaded.function
        return None

    def inline(
        self, node: ast.Call, name: str, args: list[Expr], kwargs: Mapping[str, Expr]
    ) -> Expr:
        found = self._function(name)
        assert found is not None
        source, function = found
        if self.depth >= DEEPEST_CALL:
            self.fail(node, f"`{name}` calls itself, or calls go {DEEPEST_CALL} deep")
        given: dict[str, Expr] = {}
        formals = parameters(source, function)
        if len(args) > len(formals):
            self.fail(node, f"`{name}` takes {len(formals)} values and is given {len(args)}")
        given.update(zip((f.name for f in formals), args, strict=False))
        for key, value in kwargs.items():
            if key not in {f.name for f in formals} or key in given:
                self.fail(node, f"`{name}` takes no `{key}` here")
            given[key] = value
        outer = (self.source, self.scope, self.statement, dict(self.local_functions))
        inner = dict(self.scope) if name in self.local_functions else {}
        self.depth += 1
        for formal in formals:
            if formal.name in given:
                inner[formal.name] = self._leaf_argument(formal.name, given[formal.name])
            elif formal.default is not None:
                inner[formal.name] = self.read(formal.default)
            else:
                self.fail(node, f"`{name}` needs a value for `{formal.name}`")
        self.source, self.scope = source, inner
        try:
            self.run(function.body)
            self.fail(function, f"`{name}` returns nothing")
        except Returned as reached:
            value = reached.value
        finally:
            self.source, self.scope, self.statement, self.local_functions = outer
            self.depth -= 1
        return value

    def _leaf_argument(self, name: str, value: Expr) -> Expr:
        if value.op in (NAME, STATIC):
            return value
        if value.op == TUPLE:
            return self.container(
                self.statement,
                [self._leaf_argument(name, e) for e in value.args],
                type(value.value),
            )
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
