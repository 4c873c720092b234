"""Running a Function's methods with one statement changed, from the statement on."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from types import CodeType, FrameType
from typing import Any

import torch

from gradninja.check.functions.function_text import Text, Unreadable
from gradninja.check.functions.played.context import Ctx, Dotted
from gradninja.check.given.execution import compiled, copy_of
from gradninja.lines.scope import bare, run_code

BACK = "_handed_back_"


class _Back(BaseException):
    """A `return` was reached; an `except Exception` of the person's does not stop it."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _hand_back(value: Any) -> None:
    raise _Back(value)


class Played:
    """The methods of a Function on one set of values.

    Args:
        inputs: by place, floats in float64.
        wanted: the places that gradients are wanted for.
    """

    def __init__(self, text: Text, inputs: Sequence[Any], wanted: Sequence[int]) -> None:
        self.text, self.inputs, self.wanted = text, list(inputs), list(wanted)
        self.namespace = dict(text.namespace)
        self._forward = self.function(text.forward, self.namespace)
        self._setup: Any = None
        if text.setup is not None:
            self._setup = self.function(text.setup, self.namespace)
        self.backward = _dotted(text.backward, 0)
        names = [a.arg for a in (*self.backward.args.posonlyargs, *self.backward.args.args)]
        if not names or self.backward.args.kwarg is not None:
            raise Unreadable("its backward takes no `ctx`")
        self.ctx_name, *self.parameters = names
        self.needs = [at in self.wanted for at in range(len(self.inputs))]
        self._codes: dict[int, tuple[ast.AST, CodeType]] = {}
        self.outputs, self.ctx = self.went(self.namespace)
        self.cotangents: list[Any] = [
            _random(o, at) if _floats(o) else None for at, o in enumerate(self.outputs)
        ]
        self.before: list[dict[str, Any]] = []
        self.shared: set[int] = set()  # statements before which nothing can be kept

    # -- forward ----------------------------------------------------------------------------

    def went(
        self, namespace: Mapping[str, Any], node: ast.FunctionDef | None = None
    ) -> tuple[list[Any], Ctx]:
        """The outputs, and `ctx` after them."""
        ctx, inputs = Ctx(self.needs), [copy_of(value) for value in self.inputs]
        forward = self._forward if node is None else self.function(node, namespace)
        with torch.no_grad():
            if self.text.setup is None:
                found = forward(ctx, *inputs)
            else:
                found = forward(*inputs)
                self._setup(ctx, tuple(inputs), found)
        return (list(found) if isinstance(found, tuple) else [found]), ctx

    def outputs_of(self, inputs: Sequence[Any]) -> list[Any]:
        """The outputs on other values."""
        before, self.inputs = self.inputs, list(inputs)
        try:
            return self.went(self.namespace)[0]
        finally:
            self.inputs = before

    def function(self, node: ast.FunctionDef, namespace: Mapping[str, Any]) -> Any:
        """A method or a helper as a function, as its text has it."""
        scope = {**namespace}
        run_code(compiled([bare(node)], self.text.file, widen=True), scope)
        return scope[node.name]

    # -- backward ---------------------------------------------------------------------------

    @property
    def body(self) -> list[ast.stmt]:
        return self.backward.body

    def start(self, ctx: Ctx, namespace: Mapping[str, Any]) -> dict[str, Any]:
        """The names that the backward begins with."""
        given = [copy_of(value) for value in self.cotangents]
        mine = ctx.copy()
        scope = {**namespace, BACK: _hand_back, self.ctx_name: mine, **mine.values(self.ctx_name)}
        scope.update(zip(self.parameters, given, strict=False))
        star = self.backward.args.vararg
        if star is not None:
            scope[star.arg] = tuple(given[len(self.parameters) :])
        return scope

    def ran(self) -> list[Any]:
        """The gradients as the text stands; keeps what the names are before each statement."""
        scope = self.start(self.ctx, self.namespace)
        self.before = []
        held: list[tuple[list[Any], list[int]]] = []
        try:
            for statement in self.body:
                self.before.append(dict(scope))
                values = _written_to(scope, self.ctx_name, self.namespace)
                held.append((values, list(map(_version, values))))
                found = self._step(statement, scope)
                if found is not None:
                    return found
        finally:  # what a later line writes into is not kept as it was
            self.shared |= {
                at
                for at, (values, versions) in enumerate(held)
                if versions != list(map(_version, values))
            }
        raise Unreadable("its backward returns nothing")

    def with_statement(self, at: int, new: Sequence[ast.stmt]) -> list[Any]:
        """The gradients with other statements in the place of one; raises what they raise."""
        rest = [*new, *self.body[at + 1 :]]
        if at in self.shared or at >= len(self.before):
            return self._through([*self.body[:at], *rest], self.start(self.ctx, self.namespace))
        scope = dict(self.before[at])
        held = _written_to(scope, self.ctx_name, self.namespace)
        versions = list(map(_version, held))
        try:
            return self._through(rest, scope)
        finally:
            if versions != list(map(_version, held)):
                self.shared.add(at)
                self._afresh()

    def _afresh(self) -> None:
        try:
            self.ran()
        except Exception:  # as it did before
            return

    def _through(self, statements: Sequence[ast.stmt], scope: dict[str, Any]) -> list[Any]:
        for statement in statements:
            found = self._step(statement, scope)
            if found is not None:
                return found
        raise Unreadable("its backward returns nothing")

    def _step(self, statement: ast.stmt, scope: dict[str, Any]) -> list[Any] | None:
        try:
            with torch.no_grad():
                run_code(self._code(statement), scope)
        except _Back as back:
            found = back.value
            return list(found) if isinstance(found, tuple | list) else [found]
        return None

    def _code(self, statement: ast.stmt) -> CodeType:
        held, code = self._codes.get(id(statement), (None, None))
        if held is not statement or code is None:
            code = compiled([_handing_back(statement)], self.text.file, widen=True)
            if len(self._codes) > 5000:
                self._codes.clear()
            self._codes[id(statement)] = (statement, code)
        return code

    def whole(self, namespace: Mapping[str, Any]) -> list[Any]:
        """The gradients with other helpers."""
        return self._through(self.body, self.start(self.ctx, namespace))

    def with_forward(self, node: ast.FunctionDef) -> list[Any] | None:
        """The gradients with another forward; None where the outputs are not the same."""
        outputs, ctx = self.went(self.namespace, node)
        as_many = len(outputs) == len(self.outputs)
        if not as_many or not all(map(same, outputs, self.outputs)):
            return None
        return self._through(self.body, self.start(ctx, self.namespace))

    # -- what names are, in a function that is called ------------------------------------------

    def locals_of(self, node: ast.FunctionDef) -> dict[str, Any]:
        """The locals of a method or a helper where it returns, the last time that it is called."""
        found: dict[str, Any] = {}
        made = self.function(node, self.namespace)
        code = made.__code__

        def watch(frame: FrameType, event: str, _: Any) -> Any:
            if frame.f_code is code:
                return keep
            return None

        def keep(frame: FrameType, event: str, _: Any) -> Any:
            if event == "return":
                found.update(frame.f_locals)
            return keep

        other, before = self.text, sys.gettrace()
        sys.settrace(watch)
        try:
            if node is other.forward:
                with torch.no_grad():
                    inputs = [copy_of(value) for value in self.inputs]
                    made(*([Ctx(self.needs)] if other.setup is None else []), *inputs)
            else:
                self.whole({**self.namespace, node.name: made})
        except Exception:  # then what it had come to
            return found
        finally:
            sys.settrace(before)
        return found


