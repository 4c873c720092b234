"""From a forward to its Program: find the text, give it inputs, read it."""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gradninja.errors import ReadError
from gradninja.lines.given.packed import holds_tensors, instead_of, taken_apart
from gradninja.lines.given.signature import Parameter, axis_sizes, draw, parameters, shape_of
from gradninja.lines.given.source import Source, load
from gradninja.lines.guess import Guess, told
from gradninja.lines.missing import guessed
from gradninja.lines.modules.finding import found_live
from gradninja.lines.modules.live import Live, live_defaults
from gradninja.lines.ndarray import NUMPY, TORCH, as_tensors, holds_arrays, is_array
from gradninja.lines.original import held_to_numpy
from gradninja.lines.plain import continuous, is_plain, wide
from gradninja.lines.program import Input, Program
from gradninja.lines.reader import read_program, reading_of
from gradninja.lines.reading.building import DoesNotRun
from gradninja.lines.reading.state import Reading
from gradninja.lines.scope import OF_FILE, OF_INPUTS, run, seeded
from gradninja.lines.vocabulary import Vocabulary

# Axis sizes are drawn odd and distinct; a forward that splits an axis into equal parts (heads,
# chunks) wants multiples, so a forward that does not run is tried again with these factors.
SIZE_FACTORS = (1, 2, 4, 12)
LARGEST_RETRY = 1_000_000  # elements of one input


def read(
    forward: str | Path | Callable[..., Any] | Source,
    inputs: Mapping[str, Any] | tuple[Any, ...] | torch.Tensor | None = None,
    wrt: Iterable[str] | None = None,
    *,
    book: Vocabulary,
) -> Program:
    """The program of a forward: a function, `FILE.py[:name]`, or text.

    Args:
        inputs: tensors by name; without them they come from jaxtyping annotations in the
            signature (every named axis a size of its own, index tensors within the axis that they
            index), or from a function `inputs()` beside the forward.
        wrt: names of the float inputs that gradients are wanted for; all of them by default.
        book: the operations that there are.

    Raises:
        ReadError: the text is outside of what is read, or does not run; with line and caret.
    """
    held = found_live(forward)
    arrays = (held is not None and held.original is not None) or holds_arrays(inputs)
    module = held is not None and isinstance(held.instance, torch.nn.Module)
    spoken = NUMPY if arrays else TORCH if module else None
    source = load(forward if held is None else held.method, dialect=spoken)
    formals = parameters(source, source.function, stars=held is not None)
    own_names: Mapping[str, str] = {}
    if held is not None:
        source = replace(source, beside=held.beside)
        formals = _without_self(held, formals)
        own_names = held.paths
    if inputs is None and source.dialect == NUMPY and _nobody_gives(source, formals):
        found = _guessed(forward, guessed(source, held, formals), wrt, book)
        if found is not None:
            return found
    given = _given(source, formals, by_name(inputs, [f.name for f in formals]))
    asked = [wrt] if isinstance(wrt, str) else wrt
    wanted = None if asked is None else {own_names.get(name, name) for name in asked}

    def attempt(values: Mapping[str, Any], names: Mapping[int, str]) -> tuple[Program, Reading]:
        reading = reading_of(source, book)
        packed: dict[str, Any] = {}
        prepared = tuple(_inputs(source, formals, values, wanted, packed))
        if held is not None:
            given_ones = [i for i in prepared if not i.optional]
            defaults = [i for i in prepared if i.optional]
            prepared = (*given_ones, *_tensors_of(held, wanted), *defaults)
        # An object's own run, which what is read is held to, draws the same numbers.
        with seeded(0), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                program = read_program(reading, prepared, names, held, packed)
                notes = () if held is None else held.notes
                return replace(program, notes=notes), reading
            except RecursionError:
                raise ReadError(
                    "the expressions are nested too deep to read",
                    spot=source.spot(source.function),
                    hint="give parts of them lines of their own",
                ) from None

    known_names = [*(f.name for f in formals), *(held.tensors if held is not None else ())]
    for formal in formals:
        if holds_tensors(given.get(formal.name)):
            known_names += taken_apart(formal.name, given[formal.name], set(known_names))[1]
    unknown = (wanted or set()) - set(known_names)
    if unknown:
        raise ReadError(
            f"`{source.function.name}` has no input `{min(unknown)}`",
            hint=f"its inputs are: {', '.join(known_names)}",
        )
    drawn = [f for f in formals if f.name not in given and f.kind is not None]
    if not drawn:
        return held_to_numpy(attempt(given, _axis_names(formals, given))[0], source)
    first_error: DoesNotRun | None = None
    for factor in SIZE_FACTORS:
        sizes = axis_sizes(formals, factor)
        shapes = {f.name: shape_of(source, f, sizes) for f in drawn}
        if factor > 1 and max(math.prod(shape) for shape in shapes.values()) > LARGEST_RETRY:
            break
        values = {**given, **_draw(drawn, shapes, {})}
        names = _axis_names(formals, values)
        try:
            program, reading = attempt(values, names)
            if any(f.kind == "int" for f in drawn):
                # The first reading, with zeros, has shown what each index tensor indexes.
                bounds = _bounds(drawn, values, reading)
                values = {**given, **_draw(drawn, shapes, bounds)}
                program, reading = attempt(values, names)
            if not _finite(program):
                bounds = _bounds(drawn, values, reading)
                positive = {**given, **_draw(drawn, shapes, bounds, positive=True)}
                program, _ = attempt(positive, names)
        except DoesNotRun as error:
            first_error = first_error or error
        else:
            return held_to_numpy(program, source)
    assert first_error is not None
    raise first_error


