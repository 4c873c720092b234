"""What a live object has: its attributes, those that the forward wrote among them.

Nothing of an object is changed: an attribute that the forward writes is kept beside it.
"""

from __future__ import annotations

import ast
import functools

import torch

from gradninja.lines.plain import is_plain, literal
from gradninja.lines.program import Expr
from gradninja.lines.reading.inlining import enter
from gradninja.lines.reading.naming import name_value
from gradninja.lines.reading.numbers import Logged
from gradninja.lines.reading.state import Function, Reading
from gradninja.lines.reading.values import value_of


def member(reading: Reading, node: ast.expr, owner: Expr, name: str) -> Expr:
    """An attribute of a live object."""
    held = reading.state.get((id(owner.value), name))
    if held is not None:
        return held
    described = getattr(type(owner.value), name, None)
    getter = getattr(described, "fget", None) or getattr(described, "func", None)
    if isinstance(described, property | functools.cached_property) and getter is not None:
        computed = getattr(owner.value, "parametrizations", {})
        if getter.__module__.startswith("torch.") and name in computed:
            call = ast.copy_location(ast.Call(node, [], []), node)
            return reading.call(call, reading.static(node, computed[name], node), [], {})
        return enter(reading, node, Function.of(getter, name), [owner], {})
    if isinstance(owner.value, Logged):  # `acc.cpu().numpy().mean()` is logged as well
        return owner
    try:
        value = getattr(owner.value, name)
    except AttributeError:
        reading.hold_single(node, (owner,))
        reading.fail(node, f"`{type(owner.value).__name__}` has no `{name}`")
    except Exception as error:  # whatever a `__getattr__` of the person's raises
        reading.fail(node, f"`{name}` cannot be read: {error}")
    if isinstance(value, torch.Size):
        value = tuple(value)
    written = is_plain(value) or isinstance(value, torch.dtype | torch.device)
    syntax = literal(value) if written else ast.Attribute(owner.syntax, name, ast.Load())
    return value_of(reading, node, value, syntax)


def write_member(reading: Reading, owner: Expr, name: str, expr: Expr) -> Expr:
    """`self.last = h`."""
    bound = name_value(reading, name, expr)
    reading.state[id(owner.value), name] = bound
    return bound
