"""The fence: what a forward may call, and what to write instead of what it may not.

Nothing outside the fence is guessed at. A construct that could make a gradient wrong, or silently
zero, is refused with a caret under it.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

# These draw in training; else they hand on what they are given.
DROPPING = frozenset(
    """
    F.dropout1d F.dropout2d F.dropout3d F.alpha_dropout F.feature_alpha_dropout torch.dropout
    """.split()
)

_UNIQUE = ("unique", "unique_consecutive")
# For these PyTorch itself has no gradient: it fails where one is asked for.
NO_GRADIENT = {
    **dict.fromkeys(
        ("//", "torch.floor_divide", "Tensor.floor_divide"),
        "write `(a / b).floor()`, of which the gradient is zero, or `.detach()` what is divided",
    ),
    **dict.fromkeys(
        (f"{home}.{name}" for home in ("torch", "Tensor") for name in _UNIQUE),
        "`.detach()` what it is taken of",
    ),
}

_TWICE = (
    "a derivative within the forward is one of second order for its backward, which is not derived "
    "yet: write that derivative out as lines"
)
REFUSED = {
    **dict.fromkeys(
        (
            "torch.autograd.grad",
            *(f"torch.autograd.functional.{n}" for n in ("jacobian", "hessian", "vjp", "jvp")),
            *(
                f"torch.func.{n}"
                for n in "grad grad_and_value jacrev jacfwd hessian vjp jvp".split()
            ),
        ),
        _TWICE,
    ),
    "Tensor.item": "keep it a tensor: a number taken out of a tensor has no gradient",
    "Tensor.tolist": "keep it a tensor: numbers taken out of a tensor have no gradient",
    "Tensor.numpy": "keep it a tensor and use torch's functions",
    "Tensor.backward": "leave it out: gradninja writes the backward pass",
    "Tensor.requires_grad_": "leave it out: `wrt=` says which gradients are wanted",
    "Tensor.retain_grad": "leave it out: every line gets its gradient",
    "F.gumbel_softmax": "make the noise an input, or a line of its own: `noise = "
    "-(-torch.rand_like(x).log()).log()`, then `((x + noise) / tau).softmax(-1)`",
    "Tensor.cpu": "leave it out: name devices outside of the forward",
    "Tensor.cuda": "leave it out: name devices outside of the forward",
}

# Functions of modules other than torch, on plain numbers.
STATIC_FUNCTIONS = frozenset(
    """
    math.sqrt math.exp math.log math.log2 math.log10 math.log1p math.expm1 math.floor math.ceil
    math.sin math.cos math.tan math.tanh math.atan math.fabs math.pow math.isqrt math.erf
    math.radians math.prod np.sqrt np.exp np.log np.log2 np.floor np.ceil np.abs np.sin np.cos
    np.tanh np.power
    """.split()
)

# What only asks how the program runs: it is answered as the forward is read, uncompiled.
ASKING = frozenset(
    """
    torch.get_default_dtype torch.get_default_device torch.promote_types torch.is_autocast_enabled
    torch.is_inference_mode_enabled torch.jit.is_scripting torch.jit.is_tracing
    torch.compiler.is_compiling torch.compiler.is_dynamo_compiling torch._dynamo.is_compiling
    torch.onnx.is_in_onnx_export torch.cuda.is_available torch.cuda.device_count
    torch.backends.mps.is_available
    """.split()
)

STATIC_BUILTINS = frozenset(
    "len range int float bool abs min max sum round tuple list zip enumerate reversed sorted pow "
    "slice isinstance any all divmod map".split()
)

STATEMENTS = {
    ast.ClassDef: "classes are outside; write plain functions and lines",
    ast.Global: "`global` is outside; hand values in as inputs",
    ast.Nonlocal: "`nonlocal` is outside; return the value instead",
    ast.AsyncFunctionDef: "`async` is outside; write a plain function",
}

EXPRESSIONS = {
    ast.Await: "`await` is outside",
    ast.Yield: "`yield` is outside; return the value",
    ast.SetComp: "sets are outside; name each value on a line",
}

# Reading runs the forward on real tensors; these keep a slip such as 10**9 from eating the machine.
MOST_ELEMENTS = 50_000_000
MOST_STEPS = 10_000  # of one loop
MOST_LINES = 20_000  # that loops and calls are unrolled to, all together
MOST_HELD = 100_000  # elements of one list or text, which lines that double it reach soon
MOST_BITS = 100_000  # of an int
MOST_AXES = 64  # PyTorch's own functions take no more
LARGE_INT = 10_000_000


def callee_of(path: str) -> str:
    """A callee's one name: `torch.nn.functional.gelu` and `F.gelu` are both `F.gelu`."""
    for long, short in (
        ("torch.nn.functional.", "F."),
        ("torch.Tensor.", "Tensor."),
        ("numpy.", "np."),
    ):
        if path.startswith(long):
            return short + path.removeprefix(long)
    return path


