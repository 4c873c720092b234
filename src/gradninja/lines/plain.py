"""Python values that are no tensors: which are written as they are, and which are things."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch

# Things of torch's that a text names by how it comes to them, `x.dtype` say.
_NAMED = (
    torch.dtype,
    torch.device,
    torch.finfo,
    torch.iinfo,
    torch.layout,
    torch.memory_format,
    torch.Size,
    torch.Tensor,
    range,
    slice,
    type,
    type(Ellipsis),
)


def is_plain(value: Any) -> bool:
    """Whether a value is written as it is: a number, a text, or a sequence of such."""
    if isinstance(value, tuple | list):
        return type(value) in (tuple, list) and all(is_plain(v) for v in value)
    return value is None or type(number(value)) in (bool, int, float, str)


def parts_of(value: Any) -> Iterator[Any]:
    """What dictionaries, sequences and records hold in the end, in order; of others themselves."""
    inner: Any
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, tuple | list):
        inner = value
    elif is_dataclass(value) and not isinstance(value, type):
        inner = [getattr(value, field.name) for field in fields(value)]
    else:
        yield value
        return
    for part in inner:
        yield from parts_of(part)


def number(value: Any) -> Any:
    """A number of NumPy's as Python's own: `np.sqrt(2.0)` is a plain number, and no array."""
    return value.item() if isinstance(value, np.generic) else value


def is_object(value: Any) -> bool:
    """Whether a static value is a thing with attributes of its own, a module say."""
    sequence = isinstance(value, tuple | list) and type(value) in (tuple, list)
    return not (is_plain(value) or sequence or isinstance(value, range | slice))


def belongs(value: Any) -> bool:
    """Whether a value is a live object, whose name no text has."""
    return is_object(value) and not isinstance(value, _NAMED)


def counts(value: Any) -> bool:
    """Whether a value is a member of an enumeration that is a number or a text as well."""
    return isinstance(value, Enum) and isinstance(value, int | float | str)


def literal(value: Any) -> ast.expr:
    """Syntax for a plain Python value."""
    if counts(value):
        value = value.value
    if isinstance(value, torch.dtype):
        return ast.parse(str(value), mode="eval").body
    if isinstance(value, torch.device):
        value = str(value)
    if isinstance(value, tuple | list):
        value = type(value)(map(number, value))
    value = number(value)
    if isinstance(value, float) and not math.isfinite(value):
        return ast.parse(f"float('{value}')", mode="eval").body
    return ast.parse(repr(value), mode="eval").body


MOST_NUMBERS = 256  # of an array, that are written out


def array_literal(array: Any) -> ast.expr:
    """Syntax for an array of NumPy's: its numbers, or its name where there are too many."""
    if array.size > MOST_NUMBERS or array.dtype.kind not in "fiub":
        return ast.Name("array", ast.Load())
    numbers = literal(array.tolist())
    kind = ast.parse(f"np.{array.dtype}", mode="eval").body
    make = ast.parse("np.array", mode="eval").body
    return ast.Call(make, [numbers], [ast.keyword("dtype", kind)])


def continuous(value: torch.Tensor) -> bool:
    """Whether a tensor is of numbers that have a gradient: floats, or complex ones."""
    return value.is_floating_point() or value.is_complex()


def wide(value: torch.Tensor) -> torch.Tensor:
    """A tensor in double precision; ints and bools as they are."""
    if value.is_complex():
        return value.to(torch.complex128)
    return value.double() if value.is_floating_point() else value
