"""Inputs that a backward gives no gradient beside others that it gives one.

None is what autograd takes for zero: where the output depends on the input, only the person knows
whether it is forgotten. So nobody is accused, and nothing is called right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gradninja.check.tell.findings import LineReport, Report, Verdict


def with_left_out(report: Report, left: Mapping[str, float]) -> Report:
    """The same with a row for each input that is left out.

    Args:
        left: the inputs, each with the largest element of its true gradient.
    """
    looked = tuple(f"whether `{n}` can do without a gradient" for n, size in left.items() if size)
    return replace(
        report,
        lines=(*report.lines, *(_row(name, size) for name, size in left.items())),
        not_looked_at=(*report.not_looked_at, *looked),
    )


def _row(name: str, size: float) -> LineReport:
    if not size:
        note = "None is given, and the true gradient is zero"
        return LineReport(f"d{name}", None, "", Verdict.VACUOUS, notes=(note,))
    note = (
        f"None is given, though the output depends on `{name}`: taken as meant; with "
        f"`requires_grad` set on `{name}` in the inputs it is missing"
    )
    return LineReport(f"d{name}", None, "", Verdict.MEANT, notes=(note,))
