"""All rows by the names of the rule book's, and a program lowered by them."""

from __future__ import annotations

from gradninja.lines import Program
from gradninja.native import elementwise, indexing, losses, moving, reducing
from gradninja.native.lower import Lowering, Row

ROWS: dict[str, Row] = {
    **elementwise.ROWS,
    **reducing.ROWS,
    **moving.ROWS,
    **indexing.ROWS,
    **losses.ROWS,
}
TEXTS: dict[str, str] = {**elementwise.TEXTS, **losses.TEXTS}


def lowered(program: Program) -> Lowering:
    """The graph of a program.

    Raises:
        NativeError: a line that cannot be compiled, with the place in it.
    """
    return Lowering(program, ROWS, TEXTS)
