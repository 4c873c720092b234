"""Matrix products within compiled code: any sizes, any strides, near what one core can do.

The scheme is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication",
ACM TOMS 34 (2008): C is worked on in tiles that stay in registers (`tile.py`), the tiles in blocks
whose parts of A and B stay in the caches. Parts that would be read in long strides are copied side
by side first ("packed"); small ones are used where they lie, because a copy would cost more than
it saves.

Each element of C is summed over k in order, in stretches of `_DEPTH` that are added up in order.
So it depends on k alone, not on where the element lies: C may be cut into parts, by rows or by
columns, with the same result bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.extending import overload

from gradninja.native.kernels.tile import copy, hold, lanes, make_tile, pointer, side, transpose

_ROWS = 8  # of a tile: 8 x 2 vectors of sums fill half of AVX-512's registers, all of AVX's
_DEPTH = 256  # of k in a block: then 2 vectors' width of B is 32 kB, in the first cache
_HEIGHT = 160  # rows of A in a block: 160 kB in float32, in the second cache
_WIDTH = 2048  # columns of B in a block: 2 MB in float32, in the last cache
_SMALL = 64 * 1024  # bytes of A or of B that stay in the caches where they lie

_TILE = make_tile(_ROWS, 2, low=False, narrow=False)
_CUT = make_tile(_ROWS, 2, low=False, narrow=True)
_WIDE, _NARROW = (make_tile(_ROWS, vectors, low=True, narrow=True) for vectors in (2, 1))
_LOW_WIDE, _LOW_NARROW = (make_tile(4, vectors, low=True, narrow=True) for vectors in (2, 1))


@njit
def _tile(k: Any, alpha: Any, A: Any, a: Any, ars: Any, acs: Any, B: Any, b: Any, brs: Any,
          beta: Any, C: Any, c: Any, crs: Any, rows: Any, width: Any) -> None:  # fmt: skip
    """A tile of up to `_ROWS` rows and two vectors."""
    one = lanes(A)
    if rows == _ROWS and width == 2 * one:
        _TILE(k, alpha, A, a, ars, acs, B, b, brs, beta, C, c, crs, rows, width)
    elif rows == _ROWS and width > one:
        _CUT(k, alpha, A, a, ars, acs, B, b, brs, beta, C, c, crs, rows, width)
    elif rows > 4 and width > one:
        _WIDE(k, alpha, A, a, ars, acs, B, b, brs, beta, C, c, crs, rows, width)
    elif rows > 4:
        _NARROW(k, alpha, A, a, ars, acs, B, b, brs, beta, C, c, crs, rows, width)
    elif width > one:
        _LOW_WIDE(k, alpha, A, a, ars, acs, B, b, brs, beta, C, c, crs, rows, width)
    else:
        _LOW_NARROW(k, alpha, A, a, ars, acs, B, b, brs, beta, C, c, crs, rows, width)


@njit
def _round_up(number: Any, step: Any) -> Any:
    return (number + step - 1) // step * step


@njit
def _aligned(size: Any, like: Any) -> Any:
    """An array of `size` elements that begins at a multiple of 64 bytes."""
    buffer = np.empty(size + 64 // like.itemsize, like.dtype)
    start = (-buffer.ctypes.data % 64) // like.itemsize
    return buffer[start : start + size]


@njit
def _pack(rows: Any, columns: Any, X: Any, x: Any, rs: Any, cs: Any, wide: Any,
          out: Any, o: Any) -> None:  # fmt: skip
    """Copy a matrix into panels of `wide` rows; within one, the elements of a column side by side.

    They begin at out[o]. What the last panel lacks is left as it is, or gets numbers of no meaning.
    """
    length = _round_up(columns, side(X)) * wide
    step = side(X)
    for panel in range(0, rows, wide):
        high = min(wide, rows - panel)
        start = o + panel // wide * length
        if cs == 1 and rs != 1:
            for i in range(0, high, step):
                for j in range(0, columns, step):
                    at = x + (panel + i) * rs + j
                    rows_here, columns_here = min(step, high - i), min(step, columns - j)
                    transpose(X, at, rs, rows_here, columns_here, out, start + j * wide + i, wide)
        elif rs == 1:
            for j in range(columns):
                for i in range(0, high, step):
                    at = x + panel + i + j * cs
                    copy(X, at, min(step, high - i), out, start + j * wide + i)
        else:
            for j in range(columns):
                for i in range(high):
                    out[start + j * wide + i] = X[x + (panel + i) * rs + j * cs]


@njit
def _product(like: Any, m: Any, n: Any, k: Any, alpha: Any, A: Any, ars: Any, acs: Any,
             B: Any, brs: Any, bcs: Any,
             beta: Any, C: Any, crs: Any, ccs: Any) -> None:  # fmt: skip
    """As `gemm`, of pointers, the tiles' vectors lying along the rows of C; an array `like` A."""
    size, wide = like.itemsize, 2 * lanes(A)
    # Not literals, for which Numba would compile what they are given to once more.
    tall, origin = np.intp(_ROWS), np.intp(0)
    pack_b = bcs != 1 or (m > 4 * _ROWS and k * brs * size > _SMALL)
    pack_a = n > 4 * wide and m * k * size > _SMALL
    scatter = ccs != 1
    depth = min(max(k, 1), _DEPTH)  # where k is 0, one turn with nothing to sum: C = beta C
    room = _round_up(depth, side(A))
    # A panel of B that one block of A's rows uses alone is packed where the last one was: in the
    # first cache.
    panels = min(_round_up(n, wide), _WIDTH) if m > _HEIGHT else wide
    held_b = _aligned(panels * room, like) if pack_b else like
    held_a = _aligned(min(_round_up(m, tall), _HEIGHT) * room, like) if pack_a else like
    held_c = _aligned(tall * wide, like) if scatter else like
    right, left, patch = pointer(held_b), pointer(held_a), pointer(held_c)
    zero, one = like.dtype.type(0), like.dtype.type(1)
    Ai, rs, cs = (left, origin + 1, tall) if pack_a else (A, ars, acs)
    Bj, bs = (right, wide) if pack_b else (B, brs)
    for j0 in range(0, n, _WIDTH):
        j1 = min(j0 + _WIDTH, n)
        for p in range(0, max(k, 1), depth):
            deep = min(depth, k - p)
            keep = beta if p == 0 else one
            stretch = _round_up(deep, side(A))
            panel_a, panel_b = stretch * tall, stretch * wide
            for i0 in range(0, m, _HEIGHT):
                i1 = min(i0 + _HEIGHT, m)
                if pack_a:
                    start = i0 * ars + p * acs
                    _pack(i1 - i0, deep, A, start, ars, acs, tall, left, origin)
                for j in range(j0, j1, wide):
                    width = min(wide, j1 - j)
                    b = j + p * brs
                    if pack_b:
                        b = (j - j0) // wide * panel_b if m > _HEIGHT else origin
                        if i0 == 0:
                            _pack(width, deep, B, j * bcs + p * brs, bcs, brs, wide, right, b)
                    for i in range(i0, i1, tall):
                        rows = min(tall, i1 - i)
                        a = (i - i0) // tall * panel_a if pack_a else i * ars + p * acs
                        c = i * crs + j * ccs
                        out, at, step, kept = C, c, crs, keep
                        if scatter:
                            out, at, step, kept = patch, origin, wide, zero
                        _tile(deep, alpha, Ai, a, rs, cs, Bj, b, bs,
                              kept, out, at, step, rows, width)  # fmt: skip
                        if scatter:
                            for r in range(rows):
                                for v in range(width):
                                    at = c + r * crs + v * ccs
                                    fresh = patch[r * wide + v]
                                    C[at] = fresh if keep == zero else keep * C[at] + fresh
    hold(held_a)
    hold(held_b)
    hold(held_c)


