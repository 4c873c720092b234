"""Sums of Chebyshev polynomials, for functions that are kept as their coefficients."""

from __future__ import annotations

from typing import Any

from numba import njit


@njit(error_model="numpy")
def series(t: Any, coefficients: Any) -> Any:
    """The sum over k of coefficients[k] * T_k(t), by Clenshaw's recurrence (Math. Tables Aids
    Comput. 9, 1955); t from -1 to 1."""
    after, last = 0.0, 0.0
    for k in range(len(coefficients) - 1, 0, -1):
        after, last = 2.0 * t * after - last + coefficients[k], after
    return t * after - last + coefficients[0]
