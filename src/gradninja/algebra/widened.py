"""A program that casts, with the values that it has where every float is a float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from gradninja.derive.holding.dtypes import default_dtype
from gradninja.lines import ITEM, NAME, STATIC, TUPLE, Expr, Program
from gradninja.lines.scope import LIBRARY, value_of

CASTS = (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16)


class Wide(TorchFunctionMode):
    """Casts to any float dtype are casts to float64, for as long as this lasts."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in CASTS:
            func = torch.Tensor.double
        given = {key: _wide(value) for key, value in (kwargs or {}).items()}
        return func(*map(_wide, args), **given)


@dataclass(frozen=True, eq=False)
class Widened(Program):
    """A program whose values are those of `Wide`; its lines are run `as_valued`."""


def as_valued(program: Program) -> AbstractContextManager[Any]:
    """Where a program's lines, and those of its backward, run in the dtypes of its values."""
    return Wide() if isinstance(program, Widened) else nullcontext()


def _wide(value: Any) -> Any:
    floats = isinstance(value, torch.dtype) and value.is_floating_point
    return torch.float64 if floats else value


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _floats(value: Any) -> list[torch.Tensor]:
    """The float tensors that a value is, or holds."""
    several = value if isinstance(value, tuple | list) else (value,)
    return [v for v in several if _is_float(v)]


def is_narrow(value: Any) -> bool:
    """Whether a value is, or holds, a float tensor of another dtype than float64."""
    return any(v.dtype != torch.float64 for v in _floats(value))


def widened(program: Program) -> Program:
    """The program with float64 values throughout; as it is where it was not read in float64.

    What the algebra finds is proven on values: to 1e-9 on these, to 1e-6 on those of `x.float()`.
    """
    if any(is_narrow(each.value) for each in program.inputs):
        return program
    program = _as_called(program)
    exprs = [expr for line in program.lines for expr in line.expr.walk()]
    if any(expr.random for expr in exprs) or not any(is_narrow(expr.value) for expr in exprs):
        return program
    scope = _scope(program)

    def value(expr: Expr, args: Sequence[Expr]) -> Any:
        if expr.op == TUPLE:
            return type(expr.value)(arg.value for arg in args)
        if expr.op == ITEM:
            return args[0].value[args[1].value]
        if expr.op == NAME:
            return scope[str(expr)]
        return expr.value if expr.op == STATIC else _run(expr, scope)

    def wide(expr: Expr) -> Expr:
        args = tuple(map(wide, expr.args))
        kwargs = {key: wide(each) for key, each in expr.kwargs.items()}
        return replace(expr, args=args, kwargs=kwargs, value=value(expr, args))

    lines = []
    with Wide(), torch.no_grad():
        for line in program.lines:
            lines.append(replace(line, expr=wide(line.expr)))
            scope.update(zip(line.targets, lines[-1].outputs, strict=True))
    parts = {field.name: getattr(program, field.name) for field in fields(program)}
    return Widened(**{**parts, "lines": tuple(lines)})


def _as_called(program: Program) -> Program:
    """The program where floats that do not follow the inputs' know what they are when called.

    It was read where new tensors are float64; they are float32 beside a float64 input. Lines that
    do not run on these, as `torch.eye(n) @ doubles`, are left as they were read.
    """
    try:
        return _told(program)
    except (RuntimeError, TypeError):
        return program


def _told(program: Program) -> Program:
    scope = _scope(program)
    follows = {each.name for each in program.inputs if _floats(each.value)}

    def as_inputs(expr: Expr) -> bool:
        """Whether its dtype is an input's: of `x * 2`, and not of `torch.ones(len(x))`."""
        if expr.op == NAME:
            return str(expr) in follows
        typed = bool(_floats(expr.value)) or isinstance(expr.value, torch.dtype)
        return typed and any(map(as_inputs, expr.operands))

    def told(expr: Expr) -> Expr:
        dtype = None
        if isinstance(expr.value, torch.Tensor) and _floats(expr.value) and not as_inputs(expr):
            dtype = _run(expr, scope).dtype
        args = tuple(map(told, expr.args))
        kwargs = {key: told(each) for key, each in expr.kwargs.items()}
        return replace(expr, args=args, kwargs=kwargs, dtype=dtype)

    lines = []
    with default_dtype(torch.float32), torch.random.fork_rng(devices=[]), torch.no_grad():
        for line in program.lines:
            lines.append(replace(line, expr=told(line.expr)))
            if as_inputs(line.expr):
                follows |= set(line.targets)
                scope.update(zip(line.targets, line.outputs, strict=True))
            else:
                found = _run(line.expr, scope)
                several = found if len(line.targets) > 1 else (found,)
                scope.update(zip(line.targets, several, strict=True))
    return replace(program, lines=tuple(lines))


def _scope(program: Program) -> dict[str, Any]:
    """What a program's lines may name but other lines."""
    given = {each.name: each.value for each in program.inputs}
    return {**LIBRARY, **program.namespace, **given}


def _run(expr: Expr, scope: dict[str, Any]) -> Any:
    found = value_of(str(expr), scope)
    return tuple(found) if isinstance(found, list | tuple) else found
