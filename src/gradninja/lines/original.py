"""What was read of a NumPy forward is held to what NumPy makes of the person's own text."""

from __future__ import annotations

import ast
import copy
import inspect
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from gradninja.errors import ReadError
from gradninja.lines.given.packed import leaves, put_together
from gradninja.lines.given.source import Source
from gradninja.lines.modules.finding import run_file
from gradninja.lines.ndarray import NUMPY, as_arrays, as_float64, forward_of
from gradninja.lines.plain import parts_of
from gradninja.lines.program import Program
from gradninja.lines.scope import function_of

TOLERANCE = 1e-9  # relative to the largest element: both are float64


def held_to_numpy(program: Program, source: Source) -> Program:
    """The program of a NumPy text, which gives what NumPy gives.

    Raises:
        ReadError: it gives something else.
    """
    drawn = any(part.random for line in program.lines for part in line.expr.walk())
    if source.dialect == NUMPY and not drawn:
        try:
            _hold(program, source)
        except ReadError as error:
            spot = source.spot(source.function)
            raise ReadError(error.message, spot=spot, hint=error.hint) from None
    return program


def original(source: Source) -> Callable[..., Any]:
    """The forward of a NumPy text as NumPy runs it, up to its outputs."""
    if source.spoken is not None:
        return source.spoken
    tree = ast.parse(source.text)
    name = source.function.name
    (function,) = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name
    ][-1:]
    cut, _ = forward_of(function)
    around = dict(source.outside) or dict(_names(source.text, source.file))
    return function_of(cut, around, source.file)


@lru_cache(maxsize=8)
def _names(text: str, file: str) -> Mapping[str, Any]:
    return run_file(text, file)


def _hold(program: Program, source: Source) -> None:
    """Call a forward with arrays and compare what it gives with the program's outputs.

    Raises:
        ReadError: it raises, or gives something else.
    """
    function = original(source)
    live = program.live
    own = set() if live is None else set(live.tensors)
    given = {i.name: as_arrays(i.value) for i in program.inputs if i.name not in own}
    values = program.values
    for name, structure in program.packed.items():
        given[name] = put_together(structure, given)
    within = {part for s in program.packed.values() for part, _ in leaves(s, s)}
    given = {name: value for name, value in given.items() if name not in within}
    if live is not None:
        thing = copy.deepcopy(as_float64(live.original or live.instance))
        if live.takes_self:
            function = function.__get__(thing)
        else:
            function.__globals__.update(vars(thing))
    if source.spoken is None:  # what the text reads from around it is no argument
        formals = inspect.signature(function).parameters
        around = {name: given.pop(name) for name in [*given] if name not in formals}
        getattr(function, "__globals__", {}).update(around)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            returned = function(**given)
        except Exception as error:  # whatever the person's own code raises
            first = str(error).strip().partition("\n")[0]
            told = f"{type(error).__name__}: {first}"
            raise ReadError(f"NumPy itself does not run it: {told}") from None
    found = [np.asarray(part) for part in parts_of(returned) if part is not None]
    outputs = [values[name] for name in program.outputs]
    same = len(found) == len(outputs) and all(
        _close(mine, true) for mine, true in zip(outputs, found, strict=True)
    )
    if not same:
        raise ReadError(
            "the lines that were read do not give what NumPy gives, so nothing is derived",
            hint="please report the forward; until then, write it with plainer operations",
        )


def _close(mine: torch.Tensor, true: np.ndarray[Any, Any]) -> bool:
    if tuple(mine.shape) != true.shape:
        return False
    one = mine.detach().double().numpy()
    other = true.astype(np.float64)
    largest = float(np.abs(np.nan_to_num(other, nan=0, posinf=0, neginf=0)).max(initial=0.0))
    return bool(np.allclose(one, other, 0, TOLERANCE * max(largest, 1e-3), equal_nan=True))
