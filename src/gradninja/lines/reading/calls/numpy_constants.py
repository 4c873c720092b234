"""Constants that a forward makes with NumPy: `torch.from_numpy(np.array([1.0, 0.0]))`.

Of plain values they are computed, and stand in the text as the numbers that they are.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gradninja.lines import fence
from gradninja.lines.ndarray import TORCH, is_array
from gradninja.lines.plain import MOST_NUMBERS, array_literal, literal
from gradninja.lines.program import STATIC, Expr
from gradninja.lines.reading.state import Reading

TAKES_ARRAYS = frozenset({"torch.from_numpy", "torch.tensor", "torch.as_tensor", "torch.Tensor"})


# What only computes; the rest of NumPy may read and write files, or hand out its own internals.
FUNCTIONS = frozenset(
    """
    array asarray ascontiguousarray zeros ones full zeros_like ones_like full_like eye identity
    arange linspace logspace geomspace tri tril triu diag outer meshgrid indices stack concatenate
    vstack hstack tile repeat reshape transpose flip roll cumsum cumprod diff sum prod mean std var
    min max amin amax maximum minimum clip abs sign floor ceil round rint square sqrt exp log log2
    log10 log1p expm1 sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh power dot matmul kron
    where argsort sort unique hanning hamming blackman bartlett kaiser float32 float64 float16
    int32 int64 bool_ deg2rad rad2deg sinc polyval linalg.inv linalg.norm linalg.cholesky linalg.qr
    """.split()
)


SQUARE = frozenset({"eye", "identity", "tri"})  # of one size, n * n numbers


METHODS = frozenset(
    """
    astype reshape transpose ravel flatten copy sum prod mean std var min max cumsum cumprod round
    clip repeat squeeze swapaxes dot diagonal trace argmax argmin argsort any all item tolist
    """.split()
)


def numpy_constant(
    reading: Reading, node: ast.Call, path: str, args: list[Expr], kwargs: Mapping[str, Expr]
) -> Expr | None:
    """A call of NumPy's on plain values, in a text that speaks torch; None of another."""
    if not path.startswith("np.") or path in fence.STATIC_FUNCTIONS:
        return None
    if path.startswith("np.random") or reading.source.dialect != TORCH:
        return None
    if any(e.op != STATIC for e in (*args, *kwargs.values())):
        return None
    known = path.removeprefix("np.") in FUNCTIONS
    return computed(reading, node, fence.find(path) if known else None, args, kwargs)


def computed(
    reading: Reading, node: ast.Call, function: Any, args: list[Expr], kwargs: Mapping[str, Expr]
) -> Expr:
    """What a function of NumPy's, or an array's method, gives; None: one that is not known."""
    if function is None:
        reading.fail(
            node,
            f"`{ast.unparse(node.func)}` is outside of what is read",
            "make the constant outside of the forward, and keep it as a buffer",
        )
    asked = _asked_for((*args, *kwargs.values()))
    if len(args) == 1 and "M" not in kwargs and getattr(function, "__name__", "") in SQUARE:
        asked *= asked
    if asked > fence.MOST_ELEMENTS:
        reading.fail(node, "this may be too large to be made while the forward is read")
    try:
        value = function(*(e.value for e in args), **{k: e.value for k, e in kwargs.items()})
    except Exception as error:  # NumPy's own word on the person's own line
        reading.fail(node, f"this line does not run: {error or type(error).__name__}")
    plain = value.item() if hasattr(value, "item") and not is_array(value) else value
    syntax = array_literal(plain) if is_array(plain) else literal(plain)
    return reading.static(node, plain, syntax, (*args, *kwargs.values()))


def as_numbers(
    reading: Reading, node: ast.Call, path: str, args: list[Expr], kwargs: Mapping[str, Expr]
) -> tuple[str, list[Expr], Mapping[str, Expr]]:
    """`torch.tensor([1.0, 0.0], dtype=torch.float64)` for a call that takes an array."""
    if path not in TAKES_ARRAYS or not args or args[0].op != STATIC or not is_array(args[0].value):
        return path, args, kwargs
    array = args[0].value
    if array.dtype.kind not in "fiub":
        reading.fail(node, f"torch has no tensor of {array.dtype}")
    if array.size > MOST_NUMBERS:
        reading.fail(
            node,
            f"an array of {array.size:,} numbers is made a tensor in the forward",
            "make the tensor once, outside of it, and keep it as a buffer",
        )
    dtype = torch.from_numpy(array).dtype
    numbers = reading.static(node, array.tolist(), literal(array.tolist()))
    kind = kwargs.get("dtype") or reading.static(node, dtype, literal(dtype))
    return "torch.tensor", [numbers], {**kwargs, "dtype": kind}


def _asked_for(given: Sequence[Expr]) -> int:
    """About how many numbers a call may make at most: its whole numbers are sizes, perhaps."""
    found = 1
    for expr in given:
        several = expr.value if isinstance(expr.value, tuple | list) else (expr.value,)
        found *= math.prod(max(1, abs(n)) for n in several if type(n) is int)
    return found
