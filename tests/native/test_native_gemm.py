"""Products of every size, stride and dtype against NumPy in float64; nothing else is written."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradninja.native.kernels.gemm import gemm

DTYPES = [np.float32, np.float64]
GUARD = -77.0  # what lies between and around the elements of C, and must stay


def strided(rng, shape, layout, dtype, fill=None):
    """A flat array, the strides of a matrix in it, and the matrix as a view of it."""
    rows, columns = shape
    rs, cs = {
        "rows": (columns, 1),
        "columns": (1, rows),
        "wide rows": (columns + 3, 1),
        "tall columns": (1, rows + 5),
        "every second": (2 * columns + 1, 2),
        "repeated rows": (0, 1),
        "repeated columns": (1, 0),
        "one element": (0, 0),
    }[layout]
    size = max(0, rows - 1) * rs + max(0, columns - 1) * cs + 9
    flat = rng.standard_normal(size).astype(dtype) if fill is None else np.full(size, fill, dtype)
    strides = (rs * flat.itemsize, cs * flat.itemsize)
    return flat, (rs, cs), np.lib.stride_tricks.as_strided(flat, shape, strides)


def holds(m, n, k, layouts, dtype, alpha, beta, seed=0):
    """Compare one product with NumPy's, and see that C's surroundings are as they were."""
    rng = np.random.default_rng(seed)
    a, a_strides, A = strided(rng, (m, k), layouts[0], dtype)
    b, b_strides, B = strided(rng, (k, n), layouts[1], dtype)
    c, c_strides, C = strided(rng, (m, n), layouts[2], dtype, GUARD)
    C[...] = rng.standard_normal((m, n)) if beta else np.nan  # must not be read where beta is 0
    before = C.astype(np.float64)
    truth = alpha * (A.astype(np.float64) @ B.astype(np.float64))
    truth += beta * before if beta else 0
    bound = abs(alpha) * (abs(A.astype(np.float64)) @ abs(B.astype(np.float64)))
    bound += abs(beta * before) if beta else 0
    gemm(m, n, k, dtype(alpha), a, *a_strides, b, *b_strides, dtype(beta), c, *c_strides)
    eps = np.finfo(dtype).eps
    # Higham, "Accuracy and Stability of Numerical Algorithms", section 3.5; 3: alpha, beta, add
    assert (abs(C - truth) <= (k + 3) * eps * bound).all()
    C[...] = GUARD
    assert (c == GUARD).all()


READ = ["rows", "columns", "wide rows", "tall columns", "every second",
        "repeated rows", "repeated columns", "one element"]  # fmt: skip
WRITTEN = READ[:5]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.tuples(*[st.sampled_from([0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 67])] * 3),
    st.tuples(st.sampled_from(READ), st.sampled_from(READ), st.sampled_from(WRITTEN)),
    st.sampled_from(DTYPES),
    st.sampled_from([1.0, -0.1, 0.0]),
    st.sampled_from([0.0, 1.0, 0.5]),
)
def test_small_products(sizes, layouts, dtype, alpha, beta):
    holds(*sizes, layouts, dtype, alpha, beta)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "sizes",
    [
        (200, 300, 530),
        (161, 2060, 9),
        (1, 2100, 300),
        (2100, 1, 300),
        (330, 33, 257),
        (9, 70, 4100),
    ],
)
@pytest.mark.parametrize("layouts", [("rows", "rows", "rows"), ("columns", "rows", "rows"),
                                     ("rows", "columns", "rows"), ("wide rows", "rows", "columns"),
                                     ("every second", "every second", "every second")])  # fmt: skip
def test_products_of_several_blocks(dtype, sizes, layouts):
    holds(*sizes, layouts, dtype, -0.5, 0.25)
    holds(*sizes, layouts, dtype, 1.0, 0.0)


FENCED = """
import ctypes, itertools, mmap
import numpy as np
from gradninja.native.kernels.gemm import gemm

libc, page, kept = ctypes.CDLL(None, use_errno=True), mmap.PAGESIZE, []

def fenced(size):
    # `size` floats that end where a page begins that may not be touched
    room = mmap.mmap(-1, 3 * page)
    kept.append(room)
    start = ctypes.addressof(ctypes.c_char.from_buffer(room))
    assert libc.mprotect(ctypes.c_void_p(start + 2 * page), page, 0) == 0
    return np.frombuffer(room, np.float32, size, 2 * page - 4 * size)

one = np.float32(1)
for m, n, k in itertools.product((1, 3, 5, 9), (1, 7, 17, 33), (1, 6, 11)):
    for turned in itertools.product((False, True), repeat=3):
        A, B, C = fenced(m * k), fenced(k * n), fenced(m * n)
        a, b, c = ((1, rows) if t else (columns, 1)
                   for t, (rows, columns) in zip(turned, ((m, k), (k, n), (m, n))))
        gemm(m, n, k, one, A, *a, B, *b, one, C, *c)
print("within")
"""


def test_nothing_beyond_an_array_is_read():
    done = subprocess.run([sys.executable, "-c", FENCED], capture_output=True, text=True)
    assert done.stdout == "within\n", done.stderr or f"signal {-done.returncode}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_are_as_the_whole(dtype):
    """C cut into parts is the same bit for bit: threads may take a part each."""
    rng = np.random.default_rng(1)
    m, n, k = 131, 77, 700
    A, B = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    whole, parts = np.zeros((m, n), dtype), np.zeros((m, n), dtype)
    one, zero = dtype(1), dtype(0)
    gemm(m, n, k, one, A.ravel(), k, 1, B.ravel(), n, 1, zero, whole.ravel(), n, 1)
    for i0, i1 in ((0, 3), (3, 64), (64, m)):
        for j0, j1 in ((0, 40), (40, n)):
            a, b = A.ravel()[i0 * k :], B.ravel()[j0:]
            c = parts.ravel()[i0 * n + j0 :]
            gemm(i1 - i0, j1 - j0, k, one, a, k, 1, b, n, 1, zero, c, n, 1)
    assert (whole == parts).all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_what_is_not_finite_stays_in_its_row(value, layout):
    """A clamped row or a masked column of a tile must not leak into another one."""
    rng = np.random.default_rng(2)
    a, strides, A = strided(rng, (13, 11), layout, np.float32)
    b, b_strides, B = strided(rng, (11, 35), "rows", np.float32)
    A[12, 4] = value
    C = np.zeros((13, 35), np.float32)
    one, zero = np.float32(1), np.float32(0)
    gemm(13, 35, 11, one, a, *strides, b, *b_strides, zero, C.ravel(), 35, 1)
    assert np.isfinite(C[:12]).all()
    assert not np.isfinite(C[12]).any()
    A[12, 4], B[3, 34] = 0.0, value
    gemm(13, 35, 11, one, a, *strides, b, *b_strides, zero, C.ravel(), 35, 1)
    assert np.isfinite(C[:, :34]).all()
    assert not np.isfinite(C[:, 34]).any() or math.isinf(value)


def test_a_beta_that_is_not_a_number_is_seen():
    one, nan = np.float32(1), np.float32(math.nan)
    a, c = np.ones(4, np.float32), np.ones(4, np.float32)
    gemm(2, 2, 2, one, a, 2, 1, a, 2, 1, nan, c, 2, 1)
    assert np.isnan(c).all()