@njit
def _gemm(m: Any, n: Any, k: Any, alpha: Any, A: Any, ars: Any, acs: Any,
          B: Any, brs: Any, bcs: Any, beta: Any, C: Any, crs: Any, ccs: Any) -> None:  # fmt: skip
    if ccs != 1 and crs == 1 and (n > 1 or ars == 1):  # C.T = B.T @ A.T
        m, n, A, B = n, m, B, A
        ars, acs, brs, bcs, crs, ccs = bcs, brs, acs, ars, ccs, crs
    a, b, c = pointer(A), pointer(B), pointer(C)
    _product(C, m, n, k, alpha, a, ars, acs, b, brs, bcs, beta, c, crs, ccs)
    hold(A)
    hold(B)


def gemm(m: Any, n: Any, k: Any, alpha: Any, A: Any, ars: Any, acs: Any,
         B: Any, brs: Any, bcs: Any, beta: Any, C: Any, crs: Any, ccs: Any) -> None:  # fmt: skip
    """C = alpha A @ B + beta C, for compiled code to call.

    Args:
        m, n, k: C is (m, n), A is (m, k) and B is (k, n); each may be 0.
        alpha, beta: scalars of the dtype. Where beta is 0, C is not read; where k is 0, the sum
            is 0.
        A, B, C: 1-D contiguous arrays of one dtype, float32 or float64, that begin with the
            matrix's first element. C shares no memory with A or B.
        ars, acs, brs, bcs, crs, ccs: strides of their rows and columns in elements, at least 0
            (0 repeats a row or a column of A or B); no two elements of C are the same.

    It is fastest where the columns of B and C lie side by side (bcs == ccs == 1), or the rows of
    A and C (ars == crs == 1).
    """
    _gemm(m, n, k, alpha, A, ars, acs, B, brs, bcs, beta, C, crs, ccs)


@overload(gemm)
def _overload(m: Any, n: Any, k: Any, alpha: Any, A: Any, ars: Any, acs: Any,
              B: Any, brs: Any, bcs: Any,
              beta: Any, C: Any, crs: Any, ccs: Any) -> Any:  # fmt: skip
    # An overload is compiled once for all integers, where a function would be for each literal.
    return _gemm.py_func
