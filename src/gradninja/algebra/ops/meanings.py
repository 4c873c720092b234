"""Rows that say what they mean, by the index notation of that."""

from __future__ import annotations

from gradninja.algebra.index.graph import Node
from gradninja.algebra.ops.lowering import Lowering, NotLowered, otherwise
from gradninja.errors import GradninjaError
from gradninja.lines.meaning import written_out
from gradninja.lines.reader import Reader
from gradninja.lines.source import Source
from gradninja.rules import Refusal, Site


@otherwise
def meaning(low: Lowering, site: Site) -> Node:
    """The node of what a row means; its plain arguments stand in it as they are written."""
    if not site.rule.means:
        raise NotLowered(str(site.expr))

    def reader(source: Source) -> Reader:
        return Reader(source, known=low.book.knows, own=low.book.own)

    try:
        expr = written_out(site.rule.meaning(site), site.rule.name, site.bound, reader)
    except (Refusal, GradninjaError) as refused:
        raise NotLowered(str(refused)) from None
    if expr.shape != site.expr.shape or expr.value.dtype != site.y.dtype:
        raise NotLowered(str(site.expr))
    return low.node(expr)
