"""A program that casts, with the values that it has where every float is a float64."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

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


def is_narrow(value: Any) -> bool:
    """Whether a value is, or holds, a float tensor of another dtype than float64."""
    several = value if isinstance(value, tuple | list) else (value,)
    return any(_is_float(v) and v.dtype != torch.float64 for v in several)


def widened(program: Program) -> Program:
    """The program with float64 values throughout; as it is where it was not read in float64.

    What the algebra finds is proven on values: to 1e-9 on these, to 1e-6 on those of `x.float()`.
    """
    exprs = [expr for line in program.lines for expr in line.expr.walk()]
    given = {each.name: each.value for each in program.inputs}
    if any(map(is_narrow, given.values())) or any(expr.random for expr in exprs):
        return program
    if not any(is_narrow(expr.value) for expr in exprs):
        return program
    scope: dict[str, Any] = {**LIBRARY, **program.namespace, **given}
    made: dict[int, Expr] = {}
    follows = {name for name, value in given.items() if _is_float(value)}  # inputs' dtypes

    def as_inputs(expr: Expr) -> bool:
        return any(e.op == NAME and str(e) in follows for e in expr.walk())

    def wide(expr: Expr) -> Expr:
        if id(expr) not in made:
            args = tuple(map(wide, expr.args))
            kwargs = {key: wide(value) for key, value in expr.kwargs.items()}
            value = expr.value
            if expr.op == TUPLE:
                value = type(expr.value)(arg.value for arg in args)
            elif expr.op == ITEM:
                value = args[0].value[args[1].value]
            elif expr.op == NAME:
                value = scope[str(expr)]
            elif expr.op != STATIC:
                value = value_of(str(expr), scope)
                value = tuple(value) if isinstance(value, list | tuple) else value
            new = _is_float(expr.value) and not as_inputs(expr)
            dtype = expr.value.dtype if new else None
            made[id(expr)] = replace(expr, args=args, kwargs=kwargs, value=value, dtype=dtype)
        return made[id(expr)]

    lines = []
    with Wide(), torch.no_grad():
        for line in program.lines:
            lines.append(replace(line, expr=wide(line.expr)))
            follows |= set(line.targets) if as_inputs(line.expr) else set()
            scope.update(zip(line.targets, lines[-1].outputs, strict=True))
    parts = {field.name: getattr(program, field.name) for field in fields(program)}
    return Widened(**{**parts, "lines": tuple(lines)})
