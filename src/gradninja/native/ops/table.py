"""All rows by the names of the rule book's, and a program lowered by them."""

from __future__ import annotations

from gradninja.lines import Program
from gradninja.native.maps.lowering import At, Lowered, Lowering, Row
from gradninja.native.ops import (
    brackets,
    collectives,
    einsum,
    elements,
    extremes,
    images,
    indexing,
    moves,
    reductions,
    views,
)
from gradninja.rules import BOOK, Book, Refusal, Rule

ROWS: dict[str, Row] = {
    **elements.ROWS,
    **reductions.ROWS,
    **views.ROWS,
    **brackets.ROWS,
    **indexing.ROWS,
    **moves.ROWS,
    **einsum.ROWS,
    **extremes.ROWS,
    **images.ROWS,
    **collectives.ROWS,
}


def _meaning(at: At) -> Lowered:
    """By what the row says that it means; a plain argument decides, so it must stay as it is."""
    for formal in at.site.bound:
        if not at.site.is_tensor(formal):
            at.hold(formal)
    try:
        text = at.site.rule.meaning(at.site)
    except Refusal as refused:
        raise at.refuse(str(refused)) from None
    return at.lowering.written_out(at, text)


def row_of(rule: Rule) -> Row | None:
    """How a row of the rule book is lowered: as above, or as the row itself says."""
    if rule.name in ROWS:
        return ROWS[rule.name]
    if rule.loop:
        return elements.looped(rule.loop, rule.cost, rule.name in elements.INTEGERS)
    if rule.means:
        return _meaning
    return None


def lowered(program: Program, book: Book = BOOK, counts: bool = False) -> Lowering:
    """The graph of a program.

    Args:
        counts: how many elements a mask picks is taken as a fact, and held to; else a mask that
            depends on the inputs may pick nothing.

    Raises:
        NativeError: a line that cannot be compiled, with the place in it.
    """
    return Lowering(program, row_of, book, counts)
