"""What is worked out for one element: loads, numbers, arithmetic; equal ones are one object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gradninja.native.maps.places import Index, Part, Var


@dataclass(frozen=True, eq=False)
class Buffer:
    """A 1-D array of the generated code: an input's elements, or what was worked out."""

    name: str
    dtype: str
    size: int


@dataclass(frozen=True, eq=False)
class Scalar:
    """An operation on scalars. `op` is

    "number"   `value` is the number;
    "load"     the element of `buffer` at `at`;
    "index"    the int that `at` is;
    "cast"     the one argument, made a `dtype`;
    else       a template for the arguments, as `{0} + {1}` or `exp({0})`.

    `range` holds the bounds of an int where they are known.
    """

    op: str
    args: tuple[Scalar, ...]
    dtype: str
    number: int  # of its making: an order to go by
    value: Any = None
    buffer: Buffer | None = None
    at: Index | None = None
    range: tuple[int, int] | None = None
    variables: frozenset[Var] = frozenset()

    def walk(self) -> Iterator[Scalar]:
        """This and all below it, each once, operands first; those within indices, too."""
        yield from _walk(self, set())


def _walk(scalar: Scalar, seen: set[int]) -> Iterator[Scalar]:
    if id(scalar) in seen:
        return
    seen.add(id(scalar))
    for below in below_of(scalar):
        yield from _walk(below, seen)
    yield scalar


def below_of(scalar: Scalar) -> Iterator[Scalar]:
    """The scalars that one is made of: its arguments, and what its index looks up."""
    yield from scalar.args
    if scalar.at is not None:
        yield from looked_up(scalar.at)


def looked_up(index: Index) -> Iterator[Scalar]:
    """The looked-up ints within an index."""
    for atom, _ in index.terms:
        if isinstance(atom, Part):
            yield from looked_up(atom.of)
        elif isinstance(atom, Scalar):
            yield atom


class Scalars:
    """Makes scalars; the same one is made once."""

    def __init__(self) -> None:
        self.known: dict[object, Scalar] = {}

    def _make(self, op: str, args: tuple[Scalar, ...], dtype: str, **more: Any) -> Scalar:
        value = more.get("value")
        told = None if value is None else (type(value), repr(value))
        at = more.get("at")
        key = (op, args, dtype, told, more.get("buffer"), at)
        if key not in self.known:
            variables = frozenset().union(*(a.variables for a in args))
            if at is not None:
                variables |= at.variables()
            self.known[key] = Scalar(op, args, dtype, len(self.known), variables=variables, **more)
        return self.known[key]

    def number(self, value: Any, dtype: str) -> Scalar:
        """A constant."""
        value = float(value) if "float" in dtype else bool(value) if dtype == "bool" else int(value)
        bounds = None if isinstance(value, float) else (int(value), int(value))
        return self._make("number", (), dtype, value=value, range=bounds)

    def load(self, buffer: Buffer, at: Index, bounds: tuple[int, int] | None = None) -> Scalar:
        """An element of an array; an int's bounds where it is held to them before."""
        return self._make("load", (), buffer.dtype, buffer=buffer, at=at, range=bounds)

    def index(self, at: Index) -> Scalar:
        """An index as a number that can be worked with."""
        if len(at.terms) == 1 and not at.constant:
            atom, coefficient = at.terms[0]
            if isinstance(atom, Scalar) and coefficient == 1:
                return atom
        if not at.terms:
            return self.number(at.constant, "int64")
        return self._make("index", (), "int64", at=at, range=at.range)

    def cast(self, scalar: Scalar, dtype: str) -> Scalar:
        """The same number as another type."""
        if scalar.dtype == dtype:
            return scalar
        if scalar.op == "number":
            return self.number(scalar.value, dtype)
        return self._make("cast", (scalar,), dtype)

    def call(self, template: str, dtype: str, *args: Scalar) -> Scalar:
        """An operation, given by a template for its operands' texts."""
        return self._make(template, args, dtype)

    def place(self, scalar: Scalar) -> Index:
        """An int as an index."""
        if scalar.op == "number":
            return Index(int(scalar.value))
        if scalar.op == "index":
            assert scalar.at is not None
            return scalar.at
        return Index(0, ((scalar, 1),))