def _guessed(
    forward: Any, guesses: Sequence[Guess], wrt: Iterable[str] | None, book: Vocabulary
) -> Program | None:
    """The program on the likeliest of several guesses that it can be read on; None without any.

    Raises:
        ReadError: it is outside of what is read, on all of them.
    """
    first: ReadError | None = None
    for guess in guesses:
        try:
            program = read(forward, guess.values, wrt, book=book)
        except ReadError as error:
            first = first or error
        else:
            return replace(program, notes=(*program.notes, told(guess.parts)))
    if first is not None:
        raise first
    return None


def _without_self(held: Live, formals: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    if not held.takes_self:
        return formals
    if not formals:
        raise ReadError(f"the forward of {held.name} takes no `self`")
    return formals[1:]


def by_name(inputs: Any, names: Sequence[str]) -> Mapping[str, Any] | None:
    """Inputs by name: a dict, or by place a tuple or one tensor.

    Raises:
        ReadError: there are more than the forward takes.
    """
    if inputs is None or isinstance(inputs, Mapping):
        return inputs
    several = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    if len(several) > len(names):
        raise ReadError(
            f"{len(several)} inputs are given and the forward takes {len(names)}",
            hint=f"its inputs are: {', '.join(names)}",
        )
    return dict(zip(names, several, strict=False))


def _tensors_of(held: Live, wanted: set[str] | None) -> list[Input]:
    """The object's own tensors as inputs: in float64, as reading is, or in their own precision."""
    found = []
    for name, tensor in held.tensors.items():
        value = tensor.detach()
        if torch.get_default_dtype() == torch.float64:
            value = wide(value)
        flows = name in held.wanted if wanted is None else name in wanted
        found.append(Input(name, value, differentiable=flows))
    return found


def _draw(
    drawn: list[Parameter],
    shapes: Mapping[str, tuple[int, ...]],
    bounds: Mapping[str, int],
    positive: bool = False,
) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2147483647)
    return {
        f.name: draw(
            f.kind or "float",
            shapes[f.name],
            generator,
            bound=bounds.get(f.name),
            positive=positive,
            dtype=torch.get_default_dtype(),
        )
        for f in drawn
    }


def _bounds(drawn: list[Parameter], values: Mapping[str, Any], reading: Reading) -> dict[str, int]:
    """How many different ints each drawn index tensor may hold; 2 where nothing is indexed."""
    return {
        f.name: reading.bounds.get(values[f.name].untyped_storage().data_ptr(), 2)
        for f in drawn
        if f.kind == "int"
    }


def _finite(program: Program) -> bool:
    values = program.values
    return all(bool(torch.isfinite(values[name]).all()) for name in program.outputs)


def _axis_names(formals: tuple[Parameter, ...], values: Mapping[str, Any]) -> dict[int, str]:
    """Size -> the annotation's axis, for the sizes that only one axis has."""
    axes: dict[int, set[str]] = {}
    for formal in formals:
        value = values.get(formal.name)
        if formal.axes and isinstance(value, torch.Tensor) and value.ndim == len(formal.axes):
            for axis, size in zip(formal.axes, value.shape, strict=True):
                if not axis.isdigit():
                    axes.setdefault(size, set()).add(axis)
    return {size: min(names) for size, names in axes.items() if len(names) == 1 and size > 1}


def _bare(formals: tuple[Parameter, ...]) -> list[Parameter]:
    """The parameters of which the text tells neither a shape nor a value."""
    return [f for f in formals if f.kind is None and f.default is None]


def _beside(source: Source) -> bool:
    """Whether a function `inputs()` stands beside a forward."""
    known = source.beside or source.outside.get("inputs")
    return "inputs" in source.functions or callable(known)


def _nobody_gives(source: Source, formals: tuple[Parameter, ...]) -> bool:
    return bool(_bare(formals)) and not _beside(source)


