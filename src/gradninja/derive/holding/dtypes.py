"""Which precision a backward's lines give on inputs of another precision than it was read in.

A forward is read in float64 with float64 as the default, where `x.double()` changes nothing and a
new tensor has the dtype of all others. It is called in float32, and with float32 as the default.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from gradninja.derive.statement import Statement
from gradninja.derive.template import substitute
from gradninja.errors import DeriveError
from gradninja.lines import Program
from gradninja.lines.scope import LIBRARY, run

if TYPE_CHECKING:
    from gradninja.derive.backward import Backward

# In float64, what is new may be narrower; in float32 what is cast, and in bfloat16 both, are wider.
PROBED = (torch.float64, torch.float32, torch.bfloat16)
# Where all floats of a forward are of this one, what is new or cast to another shows in it: if it
# does not, it does in no other.
TELLING = torch.bfloat16
FAILURES = (DeriveError, RuntimeError, TypeError, ValueError, IndexError)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """What new tensors have, for as long as this lasts."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def hold_dtypes(back: Backward) -> None:
    """Where a gradient would not have its variable's dtype, its line casts: see `PROBED`."""
    before = [statement.value for statement in back.statements]
    if _hold(back, TELLING, alone=True):
        return
    for statement, value in zip(back.statements, before, strict=True):
        statement.value = value
    for dtype in PROBED:
        _hold(back, dtype)


def _hold(back: Backward, dtype: torch.dtype, alone: bool = False) -> bool:
    """Hold lines in one dtype; whether they can be called in it.

    `alone`: whether that is the only dtype that is met, and no line had to be changed.
    """
    scope = _scope(back, dtype)
    if scope is None or (alone and not _only(dtype, back.program, scope)):
        return False
    with default_dtype(torch.float32), torch.no_grad():
        try:
            for statement in back.statements:
                try:
                    run([statement], scope)
                except RuntimeError:  # of two dtypes, perhaps, that do not mix
                    if alone:
                        return False
                    statement.value = _alike(statement, scope)
                    run([statement], scope)
                if _cast(statement, scope):
                    if alone:
                        return False
                    run([statement], scope)
        except FAILURES:
            return False
    return True


def _only(dtype: torch.dtype, program: Program, scope: Mapping[str, Any]) -> bool:
    """Whether all floats of a forward are of one dtype, that its text does not name."""
    values = (scope[name] for line in program.lines for name in line.targets)
    found = {v.dtype for v in values if isinstance(v, torch.Tensor) and v.is_floating_point()}
    named = str(dtype).removeprefix("torch.")
    return found <= {dtype} and not any(named in line.code for line in program.lines)


def _cast(statement: Statement, scope: Mapping[str, Any]) -> bool:
    """Cast what a line gives to its variable's dtype; what is narrower is made as wide before."""
    of, gradient = scope.get(statement.of), scope[statement.target]
    plain = statement.value is not None and not statement.adds
    if not plain or not isinstance(of, torch.Tensor) or gradient.dtype == of.dtype:
        return False
    assert statement.value is not None
    if torch.finfo(gradient.dtype).bits < torch.finfo(of.dtype).bits:
        wide = _alike(statement, scope)
        if wide is not statement.value:
            statement.value = wide
            return True
    statement.value = _to(statement.value, statement.of)
    return True


def _alike(statement: Statement, scope: Mapping[str, Any]) -> ast.expr | None:
    """What a line gives, its float tensors all in the dtype of its variable."""
    of = scope.get(statement.of)
    if statement.value is None or not isinstance(of, torch.Tensor):
        return statement.value
    named = {
        node.id: scope[node.id].dtype
        for node in ast.walk(statement.value)
        if isinstance(node, ast.Name) and isinstance(scope.get(node.id), torch.Tensor)
    }
    like = next((name for name, dtype in named.items() if dtype == of.dtype), None)
    if like is None:
        return statement.value
    names = {
        name: partial(_to, ast.Name(name, ast.Load()), like)
        for name, dtype in named.items()
        if dtype.is_floating_point and dtype != of.dtype
    }
    return substitute(statement.value, names) if names else statement.value


def _to(value: ast.expr, like: str) -> ast.expr:
    """`value.to(like.dtype)`."""
    dtype = ast.Attribute(ast.Name(like, ast.Load()), "dtype", ast.Load())
    return ast.Call(ast.Attribute(value, "to", ast.Load()), [dtype], [])


def gradients_in(back: Backward, dtype: torch.dtype) -> dict[str, torch.Tensor] | None:
    """The gradients at float inputs of one dtype, as called; None where it cannot be called."""
    scope = _scope(back, dtype)
    if scope is None:
        return None
    with default_dtype(torch.float32), torch.no_grad():
        try:
            run(back.statements, scope)
        except FAILURES:
            return None
    return {n: scope[back.gradient_names[n]] for n in back.program.differentiable}


def _scope(back: Backward, dtype: torch.dtype) -> dict[str, Any] | None:
    """Every name that the lines may have, the inputs and all that follows from them in a dtype."""
    program: Program = back.program
    given = {i.name: i.value for i in program.inputs}
    floats = {
        name: value
        for name, value in given.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    }
    if any(isinstance(v, torch.Tensor) and v.is_complex() for v in program.values.values()):
        return None  # complex numbers come in doubles or singles alone
    if any(value.dtype != torch.float64 for value in floats.values()):
        return None  # it was read as it is called
    inputs = {**given, **{name: value.to(dtype) for name, value in floats.items()}}
    with default_dtype(torch.float32), torch.random.fork_rng(devices=[]):
        try:
            values = back.forward_values(inputs)
        except FAILURES:
            return None
    seeds = {back.gradient_names[name]: torch.ones_like(values[name]) for name in back.outputs}
    return {**LIBRARY, **program.namespace, **values, **seeds}
