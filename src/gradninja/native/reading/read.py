"""A forward's text and a backward's text -> one straight-line Program in which nothing is changed.

A statement that writes in place (`d += e`, `d[ix] = e`, `d.index_add_(...)`) becomes the making of
a new value under a new name: `d_1 = d + e`. That is the same only for who reads `d` by that name,
so the other names that share the memory are noted, and refused where they are read later.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from gradninja.lines import NAME, STATIC, Expr, Input, Program
from gradninja.lines.given.signature import parameters
from gradninja.lines.given.source import Source, load
from gradninja.lines.reading.naming import add_line, fresh
from gradninja.lines.reading.state import Function, Reading
from gradninja.native.reading.functional_writes import Writes
from gradninja.native.reading.refusal import NativeError
from gradninja.rules import BOOK, Open

Keep = Sequence[str] | None


def step_reading(source: Source) -> Reading:
    """The reading of a text in which nothing is given, at its beginning."""
    return Reading(source, Open(BOOK, own={}), Writes({}).syntax())


def read_step(
    source: Source,
    values: Mapping[str, Any],
    keep: Keep = None,
    later: Source | None = None,
    own: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
    whole: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
) -> tuple[Program, tuple[str, ...]]:
    """A training step, forward then backward, as one Program whose lines change nothing.

    Returns the Program, and the names of its outputs after the loss as the text has them.

    Args:
        source: the forward with the backward's lines below, or the forward alone.
        values: for each input a tensor, or a plain value that is taken as fixed.
        keep: the names of the gradients that are wanted, `dW1` say; the Program's outputs are the
            loss and these. None: `d<name>` for each input that has one.
        later: the backward as a function of its own, which takes by name what it wants.
        own: functions that the text calls by these names.
        whole: functions that are operations, by the paths that the text calls them by.

    Raises:
        ReadError: a line is outside of what is read, with line and caret; among them one that
            reads a name whose memory another line changed in place.
        NativeError: an input has no value.
    """
    inputs = []
    for formal in parameters(source, source.function):
        if formal.name in values:
            value = values[formal.name]
        elif formal.default is not None:
            value = ast.literal_eval(formal.default)
        else:
            spot = source.spot(formal.node)
            raise NativeError(f"no value for `{formal.name}` is given", spot=spot)
        if isinstance(value, torch.Tensor):
            value = value.detach()
        inputs.append(Input(formal.name, value, axes=formal.axes))
    writes = Writes({i.name: i.value for i in inputs if isinstance(i.value, torch.Tensor)})
    reading = Reading(source, Open(BOOK, own=whole), writes.syntax())
    for name, function in own.items():
        text = load(function)
        reading.local_functions[name] = Function(name, text, text.function)
    with torch.no_grad():
        return _step(reading, later, tuple(inputs), keep)


def _step(
    reading: Reading, later: Source | None, inputs: tuple[Input, ...], keep: Keep
) -> tuple[Program, tuple[str, ...]]:
    """The lines of a step; its outputs are the loss and the gradients, whose names are told.

    `later`: a function of its own that the lines of the first are followed by, which sees of
    their names those that it asks for.
    """
    for given in inputs:
        reading.taken.add(given.name)
        syntax = ast.Name(given.name, ast.Load())
        kind = NAME if isinstance(given.value, torch.Tensor) else STATIC
        spot = reading.source.spot(reading.source.function)
        reading.scope[given.name] = Expr(kind, (), syntax, given.value, spot)
    loss = _body(reading, reading.source)
    if not loss.is_tensor or not loss.value.is_floating_point():
        reading.fail(reading.statement, "the forward returns no float tensor", "return the loss")
    if later is not None:
        _follow(reading, later)
    if keep is None:
        keep = [f"d{given.name}" for given in inputs if f"d{given.name}" in reading.scope]
    outputs = [loss]
    for name in keep:
        if name not in reading.scope:
            function = reading.source.function
            reading.fail(function, f"`{function.name}` makes no `{name}`")
        at = ast.copy_location(ast.Name(name, ast.Load()), reading.statement)
        outputs.append(reading.read(at))
    names = [_output(reading, expr) for expr in outputs]
    program = Program("step", reading.source.file, inputs, tuple(reading.lines), tuple(names))
    return program, tuple(keep)


def _follow(reading: Reading, later: Source) -> None:
    scope, reading.source = reading.scope, later
    reading.reserved |= {
        n.id
        for n in ast.walk(later.function)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    reading.scope = {}
    for formal in parameters(later, later.function):
        if formal.name in scope:
            reading.scope[formal.name] = scope[formal.name]
        elif formal.default is not None:
            reading.scope[formal.name] = reading.read(formal.default)
        else:
            reading.fail(formal.node, f"the forward has no `{formal.name}`")
    body = later.function.body
    reading.run(body[:-1] if isinstance(body[-1], ast.Return) else body)


def _output(reading: Reading, expr: Expr) -> str:
    if not expr.is_tensor:
        reading.fail(reading.statement, "a gradient is no tensor")
    if expr.op == NAME:
        assert isinstance(expr.syntax, ast.Name)
        return expr.syntax.id
    name = fresh(reading, "loss")
    add_line(reading, (name,), expr)
    return name


def _body(reading: Reading, source: Source) -> Expr:
    """Read a function's statements, up to what it returns; of all its locals the `loss`."""
    *body, last = source.function.body
    if not isinstance(last, ast.Return) or last.value is None:
        reading.fail(source.function, f"`{source.function.name}` does not end in `return`")
    reading.run(body)
    reading.statement = last
    if ast.unparse(last.value) == "locals()":
        return reading.read(ast.copy_location(ast.Name("loss", ast.Load()), last))
    return reading.read(last.value)
