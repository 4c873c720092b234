"""A total in a variable: what it starts as, and how it grows by an element."""

from __future__ import annotations

from gradninja.native.maps.graph import Reduce
from gradninja.native.plan.loops import number

START = {"sum": 0, "prod": 1}
_GROW = {
    "sum": "plus({0}, {1})",
    "prod": "{0} * ({1})",
    "max": "select(({1} > {0}) | ({1} != {1}), {1}, {0})",
    "min": "select(({1} < {0}) | ({1} != {1}), {1}, {0})",
}
_INT_GROW = {"prod": "int_mul({0}, {1})"}
_FLOAT_GROW = {"max": "most({0}, {1})", "min": "least({0}, {1})"}


def start_of(node: Reduce) -> str:
    """What the total is before the first element."""
    if node.kind in START:
        return number(
            START[node.kind] * 1.0 if "float" in node.dtype else START[node.kind], node.dtype
        )
    least = float("-inf") if "float" in node.dtype else -(2**63)
    if node.kind == "min":
        least = -least if "float" in node.dtype else 2**63 - 1
    return number(least, node.dtype)


def grown(node: Reduce, total: str, value: str) -> str:
    """The total with an element."""
    grow = _GROW[node.kind]
    grow = _INT_GROW.get(node.kind, grow) if node.dtype == "int64" else grow
    grow = _FLOAT_GROW.get(node.kind, grow) if "float" in node.dtype else grow
    return grow.format(total, value)


def asks_twice(node: object) -> bool:
    """Whether the element stands more than once in how the total grows."""
    extreme = isinstance(node, Reduce) and node.kind in ("max", "min")
    return extreme and "float" not in node.dtype  # type: ignore[attr-defined]
