"""Arrays and tensors: the same memory where the two can share it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def is_array(value: Any) -> bool:
    """Whether a value is NumPy's, an array or a number."""
    return isinstance(value, np.ndarray | np.generic)


def as_tensor(value: Any) -> Any:
    """An array as a tensor, a NumPy number as Python's; anything else as it is."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        if value.dtype == object or value.dtype.kind in "USMm":
            return value
        if value.dtype.kind == "u":  # labels too: torch takes uint8 in brackets for a mask
            value = value.astype(np.int64)
        return torch.from_numpy(np.array(value))
    return value


def as_tensors(value: Any, memo: dict[int, Any] | None = None) -> Any:
    """A copy of a value in which every array is a tensor: in lists, dicts and objects too.

    An array that is held twice is one tensor.
    """
    return _with_each(value, as_tensor, {} if memo is None else memo)


def holds_arrays(value: Any) -> bool:
    """Whether a value is an array, or holds one: in a list, a dict or an object."""
    found = []

    def look(part: Any) -> Any:
        if is_array(part):
            found.append(part)
        return part

    _with_each(value, look, {})
    return bool(found)


def as_arrays(value: Any) -> Any:
    """A copy of a value in which every tensor is an array."""

    def of(found: Any) -> Any:
        if isinstance(found, torch.Tensor):
            return np.array(found.detach().numpy())
        return found

    return _with_each(value, of, {})


def as_float64(value: Any) -> Any:
    """A copy of a value in which the floats of arrays and tensors are of double precision."""

    def of(found: Any) -> Any:
        if isinstance(found, torch.Tensor) and found.is_floating_point():
            return found.detach().double()
        narrow = isinstance(found, np.ndarray) and found.dtype in (np.float16, np.float32)
        return found.astype(np.float64) if narrow else found

    return _with_each(value, of, {})


def _with_each(value: Any, change: Any, memo: dict[int, Any]) -> Any:
    if id(value) in memo:
        return memo[id(value)]
    changed = change(value)
    if changed is not value:
        memo[id(value)] = changed
        return changed
    if type(value) in (list, tuple):
        return type(value)(_with_each(part, change, memo) for part in value)
    if isinstance(value, Mapping) and type(value).__module__ in {"builtins", "collections"}:
        found = copy.copy(value)
        memo[id(value)] = found
        for key, part in value.items():
            found[key] = _with_each(part, change, memo)  # type: ignore[index]
        return found
    home = type(value).__module__.partition(".")[0]
    if hasattr(value, "__dict__") and not callable_thing(value) and home not in {"torch", "numpy"}:
        found = copy.copy(value)
        memo[id(value)] = found
        for name, part in vars(value).items():
            vars(found)[name] = _with_each(part, change, memo)
        return found
    return value


def callable_thing(value: Any) -> bool:
    """Whether a value is a class, a module or a function, which no copy is made of."""
    return isinstance(value, type) or type(value).__name__ in {
        "module",
        "function",
        "method",
        "builtin_function_or_method",
    }
