"""The text that is compiled, whole: imports, constants, one function."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable, Sequence

from gradninja.native.maps.graph import Leaf

# Where the names that a text may use come from.
_HOMES = {
    "gradninja.native.kernels.elementary": ("exp", "expm1", "log", "select", "sigmoid", "tanh"),
    "gradninja.native.kernels.gemm_calls": ("gemm",),
    "gradninja.native.kernels.series": ("series",),
    "gradninja.native.kernels.sums": ("least", "most", "plus"),
    "gradninja.native.kernels.wholes": ("int_add", "int_mul", "int_sub"),
}
BUILTINS = frozenset(vars(builtins))
RESERVED = {name for names in _HOMES.values() for name in names} | {
    "math", "np", "float32", "float64", "int64", "rate", "rates",
    "step", "steps", "run", "stream", "positions", "losses", "sizes", "work_float32", "example",
    "position", "inside", "back", "token", "place", "collective", "collectives",
    "work_float64", "work_int64", "work_bool", "product_float32", "product_float64",
    *BUILTINS, *keyword.kwlist,
}  # fmt: skip


def plain_name(name: str) -> str:
    """A name for the text: the person's, unless the text has it for something else.

    No two names become one: `exp` is `exp_`, and so `exp_` is `exp__`.
    """
    stem = name
    while stem not in RESERVED and stem.endswith("_"):
        stem = stem[:-1]
    return f"{name}_" if stem in RESERVED else name


def module(head: str, body: Sequence[str], constants: Iterable[Leaf] = ()) -> str:
    """The text of a module with one function in it."""
    lines = [head, *(f"    {line}" for line in body)]
    words = set(re.findall(r"\w+", "\n".join(lines)))
    imports = ["import math", ""] if "math" in words else []
    imports += ["import numpy as np"]
    kinds = [kind for kind in ("float32", "float64", "int64") if kind in words]
    imports += [f"from numpy import {', '.join(kinds)}", ""] if kinds else [""]
    for home, names in _HOMES.items():
        used = [name for name in names if name in words]
        imports += [f"from {home} import {', '.join(used)}"] if used else []
    tables = [f"{c.buffer.name} = np.array({c.data.tolist()}, np.int64)" for c in constants]
    parts = [*imports, "", *tables, "", *lines]
    return "\n".join(parts).replace("\n\n\n\n", "\n\n\n") + "\n"
