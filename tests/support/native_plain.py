"""Runs the text that is compiled as plain Python: the same operations, with no compiler between."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gradninja.lines import Input
from gradninja.lines.given.source import parse
from gradninja.lines.reader import read_program
from gradninja.native.calls.given_arrays import flat
from gradninja.native.calls.outside import Outside
from gradninja.native.calls.stepping import Specialised
from gradninja.native.calls.training_run import Kernel
from gradninja.native.kernels import elementary
from gradninja.native.kernels.series import series
from gradninja.native.ops.table import lowered
from gradninja.native.reading.read import step_reading

_FUNCTIONS = ("exp", "expm1", "log", "sigmoid", "tanh")


def _plainly(function):
    return lambda x: function(np.float64(x) if isinstance(x, float) else x)


def _gemm(at, m, n, k, alpha, A, a, ars, acs, B, b, brs, bcs, beta, C, c, crs, ccs):
    def matrix(array, start, rows, columns, down, across):
        size = array.itemsize
        shape, strides = (rows, columns), (down * size, across * size)
        return np.lib.stride_tricks.as_strided(array[start:], shape, strides)

    if 0 in (m, n):
        return
    product = matrix(A, a, m, k, ars, acs) @ matrix(B, b, k, n, brs, bcs) if k else 0
    into = matrix(C, c, m, n, crs, ccs)
    into[:] = alpha * product + (beta * into if beta else 0)


def function(source: str, name: str) -> Callable[..., Any]:
    """A function of a generated text, uncompiled."""
    scope: dict[str, Any] = {
        **{name: _plainly(getattr(elementary, name)) for name in _FUNCTIONS},
        "select": lambda condition, a, b: a if condition else b,
        "plus": lambda total, value: total + value,
        "most": np.maximum,
        "least": np.minimum,
        "int_add": lambda a, b: np.int64(a) + np.int64(b),
        "int_sub": lambda a, b: np.int64(a) - np.int64(b),
        "int_mul": lambda a, b: np.int64(a) * np.int64(b),
        "gemm": _gemm,
        "series": series.py_func,
    }
    text = re.sub(r"^from (gradninja|numba).*$", "", source, flags=re.MULTILINE)
    exec(compile(text, "<generated>", "exec"), scope)
    found: Callable[..., Any] = scope[name]
    return found


def _outside(outside: Outside) -> list[Any]:
    memory = [np.full(size, 7, dtype) for dtype, size in outside.work.items()]
    return [np.array(outside.sizes), *memory, *(0 for _ in outside.products)]


def plainly(kernel: Kernel) -> Kernel:
    """A training kernel that runs its text uncompiled."""
    kernel.function = function(kernel.source, "run")
    kernel.outside.values = lambda *_: _outside(kernel.outside)  # type: ignore[method-assign]
    return kernel


def run(made: Specialised, arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """What a compiled step would give."""
    outputs = [np.full(shape, 7, dtype) for shape, dtype in made._outputs]
    given = [flat(arrays[leaf.label], leaf) for leaf in made._inputs]
    rest = _outside(made._outside)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function(made.source, "step")(*given, *(o.reshape(-1) for o in outputs), *rest)
    return dict(zip(made.names, outputs, strict=True))


def lowered_forward(text: str, inputs: dict[str, Any]) -> Specialised:
    """The compiled text of a plain function's outputs, with no backward."""
    reading = step_reading(parse(text, "<text>", None))
    given = tuple(Input(name, value) for name, value in inputs.items())
    with torch.no_grad():
        program = read_program(reading, given, {})
    lowering = lowered(program, counts=True)
    return Specialised(lowering, program, inputs, program.outputs, None)
