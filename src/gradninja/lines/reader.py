"""Reading a forward with real values: text -> Program.

Every binding of a name gets a version of its own (`x`, `x_1`, ...), calls of plain functions are
inlined, loops over constant ranges are unrolled. What is outside of the fence is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from gradninja.lines.given.source import Source
from gradninja.lines.modules.live import Live
from gradninja.lines.program import NAME, STATIC, TUPLE, Expr, Input, Program, names_in, needed
from gradninja.lines.reading import (
    attributes,
    containers,
    expressions,
    inlining,
    looping,
    statements,
)
from gradninja.lines.reading.calls import any_call, objects
from gradninja.lines.reading.inlining import Returned
from gradninja.lines.reading.naming import add_line, fresh
from gradninja.lines.reading.numbers import hold_reckoned
from gradninja.lines.reading.state import Reading, Syntax
from gradninja.lines.reading.values import elements_of
from gradninja.lines.vocabulary import Vocabulary

# All that a forward may be written in.
SYNTAX = Syntax(
    reads={
        **expressions.READS,
        **containers.READS,
        **looping.READS,
        **inlining.READS,
        **attributes.READS,
        **any_call.READS,
    },
    runs={**statements.RUNS, **looping.RUNS},
    call=objects.call_value,
    assign=statements.assign,
)


def reading_of(source: Source, book: Vocabulary) -> Reading:
    """The reading of a function, at its beginning; `book` says which operations there are."""
    return Reading(source, book, SYNTAX)


def read_program(
    reading: Reading,
    inputs: tuple[Input, ...],
    axis_names: Mapping[int, str],
    live: Live | None = None,
    packed: Mapping[str, Any] | None = None,
) -> Program:
    """The program of the function, read with these inputs; `live`: the object whose it is."""
    function = reading.source.function
    reading.of_object = live is not None
    reading.inputs = inputs
    reading.own_state = frozenset(() if live is None else live.tensors)
    reading.twins = {} if live is None else live.twins
    settings = (given.name for given in inputs if isinstance(given.value, dict))
    reading.handed = frozenset((*settings, *(packed or ())))
    for given in inputs:
        _take(reading, given, live)
    for name, structure in (packed or {}).items():
        reading.scope[name] = _together(reading, structure)
    if live is not None:
        if live.takes_self:
            itself = function.args.args[0].arg
            syntax = ast.Name(itself, ast.Load())
            reading.scope[itself] = reading.static(function, live.instance, syntax)
        for star, empty in ((function.args.vararg, ()), (function.args.kwarg, {})):
            if star is not None:  # a module is called with what its forward names
                reading.scope[star.arg] = reading.static(star, empty, ast.Tuple([], ast.Load()))
    try:
        reading.run(function.body)
    except Returned as reached:
        reading.statement = reached.node
        outputs = _outputs(reading, reached)
    else:
        reading.fail(function, "the function does not end in `return`", "return the loss or output")
    if live is not None:
        told = [n for a in reading.assumptions for n in names_in(a.syntax)]
        reading.lines = needed(reading.lines, [*outputs, *told])
        read = {n for line in reading.lines for n in names_in(line.expr.syntax)}
        read.update(outputs, told)
        inputs = tuple(i for i in inputs if i.name in read or i.name not in live.tensors)
    return Program(
        name=function.name if live is None else live.name,
        file=reading.source.file,
        inputs=inputs,
        lines=tuple(reading.lines),
        outputs=outputs,
        assumptions=tuple(reading.assumptions),
        loops=tuple(reading.loops),
        packed=packed or {},
        namespace={**reading.book.own, **reading.functions},
        axis_names=axis_names,
        live=live,
        dialect=reading.source.dialect,
        default=torch.get_default_dtype(),
    )


def _take(reading: Reading, given: Input, live: Live | None) -> None:
    """Put an input where the text finds it: in its scope, or in its object."""
    reading.taken.add(given.name)
    tensor = isinstance(given.value, torch.Tensor)
    expr = Expr(
        NAME if tensor else STATIC,
        (),
        ast.Name(given.name, ast.Load()),
        given.value,
        reading.source.spot(reading.source.function),
        differentiable=given.differentiable,
    )
    if live is not None and given.name in live.tensors:
        reading.tensors[id(live.tensors[given.name])] = expr
    else:
        reading.scope[given.name] = expr


def _together(reading: Reading, structure: Any) -> Expr:
    """An input that is a dictionary or list, of the inputs that its parts are."""
    node = reading.source.function
    if isinstance(structure, dict):
        entries = {key: _together(reading, inner) for key, inner in structure.items()}
        return reading.dictionary(node, entries)
    if isinstance(structure, list | tuple):
        return reading.container(
            node, (_together(reading, inner) for inner in structure), type(structure)
        )
    reading.whole_names.add(structure)
    return reading.scope.pop(structure)


def _outputs(reading: Reading, reached: Returned) -> tuple[str, ...]:
    value, names = reached.value, []
    several = tuple(_returned(value))
    if value.op not in (TUPLE, STATIC) and isinstance(value.value, tuple):
        several = tuple(elements_of(reading, reached.node, value))
    given = set(_formals(reading.source))
    if any(expr.is_tensor for expr in several):  # a number beside tensors, logged say, only leaves
        several = tuple(expr for expr in several if expr.is_tensor)
    for expr in several:
        hold_reckoned(expr.value)
        if not expr.is_tensor:
            reading.fail(reached.node, "the return value is no tensor", "return the loss or output")
        reading.hold_fresh(reached.node, expr)
        name = ast.unparse(expr.syntax)
        if expr.op != NAME or name in given or name in names:
            name = fresh(reading, "out")
            add_line(reading, (name,), expr)
        names.append(name)
    return tuple(names)


def _formals(source: Source) -> tuple[str, ...]:
    """The forward's own parameters."""
    arguments = source.function.args
    return tuple(a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs))


def _returned(value: Expr) -> Iterator[Expr]:
    """What is returned, one by one."""
    if value.op != TUPLE:
        yield value
        return
    for part in value.args:
        yield from _returned(part)