def callee_syntax(callee: str) -> ast.expr:
    """`F.gelu` as syntax."""
    path = f"torch.{callee}" if callee.startswith("Tensor.") else callee
    return ast.parse(path, mode="eval").body


# Libraries that a person's text may use, and that need not be there.
OTHERS = {"np": "numpy", "einops": "einops"}


def find(callee: str) -> Any:
    """The object that a callee's name stands for; None when there is no such thing."""
    head, *rest = callee.split(".")
    found: Any = {
        "torch": torch,
        "F": torch.nn.functional,
        "math": math,
        "Tensor": torch.Tensor,
        "builtins": builtins,
    }.get(head)
    if found is None and head in OTHERS:
        try:
            found = importlib.import_module(OTHERS[head])
        except ImportError:
            return None
    for part in rest:
        found = getattr(found, part, None)
    return found


# Whose ints are no sizes that multiply: values, lengths of parts, or another shape of the same.
MAKES_NO_MORE = frozenset(
    "masked_fill where clamp full_like tensor size split split_with_sizes tensor_split ctc_loss "
    "view reshape unflatten permute".split()
)


def too_large(callee: str, values: Sequence[Any]) -> int | None:
    """An int among the arguments that would make a tensor of unreasonable size, if there is one."""
    if callee.rpartition(".")[2] in MAKES_NO_MORE:
        return None
    product = 1
    for value in values:
        for number in value if isinstance(value, tuple | list) else (value,):
            if isinstance(number, int) and not isinstance(number, bool):
                if abs(number) > LARGE_INT:
                    return number
                product *= max(1, abs(number))
    return product if product > MOST_ELEMENTS else None


def static_call(function: Callable[..., Any], *values: Any) -> Any:
    """A Python operation on Python values, unless it would take unreasonably long."""
    if getattr(function, "__name__", "") in {"pow", "power", "lshift"}:
        base, power = values[0], values[1]
        if isinstance(base, int) and isinstance(power, int) and abs(power) > 64:
            raise ValueError("a power this large is outside")
    if getattr(function, "__name__", "") in {"mul", "add"}:
        _hold_small(function, values)
    if function is range:
        steps = range(*values)
        return steps if len(steps) <= LARGE_INT else _refuse_length()
    if function in (list, tuple, sum, sorted, max, min) and any(
        isinstance(v, range) and len(v) > MOST_STEPS for v in values
    ):
        _refuse_length()
    return function(*values)


def _hold_small(function: Callable[..., Any], values: Sequence[Any]) -> None:
    """Refuse what comes out too long before it is made: lines in a loop double it each turn."""
    lengths = [len(v) for v in values if isinstance(v, tuple | list | str | bytes)]
    ints = [v for v in values if isinstance(v, int)]
    times = ints[0] if lengths and ints and function.__name__ == "mul" else 1
    if sum(lengths) * max(1, times) > MOST_HELD:
        raise ValueError("a sequence this long is outside")
    if not lengths and sum(v.bit_length() for v in ints) > MOST_BITS:
        raise ValueError("a number this large is outside")


def _refuse_length() -> Any:
    raise ValueError("a range this long is outside")
