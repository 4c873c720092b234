"""A report with the mends that playing found."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import torch

from gradninja.check.diagnosis.candidates.tree_edits import Style
from gradninja.check.diagnosis.kinds import Kind
from gradninja.check.diagnosis.mend import narrowed
from gradninja.check.diagnosis.telling.words import Words
from gradninja.check.functions.function_text import Text
from gradninja.check.functions.played.method_edits import Aim, pieces_of, tuples_of
from gradninja.check.functions.played.playing import Mend, Values, mends
from gradninja.check.given.backward_text import in_place_of
from gradninja.check.given.plan import unread
from gradninja.check.tell.findings import LineReport, Report, Verdict
from gradninja.lines import Program


def played(
    text: Text,
    values: Values,
    places: Collection[int],
    program: Program | None,
    gradients: Mapping[str, str],
) -> list[Mend]:
    """The mends of a Function that playing it finds; none where it cannot be played.

    Args:
        places: of the inputs that have a gradient.
        program: the forward as it was read; None where it was not.
        gradients: the names of the outputs' gradients in the backward -> the outputs.
    """
    names = {at: text.inputs[at] for at in places if at < len(text.inputs)}
    read = program or Program(text.function.__name__, text.file, (), (), ())
    pieces, tuples = pieces_of([text.backward, text.forward]), tuples_of(text.tree)
    given = [a.arg for a in text.backward.args.args[1:]]
    idle = frozenset(unread(text.backward.body, given))

    def aim(at: int, expected: torch.Tensor) -> Aim:
        name = names.get(at, f"input {at}")
        return Aim(name, expected, read, gradients, pieces, idle, tuples)

    try:
        return mends(text, values, aim)
    except Exception:  # the verdict stands without a mend
        return []


def with_mends(
    report: Report, text: Text, places: Mapping[str, int], found: Callable[[], Sequence[Mend]]
) -> Report:
    """The same, with a mend for what has none.

    Args:
        places: a row's name -> the place of the input that it is the gradient of.
        found: finds the mends.
    """
    if report.ok or not _wanting(report):
        return report
    for mend in found():
        report = _told(report, mend, text, places)
    return report


def _wanting(report: Report) -> bool:
    """Whether something that is wrong has no mend of its own, or several share one mistake."""
    wrong = [row for row in report.lines if row.verdict.accuses]
    return len(wrong) > 1 or any(row.fix is None or row.kind == Kind.UNKNOWN for row in wrong)


def _told(report: Report, mend: Mend, text: Text, places: Mapping[str, int]) -> Report:
    wrong = [row for row in report.lines if row.verdict.accuses]
    mine = [row for row in wrong if mend.whole or places.get(row.name) in mend.right]
    if not mine:
        return report
    style = Style(text.text, list(mend.body))
    change = narrowed(mend.edit.changes[0])
    old, new = change.old, change.new
    assert old is not None
    assert new is not None
    first = next((row for row in mine if row.line == old.lineno), mine[0])
    told = replace(
        first,
        line=old.lineno,
        source=_joined(style.segment(old) or ""),
        kind=str(mend.edit.kind),
        diagnosis=_words(mend, style),
        fix=style.statement(new, old),
        place=in_place_of(old),
    )
    note = f"right once line {old.lineno} is mended"
    rows = [
        told if row is first else _right(row, note) if row in mine else row for row in report.lines
    ]
    return replace(report, lines=tuple(rows))


def _right(row: LineReport, note: str) -> LineReport:
    return replace(
        row,
        verdict=Verdict.CLOSE,
        kind=None,
        diagnosis=None,
        fix=None,
        place=None,
        max_abs=None,
        max_rel=None,
        notes=(note,),
    )


def _words(mend: Mend, style: Style) -> str:
    try:
        return Words(mend.facts, style).explain(mend.edit)
    except Exception:  # what it tells of the forward is not known
        was, now = mend.edit.was, mend.edit.now
        parts = [ast.unparse(part) for part in (now, was) if part is not None]
        return f"`{parts[0]}` belongs in the place of `{parts[-1]}`."


def _joined(source: str) -> str:
    return " ".join(line.strip() for line in source.splitlines())
