"""Rows that say what they mean, by the index notation of that."""

from __future__ import annotations

from gradninja.algebra.index.graph import Node
from gradninja.algebra.ops.lowering import Lowering, NotLowered, otherwise
from gradninja.errors import GradninjaError
from gradninja.lines.given.source import Source
from gradninja.lines.meaning import written_out
from gradninja.lines.reader import reading_of
from gradninja.lines.reading.state import Reading
from gradninja.rules import Refusal, Rule, Site

# Of these the row's own gradient is cheaper than that of what the operation means.
DEARER = {"cdist", "binary_cross_entropy"}


def _takes(rule: Rule) -> bool:
    # An elementwise row says its slope itself.
    return bool(rule.means) and not rule.elementwise and rule.name not in DEARER


@otherwise(_takes)
def meaning(low: Lowering, site: Site) -> Node:
    """The node of what a row means; its plain arguments stand in it as they are written."""

    def begin(source: Source) -> Reading:
        return reading_of(source, low.book)

    try:
        expr = written_out(site.rule.meaning(site), site.rule.name, site.bound, begin)
    except (Refusal, GradninjaError) as refused:
        raise NotLowered(str(refused)) from None
    if expr.shape != site.expr.shape or expr.value.dtype != site.y.dtype:
        raise NotLowered(str(site.expr))
    return low.node(expr)
