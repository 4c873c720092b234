"""The one place that answers broadcasting: a broadcast is a sum, a sum is a broadcast.

Every time there is a sum in the forward there is a broadcast in the backward along the same axes;
and what was broadcast in the forward was used many times, which is a sum in the backward.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

from gradninja.derive.template import Gradient


@dataclass(frozen=True)
class Fit:
    """A gradient made to have its variable's shape, and what that took."""

    gradient: Gradient
    summed: tuple[int, ...] = ()  # axes of the gradient that were summed
    expanded: tuple[int, ...] = ()  # axes of the variable that were expanded


def sum_broadcast(gradient: Gradient, shape: tuple[int, ...]) -> Fit:
    """Sum a gradient over the axes along which a value of `shape` was broadcast."""
    have = tuple(gradient.value.shape)
    lead = len(have) - len(shape)
    if lead < 0:
        return Fit(gradient)
    leading = tuple(range(lead))
    inner = tuple(lead + i for i, size in enumerate(shape) if size == 1 and have[lead + i] != 1)
    axes = (*leading, *inner)
    if not axes:
        return Fit(gradient)
    if len(axes) == len(have) and not shape:
        return Fit(_method(gradient, "sum"), axes)
    dims = ast.Constant(axes[0]) if len(axes) == 1 else _tuple(axes)
    summed = _method(gradient, "sum", [dims], keepdim=bool(inner))
    if leading and inner:
        # Both kinds at once: the sum kept every axis, so the leading ones are taken off.
        zeros = [ast.Constant(0)] * lead
        index = zeros[0] if lead == 1 else ast.Tuple(list(zeros), ast.Load())
        syntax = ast.Subscript(summed.syntax, index, ast.Load())
        return Fit(Gradient(syntax, summed.value[(0,) * lead]), axes)
    return Fit(summed, axes)


def expand(gradient: Gradient, shape: tuple[int, ...], like: Callable[[], ast.expr]) -> Fit:
    """Broadcast a gradient back over the axes that the forward reduced."""
    have = tuple(gradient.value.shape)
    if have == shape:
        return Fit(gradient)
    lead = len(shape) - len(have)
    axes = tuple(
        axis for axis, size in enumerate(shape) if axis < lead or have[axis - lead] != size
    )
    call = ast.Call(ast.Attribute(gradient.syntax, "expand_as", ast.Load()), [like()], [])
    return Fit(Gradient(call, gradient.value.expand(shape)), expanded=axes)


def _method(
    gradient: Gradient, name: str, args: list[ast.expr] | None = None, keepdim: bool = False
) -> Gradient:
    keywords = [ast.keyword("keepdim", ast.Constant(True))] if keepdim else []
    syntax = ast.Call(ast.Attribute(gradient.syntax, name, ast.Load()), args or [], keywords)
    values = [ast.literal_eval(arg) for arg in args or []]
    value = getattr(gradient.value, name)(*values, **({"keepdim": True} if keepdim else {}))
    return Gradient(syntax, value)


def _tuple(axes: tuple[int, ...]) -> ast.expr:
    return ast.Tuple([ast.Constant(axis) for axis in axes], ast.Load())
