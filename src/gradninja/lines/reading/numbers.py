"""Numbers that are taken out of tensors: `batch.max().item()`, `lengths.tolist()`, `float(x)`.

Of a tensor that no gradient flows through it is a number of the text's own, like a size: what is
decided by it is held to at every call. Of one with a gradient it may be logged or kept; a line that
reckons with it would lose the gradient, and is refused.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from gradninja.errors import ReadError, Spot
from gradninja.lines import fence
from gradninja.lines.plain import is_plain
from gradninja.lines.program import STATIC, Expr

METHODS = frozenset({"item", "tolist", "numpy"})
BUILTINS = frozenset({"float", "int", "bool"})


@dataclass(frozen=True, eq=False)
class Logged:
    """What stands for a number that only leaves the forward; `error` is told where it enters."""

    error: ReadError


def logged(value: Any) -> Logged | None:
    """The number within a value that may not be reckoned with; None where there is none."""
    if isinstance(value, Logged):
        return value
    several = value.values() if isinstance(value, dict) else value
    if isinstance(several, dict | list | tuple | type({}.values())):
        return next((found for part in several if (found := logged(part))), None)
    return None


def hold_reckoned(*values: Any) -> None:
    """Refuse a line that reckons with what was only logged."""
    for value in values:
        found = logged(value)
        if found is not None:
            raise found.error


def taken_out(spot: Spot, tensor: Expr, name: str, syntax: ast.expr, decides: bool = True) -> Expr:
    """The number, or numbers, that a method or a builtin takes out of a tensor.

    `decides`: whether it may be reckoned with, where no gradient leads to the tensor.
    """
    error = ReadError(
        f"`{name}` is outside of what is read",
        spot=spot,
        hint=fence.REFUSED.get(f"Tensor.{name}", fence.REFUSED["Tensor.item"]),
    )
    if tensor.differentiable or not decides or name == "numpy":
        return Expr(STATIC, (), syntax, Logged(error), spot)
    try:
        value = BY_NAME[name](tensor.value)
    except (RuntimeError, ValueError, TypeError) as failure:
        raise ReadError(f"this line does not run: {failure}", spot=spot) from None
    assert is_plain(value)
    return Expr(STATIC, (), syntax, value, spot, sized=True)


BY_NAME: dict[str, Any] = {
    "item": lambda t: t.item(),
    "tolist": lambda t: t.tolist(),
    "float": float,
    "int": int,
    "bool": bool,
}
