"""Names of variables, axes and numbers in formulas."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence

from gradninja.explain.formula import (
    Formula,
    Letter,
    Number,
    Row,
    Script,
    Symbol,
    Text,
    Word,
    row,
    separated,
)


def variable(name: str, gradients: Mapping[str, str]) -> Formula:
    """`bnvar_inv` -> bnvar with inv below; `W1` -> W with 1 below; `dW1` -> an upright d before it.

    `gradients` says which names are gradients, and of what.
    """
    if name in gradients:
        return row(Word("d"), variable(gradients[name], {}))
    parts = [part for part in name.split("_") if part]
    if not parts:
        return Text(name)
    found = re.fullmatch(r"(.*?\D)(\d+)", parts[0])
    if found is not None:
        parts[:1] = [found[1], found[2]]
    below: list[Formula] = [Number(p) if p.isdigit() else Letter(p) for p in parts[1:]]
    base: Formula = Number(parts[0]) if parts[0].isdigit() else Letter(parts[0])
    return Script(base, separated(below)) if below else base


def axis(name: str) -> Formula:
    """The name of an axis, which may be a product: `context*embedding`."""
    if not re.fullmatch(r"[\w*]+", name) or any(not part for part in name.split("*")):
        return Text(name)
    return separated([variable(part, {}) for part in name.split("*")], "cdot")


def axes(names: Sequence[str]) -> Formula | None:
    """The axes that stand below a sum sign."""
    return separated([axis(name) for name in names]) if names else None


def number(value: object) -> Formula:
    """`1e-05` -> a power of ten; `inf` -> its sign."""
    if isinstance(value, bool) or value is None or not isinstance(value, int | float):
        return Text(repr(value))
    text = repr(value)
    if text in ("inf", "-inf"):
        return row(Symbol("minus"), Symbol("infty")) if value < 0 else Symbol("infty")
    mantissa, exponent, power = text.partition("e")
    if not exponent:
        return Number(text)
    ten = Script(Number("10"), above=signed(str(int(power))))
    return ten if mantissa == "1" else row(Number(mantissa), Symbol("cdot"), ten)


def signed(text: str) -> Formula:
    return Row((Symbol("minus"), Number(text[1:]))) if text.startswith("-") else Number(text)


def plain(node: ast.expr) -> Formula:
    """Code that has no notation of its own."""
    return Text(ast.unparse(node))