class _HandsBack(ast.NodeTransformer):
    """`return x` as a call that hands x back; functions inside return as they do."""

    def visit_Return(self, node: ast.Return) -> ast.AST:
        value = node.value or ast.Constant(None)
        call = ast.Call(ast.Name(BACK, ast.Load()), [value], [])
        return ast.copy_location(ast.Expr(call), node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node


def _handing_back(statement: ast.stmt) -> ast.stmt:
    """A statement that can be run alone."""
    if isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Expr):
        return statement
    whole = statement if isinstance(statement, ast.Return) else deepcopy(statement)
    found: ast.stmt = _HandsBack().visit(whole)
    return found


def _dotted(node: ast.FunctionDef, at: int) -> ast.FunctionDef:
    found = deepcopy(node)
    arguments = [*found.args.posonlyargs, *found.args.args]
    if len(arguments) > at:
        attributes = [n for n in ast.walk(found) if isinstance(n, ast.Attribute)]
        bound = frozenset(n.attr for n in attributes if not isinstance(n.ctx, ast.Load))
        found = Dotted(arguments[at].arg, bound).visit(found)
    if found.body and _is_text(found.body[0]) and len(found.body) > 1:
        found.body = found.body[1:]
    return found


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _written_to(scope: Mapping[str, Any], ctx: str, around: Mapping[str, Any]) -> list[Any]:
    """The values that lines may write into."""
    mine = [value for name, value in scope.items() if name not in around]
    every = [*mine, *vars(scope[ctx]).values(), *scope[ctx].saved_tensors]
    return [value for value in every if isinstance(value, torch.Tensor | list | dict)]


def _version(value: Any) -> int:
    return value._version if isinstance(value, torch.Tensor) else len(value)


def _floats(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())


def same(one: Any, other: Any) -> bool:
    """Whether two values are tensors that hold the same."""
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return type(one) is type(other)
    return one.shape == other.shape and bool(torch.equal(one, other))


def _random(output: torch.Tensor, place: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(place + 17)
    wide = torch.complex128 if output.is_complex() else torch.float64
    return torch.randn(output.shape, generator=generator, dtype=wide).to(output.dtype)
