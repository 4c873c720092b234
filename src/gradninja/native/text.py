"""The text that is compiled, whole: imports, constants, one function."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gradninja.native.graph import Leaf

_IMPORTS = """\
import math

import numpy as np
from numba import njit
from numpy import float32, float64, int64

from gradninja.native.batch import contexts
from gradninja.native.functions import exp, expm1, log, select, sigmoid, tanh
from gradninja.native.products import gemm
from gradninja.native.sums import plus
"""
_DECORATOR = '@njit(cache=True, error_model="numpy", fastmath={"contract"})'


def module(function: Sequence[str], constants: Iterable[Leaf] = ()) -> str:
    """The text of a module with one compiled function in it."""
    tables = [f"{c.buffer.name} = np.array({c.data.tolist()}, np.int64)" for c in constants]
    parts = [_IMPORTS, *(table + "\n" for table in tables), "", _DECORATOR, *function]
    return "\n".join(parts) + "\n"
