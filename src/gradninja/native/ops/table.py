"""All rows by the names of the rule book's, and a program lowered by them."""

from __future__ import annotations

from gradninja.lines import Program
from gradninja.native.maps.lowering import Lowering, Row
from gradninja.native.ops import (
    brackets,
    einsum,
    elements,
    extremes,
    images,
    indexing,
    losses,
    moves,
    normalisation,
    reductions,
    views,
)

ROWS: dict[str, Row] = {
    **elements.ROWS,
    **reductions.ROWS,
    **views.ROWS,
    **brackets.ROWS,
    **indexing.ROWS,
    **losses.ROWS,
    **normalisation.ROWS,
    **moves.ROWS,
    **einsum.ROWS,
    **extremes.ROWS,
    **images.ROWS,
}
TEXTS: dict[str, str] = elements.TEXTS


def lowered(program: Program, counts: bool = False) -> Lowering:
    """The graph of a program.

    Args:
        counts: how many elements a mask picks is taken as a fact, and held to; else a mask that
            depends on the inputs may pick nothing.

    Raises:
        NativeError: a line that cannot be compiled, with the place in it.
    """
    return Lowering(program, ROWS, TEXTS, counts)
