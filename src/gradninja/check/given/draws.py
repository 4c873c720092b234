"""What a backward is tried on: several draws of inputs, and the values of `inputs()`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gradninja.check.given.execution import precision, quiet
from gradninja.check.tell.findings import CheckError
from gradninja.errors import ReadError
from gradninja.lines import Program
from gradninja.lines.given.signature import Parameter, axis_sizes, draw, parameters, shape_of
from gradninja.lines.given.source import Source
from gradninja.lines.read import LARGEST_RETRY, SIZE_FACTORS, read
from gradninja.lines.reading.bounds import bounds
from gradninja.rules import BOOK, Book, Open

SEEDS = (2147483647, 42, 7)
SMALL = 0.125  # of the last draw: nearer to where relu, clamp and the like bend


@dataclass(frozen=True, eq=False)
class Draw:
    """Inputs for the forward, and the forward read on them.

    The floats are float64 and representable in float32, so that both precisions see the same.
    `gapped`: cotangents are handed in non-contiguous.
    """

    label: str
    program: Program
    seed: int
    gapped: bool
    book: Book = BOOK

    @property
    def inputs(self) -> dict[str, Any]:
        return {given.name: given.value for given in self.program.inputs}


def draws(
    source: Source, forward: Any, given: Mapping[str, Any] | None, book: Book = BOOK
) -> list[Draw]:
    """All that a backward is judged on, at least one.

    Args:
        book: whose rules a mend is drawn from, and whose functions are not read line by line.

    Raises:
        ReadError: the forward is outside of what is read, or its inputs are not known.
        CheckError: nothing finite comes out of it.
    """
    formals = parameters(source, source.function)
    optional = {f.name for f in formals if f.default is not None}
    unknown = set(given or ()) - {f.name for f in formals}
    if unknown:
        raise ReadError(
            f"`{source.function.name}` has no input `{min(unknown)}`",
            spot=source.spot(source.function),
            hint=f"its inputs are: {', '.join(f.name for f in formals)}",
        )
    found = list(_drawn(source, forward, formals, given, book))
    given_draws: list[Draw] = []
    if given:
        wide = {name: _wide(value) for name, value in given.items()}
        for place, gapped in enumerate((False, True)):
            try:
                program = _read(forward, wide, book)
            except ReadError:
                if not found or {f.name for f in formals} <= {*given, *optional}:
                    raise
                break  # a part of the inputs, and what is drawn beside it does not fit
            given_draws.append(Draw("the values of inputs()", program, SEEDS[place], gapped, book))
            if _scalar(program):
                break
    elif not found:
        program = _read(forward, None, book)
        found.append(Draw("drawn", program, SEEDS[0], False, book))
    every = [*given_draws, *found]
    finite = [d for d in every if _finite(d.program)]
    if not finite:
        bad = next(n for n in every[0].program.outputs if not _all_finite(every[0].program, n))
        raise CheckError(
            f"`{bad}`, the forward's output, is nan or infinite on all inputs that were tried",
            spot=source.spot(source.function),
            hint="give values that it is defined for, by a function inputs()",
        )
    return finite


def _drawn(
    source: Source,
    forward: Any,
    formals: tuple[Parameter, ...],
    given: Mapping[str, Any] | None,
    book: Book,
) -> Iterator[Draw]:
    """Draws from the annotations; none where a needed one is missing or no sizes fit."""
    held = dict(given or {})
    free = [f for f in formals if f.kind is not None]
    bare = [f for f in formals if f.kind is None and f.default is None and f.name not in held]
    if bare or not free:
        return
    kept = {f.name: _wide(held[f.name]) for f in formals if f.kind is None and f.name in held}
    error: ReadError | None = None
    for factor in SIZE_FACTORS:
        sizes = axis_sizes(formals, factor)
        shapes = {f.name: shape_of(source, f, sizes) for f in free}
        if factor > 1 and max(math.prod(shape) for shape in shapes.values()) > LARGEST_RETRY:
            break
        found = []
        try:
            for place, seed in enumerate(SEEDS):
                deal = _rotated(sizes, factor) if place == 1 else sizes
                found.append(_draw(source, forward, free, kept, deal, seed, place, book))
        except ReadError as failed:
            error = error or failed
            if not found:
                continue
        yield from found
        return
    if error is not None and not given:
        raise error


def _rotated(sizes: Mapping[str, int], factor: int) -> dict[str, int]:
    """The same sizes dealt to other axes; one more where there is only one axis."""
    if len(sizes) <= 1:
        return {name: size + 3 * factor for name, size in sizes.items()}
    values = list(sizes.values())
    return dict(zip(sizes, [*values[1:], *values[:1]], strict=True))


def _draw(
    source: Source,
    forward: Any,
    free: list[Parameter],
    kept: Mapping[str, Any],
    sizes: Mapping[str, int],
    seed: int,
    place: int,
    book: Book,
) -> Draw:
    shapes = {f.name: shape_of(source, f, sizes) for f in free}

    def values(limits: Mapping[str, int], positive: bool = False) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(seed)
        return {
            f.name: _wide(
                draw(
                    f.kind or "float",
                    shapes[f.name],
                    generator,
                    bound=limits.get(f.name),
                    positive=positive,
                ),
                scale=SMALL if place == 2 else 1.0,
            )
            for f in free
        }

    inputs = values({})
    program = _read(forward, {**kept, **inputs}, book)
    limits: dict[str, int] = {}
    if any(f.kind == "int" for f in free):
        limits = _limits(program, [f.name for f in free if f.kind == "int"])
        if place == 2:  # few different indices, so that some repeat
            limits = {name: max(1, (limit + 1) // 2) for name, limit in limits.items()}
        program = _read(forward, {**kept, **values(limits)}, book)
    if not _finite(program):
        program = _read(forward, {**kept, **values(limits, positive=True)}, book)
    told = ", ".join(f"{name}={size}" for name, size in sizes.items())
    return Draw(f"drawn with {told}" if told else "drawn", program, seed, place > 0, book)


def _limits(program: Program, names: list[str]) -> dict[str, int]:
    """How many different ints each index tensor may hold; 2 where nothing is indexed."""
    storages = {
        given.value.untyped_storage().data_ptr(): given.name
        for given in program.inputs
        if given.name in names
    }
    found: dict[str, int] = {}
    for line in program.lines:
        for part in line.expr.walk():
            for index, size in bounds(part.op, part.args, part.kwargs):
                if index.is_tensor:
                    name = storages.get(index.value.untyped_storage().data_ptr())
                    if name is not None:
                        found[name] = min(size, found.get(name, size))
    return {name: found.get(name, 2) for name in names}


def _read(forward: Any, inputs: Mapping[str, Any] | None, book: Book) -> Program:
    with precision(torch.float64), quiet():
        return read(forward, inputs, book=Open(book, book.own))


def _wide(value: Any, scale: float = 1.0) -> Any:
    """A float as float64 with float32's digits, scaled by a power of two."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.detach().float().double() * scale
    return value


def _scalar(program: Program) -> bool:
    return all(program.values[name].ndim == 0 for name in program.outputs)


def _all_finite(program: Program, name: str) -> bool:
    return bool(torch.isfinite(program.values[name]).all())


def _finite(program: Program) -> bool:
    return all(_all_finite(program, name) for name in program.outputs)
