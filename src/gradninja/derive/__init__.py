"""Derive: lines -> backward lines, each with the rule that made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import torch

from gradninja.choices import Style
from gradninja.derive.backward import Backward
from gradninja.derive.holding.against_autograd import cotangents_of, verify
from gradninja.derive.holding.dtypes import default_dtype, hold_dtypes
from gradninja.derive.holding.modules import hold, suffices
from gradninja.derive.results import BackwardLine
from gradninja.derive.temporaries import name_temporaries
from gradninja.derive.walk import Walk
from gradninja.errors import DeriveError, ReadError
from gradninja.lines import NAME, TUPLE, Expr, Line, Program, read
from gradninja.lines.ndarray import TORCH
from gradninja.lines.plain import parts_of, wide
from gradninja.lines.reading.building import DoesNotRun
from gradninja.memory import within_what_is_there
from gradninja.rules import BOOK, Book

__all__ = ["COTANGENT_SEED", "Backward", "BackwardLine", "derive", "read_program"]

# Cotangents are other random numbers than inputs: who takes one for the other must be off.
COTANGENT_SEED = 1_000_003


def derive(
    forward: str | Path | Callable[..., Any],
    inputs: Mapping[str, Any] | tuple[Any, ...] | torch.Tensor | None = None,
    wrt: Iterable[str] | None = None,
    style: Style = "readable",
    *,
    book: Book = BOOK,
) -> Backward:
    """The backward pass of a forward, as plain PyTorch lines with the forward's own names.

    Args:
        forward: a plain function, `FILE.py`, `FILE.py:name`, or the text of a function. It ends in
            `return <expression>`. Or a module (any object whose `forward` or `__call__` is written
            in Python), `FILE.py:Class`, or a file with a function `module()`: its parameters and
            buffers are inputs too, `fc1.weight` by the name `fc1_weight`.
        inputs: `{name: tensor}` to read it with; of a module by its forward's names, or a tuple, or
            a tensor. Without them they are drawn from the jaxtyping annotations in its signature,
            or taken from a function `inputs()` beside it.
        wrt: the float inputs that gradients are wanted for; all of them by default, of a module
            those that require a gradient; a parameter may be named as the module names it.
        style: "readable" (what a person would write) or "exact" (equal to autograd bit for bit in
            float32 on CPU where plain PyTorch can say it).

    Raises:
        ReadError: the forward is outside of what is read; with line and caret.
        DeriveError: an operation has no rule that covers it, or nothing differentiable is returned.
        GradninjaError: there is not enough memory for it.
    """
    if style not in (styles := get_args(Style)):
        raise DeriveError(f"there is no style {style!r}", hint=f"styles are: {', '.join(styles)}")
    with (
        within_what_is_there(),
        default_dtype(torch.float64),
        torch.random.fork_rng(devices=[]),
    ):
        torch.manual_seed(0)
        program = _check_outputs(read_program(forward, inputs, wrt, book))
        try:
            with default_dtype(program.default):
                return _walk(program, book, style)
        except DeriveError:
            if not _casts(program):
                raise
            narrow = _as_called(forward, inputs, wrt, book)
            if narrow is None:
                raise
        with default_dtype(narrow.default):
            return _walk(_check_outputs(narrow), book, style)


def _casts(program: Program) -> bool:
    """Whether a line of a forward that is read in float64 casts to another precision."""
    made = (value for line in program.lines for value in line.outputs)
    floats = {v.dtype for v in made if isinstance(v, torch.Tensor) and v.is_floating_point()}
    return program.default == torch.float64 and bool(floats - {torch.float64})


def _as_called(
    forward: str | Path | Callable[..., Any], inputs: Any, wrt: Iterable[str] | None, book: Book
) -> Program | None:
    """The program read in the precision that it is called in; None where that does not run."""
    try:
        with default_dtype(torch.float32):
            return read(forward, inputs, wrt, book=book)
    except ReadError:
        return None


def read_program(
    forward: str | Path | Callable[..., Any],
    inputs: Mapping[str, Any] | tuple[Any, ...] | torch.Tensor | None = None,
    wrt: Iterable[str] | None = None,
    book: Book = BOOK,
) -> Program:
    """The program of a forward, read in float64 where its inputs' floats are of one dtype.

    Where a cast of its own, as in `x.float() @ w`, keeps it from running in float64, it is read as
    it is called: in float32, or in its inputs' own precision.
    """
    given = inputs
    if isinstance(inputs, torch.Tensor | tuple | list):
        inputs = _wide(tuple(inputs) if isinstance(inputs, list) else inputs)
    if isinstance(inputs, Mapping):
        tensors = [v for v in parts_of(inputs) if isinstance(v, torch.Tensor)]
        floats = {value.dtype for value in tensors if value.is_floating_point()}
        if len(floats) == 1 and floats != {torch.float64}:
            inputs = _wide(dict(inputs))
    try:
        return read(forward, inputs, wrt, book=book)
    except DoesNotRun:
        narrow = _as_called(forward, given, wrt, book)
        if narrow is None:
            raise
        return narrow


def _wide(value: Any) -> Any:
    """The same in double precision."""
    if isinstance(value, torch.Tensor):
        return wide(value)
    if isinstance(value, dict):
        return {key: _wide(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_wide, value))
    return value


def _check_outputs(program: Program) -> Program:
    if not program.differentiable:
        raise DeriveError(
            f"`{program.name}` has no float input", hint="gradients are of float tensors"
        )
    if not program.flowing:
        raise DeriveError(
            f"the output of `{program.name}` does not depend on a float input that a gradient is "
            "wanted for",
            hint="return the loss, or the output, that the inputs lead to",
        )
    return program


def _in_several_places(line: Line) -> list[Expr]:
    """The parts of a line that more than one operation of it takes, or one takes twice."""
    within = dict.fromkeys(line.expr.walk())
    taken = Counter(operand for part in within for operand in part.operands)
    return [
        part
        for part, times in taken.items()
        if times > 1 and part.differentiable and part.op not in (NAME, TUPLE)
    ]


def _walk(program: Program, book: Book, style: str) -> Backward:
    # Random parts get names first: written again, they would be other numbers. So do parts that
    # stand in several places of a line, whose gradient is added up.
    random = [
        part
        for line in program.lines
        if line.expr.differentiable
        for part in line.expr.walk()
        if part.random and not any(operand.random for operand in part.operands) and part.op != NAME
    ]
    several = [part for line in program.lines for part in _in_several_places(line)]
    if random or several:
        program = name_temporaries(program, [*random, *several])
    cotangents = cotangents_of(program, program.values, COTANGENT_SEED)
    while True:
        walk = Walk(program, book, style)
        try:
            walk.run(cotangents)
        except RuntimeError as error:  # torch's word on a shape that no row foresaw
            raise DeriveError(f"the backward of `{program.name}` does not run: {error}") from error
        if not walk.needs:
            break
        program = name_temporaries(program, walk.needs)
    lines, names = tuple(walk.statements), dict(walk.gradient_names)
    back = Backward(program, style, lines, names, book=book)
    if program.dialect == TORCH:  # NumPy's are doubles throughout
        hold_dtypes(back)
    found = back.run(program.values, cotangents)
    if suffices(program):  # the object itself is what its lines are held to
        hold(program, found, cotangents)
        return back
    verify(program, found, cotangents, on_the_way=walk.totals.values())
    if program.live is not None and program.dialect == TORCH:
        hold(program, found, cotangents)
    return back
