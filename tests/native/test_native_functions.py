"""exp, expm1, log, tanh, sigmoid within 2 units in the last place, wherever they are asked."""

from __future__ import annotations

from functools import cache

import mpmath
import numpy as np
import pytest
from numba import njit

from gradninja.native.kernels import elementary
from gradninja.native.kernels.tile import VECTOR_BYTES, wide_vectors

NAMES = ["exp", "expm1", "log", "sigmoid", "tanh"]
ALLOWED = 2.0


@cache
def compiled(name: str, fastmath: bool = False):
    """A loop over an array, as generated code has it."""
    function = getattr(elementary, name)

    @njit(error_model="numpy", fastmath=fastmath)
    def loop(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    return loop


def answers(name, x):
    y = np.empty_like(x)
    compiled(name)(x, y)
    return y


def truth(name, x):
    """In float64, of float32: half a unit of it is nothing."""
    with np.errstate(all="ignore"):
        X = x.astype(np.float64)
        if name == "sigmoid":
            small = np.exp(-np.abs(X))
            return np.where(X < 0, small, 1) / (1 + small)
        return getattr(np, name)(X)


def exact(name, x):
    with mpmath.workprec(120):
        X = mpmath.mpf(x)
        if name == "sigmoid":
            return 1 / (1 + mpmath.exp(-X))
        return getattr(mpmath, name)(X)


def units(found, true, dtype):
    """How many units in the last place of the true value's binade lie between."""
    info = np.finfo(dtype)
    exponent = np.maximum(np.frexp(true)[1] - 1, info.minexp)
    return np.abs(found.astype(np.float64) - true) / np.ldexp(1.0, exponent - info.nmant)


def sweep(name: str) -> np.ndarray:
    """Every 1,499th float32 there is, and many of where the function bends."""
    every = np.arange(0, 2**32, 1499, dtype=np.uint64).astype(np.uint32).view(np.float32)
    rng = np.random.default_rng(0)
    near = [rng.uniform(-size, size, 400_000).astype(np.float32) for size in (1e-3, 1, 10, 110)]
    around = 1 + rng.uniform(-0.5, 1, 400_000).astype(np.float32)
    return np.concatenate([every, *near, around])


@pytest.mark.parametrize("name", NAMES)
def test_float32_over_its_whole_domain(name):
    x = sweep(name)
    y, true = answers(name, x), truth(name, x)
    assert (np.isnan(y) == np.isnan(true)).all()
    largest = np.finfo(np.float32).max
    # where rounding the true value gives inf: half a unit above the largest number
    beyond = np.abs(true) >= float(largest) * (1 + 2.0**-25)
    assert (y[beyond] == np.sign(true[beyond]) * np.inf).all()
    inside = ~(beyond | np.isnan(true))
    assert units(y[inside], true[inside], np.float32).max() <= ALLOWED
    assert (np.signbit(y) == np.signbit(true))[(x == 0)].all()


POINTS = {  # by the function's own measure, and where its formulas change
    "exp": [-745.2, -744.4, -708.5, -708.3, 709.7, 709.78, 88.5],
    "expm1": [-40, 1e-300, -1e-9, 709.7, 0.34657, 0.34658],
    "log": [5e-324, 2.2e-308, 2.3e-308, 0.70710, 0.70711, 1.41421, 1.41422, 1.79e308],
    "sigmoid": [-745.2, -744.4, -708.4, -36.8, 36.8, 710],
    "tanh": [5e-324, 1e-300, 0.6249999, 0.6250001, 19.0, 19.1, 22, 700],
}


@pytest.mark.parametrize("name", NAMES)
def test_float64_against_many_digits(name):
    rng = np.random.default_rng(1)
    parts = [rng.uniform(-size, size, 1500) for size in (1e-8, 1, 5, 40, 700)]
    bits = rng.integers(0, 2**63, 1500, dtype=np.int64).view(np.float64)
    x = np.concatenate([*parts, bits, np.array(POINTS[name], dtype=np.float64)])
    x = np.concatenate([x, -x])
    x = x[np.isfinite(x)]
    if name == "log":
        x = np.abs(x)
    y = answers(name, x)
    info = np.finfo(np.float64)
    worst = 0.0
    for point, found in zip(x, y, strict=True):
        true = exact(name, float(point))
        rounded = float(true)
        if not np.isfinite(rounded) or true == 0:
            assert found == rounded
            continue
        exponent = max(np.frexp(rounded)[1] - 1, info.minexp)
        worst = max(worst, float(abs(mpmath.mpf(found) - true) / mpmath.mpf(2) ** (exponent - 52)))
    assert worst <= ALLOWED


SPECIAL = {  # of 0, -0, inf, -inf, nan
    "exp": [1.0, 1.0, np.inf, 0.0, np.nan],
    "expm1": [0.0, -0.0, np.inf, -1.0, np.nan],
    "log": [-np.inf, -np.inf, np.inf, np.nan, np.nan],
    "sigmoid": [0.5, 0.5, 1.0, 0.0, np.nan],
    "tanh": [0.0, -0.0, 1.0, -1.0, np.nan],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fastmath", [False, True], ids=["strict", "fastmath"])
@pytest.mark.parametrize("name", NAMES)
def test_special_values_whatever_the_caller_allows(name, fastmath, dtype):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan] * 9, dtype=dtype)  # as vectors and alone
    y = np.empty_like(x)
    compiled(name, fastmath)(x, y)
    expected = np.array(SPECIAL[name] * 9, dtype=dtype)
    assert np.array_equal(y, expected, equal_nan=True)
    numbers = ~np.isnan(expected)
    assert (np.signbit(y) == np.signbit(expected))[numbers].all()


@pytest.mark.parametrize("name", NAMES)
def test_loops_are_of_vectors(name):
    loop = compiled(name)
    loop(np.ones(1, np.float32), np.ones(1, np.float32))
    (text,) = (
        text for kind, text in loop.inspect_llvm().items() if kind[0].dtype.name == "float32"
    )
    assert "x float>" in text


def test_vectors_as_wide_as_the_registers():
    @njit(error_model="numpy")
    def loop(x, y):
        wide_vectors()
        for i in range(x.size):
            y[i] = elementary.tanh(x[i])

    x = np.linspace(-3, 3, 99, dtype=np.float32)
    y = np.empty_like(x)
    loop(x, y)
    assert (y == answers("tanh", x)).all()
    assert f"<{VECTOR_BYTES // 4} x float>" in next(iter(loop.inspect_llvm().values()))


def test_outside_of_compiled_code_they_are_numpys():
    x = np.linspace(0.5, 2, 5)
    for name in NAMES:
        assert np.allclose(getattr(elementary, name)(x), answers(name, x), rtol=1e-15)
