"""A plain function with what stands around it: `model`, `W1` and `b1` of a notebook's cells."""

from __future__ import annotations

import dis
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from gradninja.lines.modules.wrappers import unwrapped

LIBRARIES = {"torch", "builtins", "einops", "numpy", "gradninja"}


class Surrounded:
    """A function as an object that holds, as attributes, what it reads from around it.

    Calling it runs the function with what it holds, so a copy of it runs on the copy's tensors.
    """

    __slots__ = ("__dict__", "_function")
    _function: Any  # a FunctionType, which a type checker would bind as a method

    def __init__(self, function: types.FunctionType) -> None:
        self._function = function
        vars(self).update(read_around(function))

    def unbound(self) -> types.FunctionType:
        """The function itself."""
        function: types.FunctionType = self._function
        return function

    def __call__(self, *given: Any, **inputs: Any) -> Any:
        around = self._function.__globals__
        held = {**around, **vars(self)}
        for name, value in {**around, **vars(self)}.items():
            if isinstance(value, types.FunctionType) and value.__globals__ is around:
                held[name] = _within(value, held, vars(self))
        return _within(self._function, held, vars(self))(*given, **inputs)


def _within(
    function: types.FunctionType, names: dict[str, Any], held: Mapping[str, Any]
) -> types.FunctionType:
    """The same function where its free names mean these values."""
    code, cells = function.__code__, function.__closure__ or ()
    closed = tuple(
        types.CellType(held[name]) if name in held else cell
        for name, cell in zip(code.co_freevars, cells, strict=True)
    )
    twin = types.FunctionType(code, names, function.__name__, function.__defaults__, closed)
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin


def read_around(function: types.FunctionType) -> dict[str, Any]:
    """What a function, and the functions beside it that it calls, read from around them."""
    around, found = function.__globals__, dict[str, Any]()
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not bound yet
            continue
    waiting, seen = [function.__code__], set()
    while waiting:
        code = waiting.pop()
        seen.add(code)
        for name in free_names(code):
            value = around.get(name)
            if isinstance(value, types.FunctionType):
                if value.__globals__ is around and value.__code__ not in seen:
                    waiting.append(value.__code__)
                if value.__defaults__ or value.__closure__:  # `lambda x, eo=embedder: eo.embed(x)`
                    found[name] = value
            elif name in around and not isinstance(value, type | types.ModuleType):
                found[name] = value
    return found


@dataclass(frozen=True, eq=False)
class Place:
    """A name of a file: a tensor beside the classes, which a method of theirs reads."""

    file: dict[str, Any]
    name: str

    @property
    def tensor(self) -> torch.Tensor:
        held: torch.Tensor = self.file[self.name]
        return held


def beside(kinds: Iterable[type]) -> Iterator[Place]:
    """The tensors that stand in a file beside classes of the person's, and are read by them."""
    seen = set()
    for kind in dict.fromkeys(base for one in dict.fromkeys(kinds) for base in one.__mro__):
        if kind.__module__.partition(".")[0] in LIBRARIES:
            continue
        methods = [m.fget if isinstance(m, property) else m for m in vars(kind).values()]
        for function in map(unwrapped, methods):
            if not isinstance(function, types.FunctionType):
                continue
            for name, value in read_around(function).items():
                place = Place(function.__globals__, name)
                here = function.__globals__.get(name) is value
                if here and isinstance(value, torch.Tensor) and (id(place.file), name) not in seen:
                    seen.add((id(place.file), name))
                    yield place


@contextmanager
def standing(places: Mapping[Place, Any]) -> Iterator[None]:
    """Other tensors in those places, and then what was there."""
    before = {place: place.tensor for place in places}
    try:
        for place, value in places.items():
            place.file[place.name] = value
        yield
    finally:
        for place, value in before.items():
            place.file[place.name] = value


def free_names(code: types.CodeType) -> Iterator[str]:
    """The global names that a function's code, and the code within it, reads."""
    for step in dis.get_instructions(code):
        if step.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
            yield str(step.argval)
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from free_names(part)