def _given(
    source: Source, formals: tuple[Parameter, ...], inputs: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The values that are given: by the caller, else by `inputs()`, and the plain defaults."""
    names = {f.name for f in formals}
    if inputs is None:
        bare = _bare(formals)
        open_ones = [
            f for f in formals if f.kind is None
        ]  # a default of None may stand for a tensor
        if (bare or (open_ones and (source.outside or source.beside))) and _beside(source):
            inputs = by_name(_call_inputs(source), [f.name for f in formals])
        elif bare:
            raise ReadError(
                f"the shape of `{bare[0].name}` is not known",
                spot=source.spot(bare[0].node),
                hint=f'annotate it, `{bare[0].name}: Float[Tensor, "n d"]`, '
                "or give tensors by `inputs`",
            )
    given = dict(inputs or {})
    if source.dialect == NUMPY:
        given = {name: _plain_or_wide(as_tensors(value)) for name, value in given.items()}
    unknown = set(given) - names
    if unknown:
        raise ReadError(
            f"`{source.function.name}` has no input `{min(unknown)}`",
            hint=f"its inputs are: {', '.join(sorted(names))}",
        )
    defaults = live_defaults(source.live)
    for formal in formals:
        if formal.name not in given and formal.name in defaults:
            given[formal.name] = defaults[formal.name]
        elif formal.name not in given and formal.default is not None:
            try:
                given[formal.name] = ast.literal_eval(formal.default)
            except ValueError:
                raise ReadError(
                    f"the default of `{formal.name}` is not a plain value",
                    spot=source.spot(formal.default),
                    hint="defaults are numbers, True, False, None or tuples of them",
                ) from None
        elif formal.name not in given and formal.kind is None:
            raise ReadError(
                f"no value for `{formal.name}` is given",
                spot=source.spot(formal.node),
                hint="add it to `inputs`",
            )
    return given


def _plain_or_wide(value: Any) -> Any:
    """NumPy's floats as float64, and a list of numbers as what no line changes."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.double()
    return tuple(value) if isinstance(value, list) and is_plain(value) else value


def _call_inputs(source: Source) -> Any:
    """Run the file's own `inputs()`."""
    live = source.beside or source.outside.get("inputs")
    node = source.functions.get("inputs")
    spot = None if node is None else source.spot(node)
    try:
        if live is None:
            namespace: dict[str, Any] = {"__name__": "forward", "__file__": source.file}
            with seeded(OF_FILE):
                run([source.text], namespace, source.file)
            live = namespace["inputs"]
        with seeded(OF_INPUTS):
            found = live()
    except Exception as error:  # the person's own code: their error, told as such
        raise ReadError(
            f"`inputs()` does not run: {type(error).__name__}: {error}",
            spot=spot,
        ) from None
    if not isinstance(found, Mapping | tuple | list | torch.Tensor) and not is_array(found):
        raise ReadError(
            f"`inputs()` returns a {type(found).__name__}",
            spot=spot,
            hint='return {"x": torch.randn(4, 3), ...}, or a tuple in the order of the signature',
        )
    return found


def _settings(value: Any) -> bool:
    """Whether a value is a dictionary of plain values by name: `{"mode": "train"}`."""
    return isinstance(value, dict) and all(map(is_plain, value.values()))


def _inputs(
    source: Source,
    formals: tuple[Parameter, ...],
    values: Mapping[str, Any],
    wanted: set[str] | None,
    packed: dict[str, Any],
) -> Iterator[Input]:
    """The inputs: of a dictionary or list one for each tensor, its structure in `packed`."""
    taken = {formal.name for formal in formals}
    for formal in formals:
        if not holds_tensors(values[formal.name]):
            yield _input(source, formal, values, wanted)
            continue
        packed[formal.name], parts = taken_apart(formal.name, values[formal.name], taken)
        for name in parts:
            yield _input(source, replace(formal, name=name, axes=None), parts, wanted)


def _input(
    source: Source, formal: Parameter, values: Mapping[str, Any], wanted: set[str] | None
) -> Input:
    value = values[formal.name]
    if isinstance(value, torch.Tensor):
        value = value.detach()
    elif not (isinstance(value, bool | int | float | str | tuple | type(None)) or _settings(value)):
        raise ReadError(
            f"`{formal.name}` is given a {type(value).__name__}",
            spot=source.spot(formal.node),
            hint=instead_of(value),
        )
    if isinstance(value, torch.Tensor) and value.layout != torch.strided:
        raise ReadError(
            f"`{formal.name}` is a sparse tensor; only dense ones are read",
            spot=source.spot(formal.node),
            hint="give it as `.to_dense()`",
        )
    floating = isinstance(value, torch.Tensor) and continuous(value)
    if wanted is not None and formal.name in wanted and not floating:
        raise ReadError(
            f"`{formal.name}` is no float tensor, so it has no gradient",
            spot=source.spot(formal.node),
        )
    return Input(
        formal.name,
        value,
        axes=formal.axes,
        differentiable=floating and (wanted is None or formal.name in wanted),
        optional=formal.default is not None and not isinstance(value, torch.Tensor),
    )
