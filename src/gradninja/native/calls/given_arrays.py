"""What a person's call is given: arrays and tensors, taken as they lie; and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gradninja.native.maps.graph import Leaf
from gradninja.native.reading.refusal import NativeError

Array = np.ndarray[Any, Any]
_DTYPES = ("float32", "float64", "int64", "bool")
_TAKEN = frozenset(map(np.dtype, _DTYPES))  # in this machine's order of bytes
_TAKEN_TENSORS = frozenset(getattr(torch, dtype) for dtype in _DTYPES)
_MOST_AXES = 64
_PLAIN = (bool, int, float, str, tuple, type(None), torch.dtype)


def arrays_of(inputs: dict[str, Any]) -> dict[str, Any]:
    """Tensors' and arrays' arrays, without a copy; plain values as they are.

    Raises:
        NativeError: a value of another kind or type, named.
    """
    return {name: _array(name, value) for name, value in inputs.items()}


def _array(name: str, value: Any) -> Any:
    if type(value) is np.ndarray and value.dtype in _TAKEN and value.flags.writeable:
        return value
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_quantized:
            raise NativeError(f"`{name}` is no plain tensor", hint="give `.to_dense()`")
        if value.device.type != "cpu":
            raise NativeError(
                f"`{name}` is on {value.device}; compiled code works on the CPU",
                hint="give `.cpu()`",
            )
        if value.ndim > _MOST_AXES:
            raise NativeError(f"`{name}` has more than NumPy's {_MOST_AXES} axes")
        if value.dtype not in _TAKEN_TENSORS:
            _hold(name, str(value.dtype).removeprefix("torch."), ".to(torch.{})")
        value = value.detach() if value.requires_grad else value
        return (value.resolve_neg() if value.is_neg() else value).numpy()
    if isinstance(value, np.ma.MaskedArray):
        raise NativeError(f"`{name}` is masked: what is hidden would count", hint="give `.filled`")
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        _hold(name, value.dtype.name, ".astype(np.{})")
        if not value.dtype.isnative:
            raise NativeError(
                f"the bytes of `{name}` are in another machine's order",
                hint=f"give `{name}.astype(np.{value.dtype.name})`",
            )
        return np.asarray(value if value.flags.writeable else _Unlocked(value))
    if not isinstance(value, _PLAIN):
        kind = type(value).__name__
        raise NativeError(f"`{name}` is of type {kind}", hint="give an array, a tensor or a number")
    return value


def _hold(name: str, dtype: str, cast: str) -> None:
    if dtype in _DTYPES:
        return
    floats = "float64" if dtype in ("float128", "longdouble") else "float32"
    near = floats if "float" in dtype else "int64" if "int" in dtype else None
    hint = f"give `{name}{cast.format(near)}`" if near is not None else None
    raise NativeError(
        f"`{name}` is of {dtype}; what is compiled is {', '.join(_DTYPES[:-1])} and bool", hint=hint
    )


class _Unlocked:
    """Memory that may only be read, as any other: what is compiled writes to no input."""

    def __init__(self, array: Array) -> None:
        self.held = array
        given = array.__array_interface__
        self.__array_interface__ = {**given, "data": (given["data"][0], False)}


def tensor_of(value: Array) -> torch.Tensor:
    """An array's tensor: of the same memory where it can be, else contiguous."""
    plain = all(s >= 0 and s % value.itemsize == 0 for s in value.strides)
    return torch.from_numpy(value if plain else value.copy())


def kind_of(value: Any) -> object:
    """What code is compiled for: shape, strides and type of an array, the value of all else."""
    if isinstance(value, np.ndarray):
        return value.shape, value.strides, value.dtype.str
    return type(value).__name__, repr(value)


def flat(value: Array, leaf: Leaf) -> Array:
    """All memory of an array, from its first element to its last, in a row.

    Raises:
        NativeError: it is not of the shape and type that its code was compiled for.
    """
    if value.shape != leaf.shape or value.dtype != leaf.dtype:
        raise NativeError(
            f"`{leaf.label}` is {value.dtype} {value.shape}; this was compiled for {leaf.dtype} "
            f"{leaf.shape}"
        )
    strides = leaf.steps
    if value.strides != strides:
        value = value.copy()
        if value.strides != strides:
            raise NativeError(f"`{leaf.label}` lies in memory otherwise than when it was compiled")
    if value.flags.c_contiguous:
        return value.reshape(-1)
    return np.lib.stride_tricks.as_strided(value, (leaf.buffer.size,), (value.itemsize,))
