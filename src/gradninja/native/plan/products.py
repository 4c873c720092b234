"""Matrix products over arrays as they lie: which axes are rows, columns, and what is summed over.

A product (..., m, k) @ (..., k, n) is told by the strides of its axes in the three arrays: an axis
that the right one has not is of rows, whatever stands before it in the shape; one that the left one
has not is of columns; one that the result has not is summed over; what all have is a loop. Views
may have cut an axis in several, and in all of them neighbours become one where their strides
allow it: `x @ W` of x (batch, time, width) is one product, and so is the gradient of W.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradninja.native.maps.graph import Gemm
from gradninja.native.maps.places import Index, Var
from gradninja.native.maps.scalars import Buffer, Scalar
from gradninja.native.plan.layout import place_of
from gradninja.native.plan.loops import Store, factored

if TYPE_CHECKING:
    from gradninja.native.plan.fusing import Plan

Strides = tuple[int, int, int]  # in the left array, the right one and the result


@dataclass(frozen=True)
class Axis:
    """A loop of a product."""

    size: int
    strides: Strides


@dataclass(frozen=True)
class Product:
    """The loops of a product: `rows`, `columns` and `depth` are the gemm's own.

    `summed`: other axes that are summed over, within those `around`.
    """

    arrays: tuple[Buffer, Buffer, Buffer]
    starts: Strides
    around: tuple[Axis, ...]
    summed: tuple[Axis, ...]
    rows: Axis
    columns: Axis
    depth: Axis

    @property
    def across(self) -> Axis | None:
        """The axis that all three have side by side: over it a product is vectors."""
        return next((a for a in self.around if a.strides == (1, 1, 1) and a.size >= _LANES), None)


_LANES = 8
_ALONE = Axis(1, (0, 0, 0))


def product_of(
    plan: Plan, node: Gemm, into: tuple[Buffer, Sequence[int]] | None = None
) -> Product | None:
    """The loops of a product as its operands lie; None where one of them does not lie so.

    `into`: the array that is written and its strides, where it is not the node's own.
    """
    target, strides = into or (plan.buffers[node], plan.strides[node])
    left, right = node.args
    get = plan.getter()

    def evaluate(loops: Sequence[Index]) -> list[Store]:
        *batch, m, n, k = loops
        first, second = get(left, (*batch, m, k)), get(right, (*batch, k, n))
        place = place_of((*batch, m, n), strides)
        return [Store(target, place, first), Store(target, place, second)]

    sizes = [*node.shape, left.shape[-1]]
    variables, (first, second) = factored(sizes, evaluate)
    one, two = _place(first.value), _place(second.value)
    if one is None or two is None:
        return None
    indices = (one[1], two[1], first.at)
    by_array = [found for index in indices if (found := index.strides(variables)) is not None]
    if len(by_array) < 3 or min(map(min, by_array)) < 0:
        return None
    groups: dict[str, list[Axis]] = {"rows": [], "columns": [], "depth": [], "around": []}
    for place, variable in enumerate(variables):
        a, b, c = (strides[place] for strides in by_array)
        if variable.size > 1:
            groups[_kind(a, b, c)].append(Axis(variable.size, (a, b, c)))
    rows, columns, depth = (_merged(groups[kind]) for kind in ("rows", "columns", "depth"))
    around = _merged(groups["around"])
    row, column, deepest = _best(rows), _best(columns), _best(depth)
    around += [axis for axis in (*rows, *columns) if axis not in (row, column)]
    summed = tuple(axis for axis in depth if axis != deepest)
    starts = (one[1].constant, two[1].constant, first.at.constant)
    arrays = (one[0], two[0], target)
    return Product(arrays, starts, tuple(around), summed, row, column, deepest)


def _place(operand: Scalar) -> tuple[Buffer, Index] | None:
    """Where an operand lies in memory; None where it is worked out."""
    if operand.op != "load" or operand.buffer is None or operand.at is None:
        return None
    return operand.buffer, operand.at


def _kind(a: int, b: int, c: int) -> str:
    """What an axis is, by its strides; an operand that repeats along it has 0."""
    if not c:
        return "depth"
    if not b:
        return "rows"
    return "columns" if not a else "around"


def _merged(axes: Sequence[Axis]) -> list[Axis]:
    """As few axes as can be, the one of the longest strides first."""
    found: list[Axis] = []
    for axis in sorted(axes, key=lambda axis: axis.strides[::-1], reverse=True):
        last = found[-1] if found else None
        if last is not None and last.strides == tuple(s * axis.size for s in axis.strides):
            found[-1] = Axis(last.size * axis.size, axis.strides)
        else:
            found.append(axis)
    return found


def _best(axes: Sequence[Axis]) -> Axis:
    """The one that lies side by side in the result, where it fills a vector; else the longest."""
    vectors = (axis for axis in axes if axis.strides[2] == 1 and axis.size >= _LANES)
    return next(vectors, max(axes, key=lambda axis: axis.size, default=_ALONE))


def variables(axes: Sequence[Axis], names: Sequence[str]) -> list[Var]:
    """The variables of loops over axes."""
    return [Var(name, axis.size) for name, axis in zip(names, axes, strict=False)]
