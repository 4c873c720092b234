"""All rows by the names of the rule book's, and a program lowered by them."""

from __future__ import annotations

from gradninja.lines import Program
from gradninja.native import (
    along,
    arranging,
    contracting,
    convolving,
    elementwise,
    indexing,
    losses,
    moving,
    normalising,
    reducing,
    sorting,
)
from gradninja.native.lower import Lowering, Row

ROWS: dict[str, Row] = {
    **elementwise.ROWS,
    **reducing.ROWS,
    **moving.ROWS,
    **indexing.ROWS,
    **along.ROWS,
    **losses.ROWS,
    **normalising.ROWS,
    **arranging.ROWS,
    **contracting.ROWS,
    **sorting.ROWS,
    **convolving.ROWS,
}
TEXTS: dict[str, str] = elementwise.TEXTS


def lowered(program: Program, counts: bool = False) -> Lowering:
    """The graph of a program.

    Args:
        counts: how many elements a mask picks is taken as a fact, and held to; else a mask that
            depends on the inputs may pick nothing.

    Raises:
        NativeError: a line that cannot be compiled, with the place in it.
    """
    return Lowering(program, ROWS, TEXTS, counts)
