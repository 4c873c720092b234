"""From the rows of a review to the lines of the report: the diagnosis of what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import torch

from gradninja.check.diagnosis.case import Case
from gradninja.check.diagnosis.evidence import case_of
from gradninja.check.diagnosis.work import LONGEST, Allowance
from gradninja.check.reference.tolerance import distance
from gradninja.check.reference.truth import size
from gradninja.check.tell.findings import LineReport, Verdict
from gradninja.check.verdicts.review import Review
from gradninja.check.verdicts.row import Row
from gradninja.errors import GradninjaError

MOST_USES = 5  # a variable used more often is not told use by use


def explained(review: Review, allowed: Allowance | None = None) -> list[LineReport]:
    """The report's lines, those that are wrong with a diagnosis; `allowed`: what it may cost."""
    allowed = allowed or Allowance()
    found: dict[int, LineReport] = {}
    mended: dict[str, int | None] = {}
    # What is missing comes first: the line that should have written it may have spoiled another.
    for place, row in sorted(enumerate(review.rows), key=lambda pair: pair[1].at is not None):
        right, line = row.name in mended, _line(review, row, allowed, mended)
        if right:
            at = mended[row.name]
            note = "right once " + (f"line {at} is mended" if at else "the missing line is there")
            line = replace(line, verdict=Verdict.CLOSE, max_abs=None, max_rel=None, notes=(note,))
        found[place] = line
    if allowed.out_of_time:
        review.notes.append(
            f"the search for mends was given up after {LONGEST:g} s; where there is more time for "
            "it, or where the inputs are smaller, more may be found"
        )
    return [_plain(review, line) for _, line in sorted(found.items())]


def _plain(review: Review, line: LineReport) -> LineReport:
    """The same in the person's own names."""
    written = review.trials.written
    if not written.reuses and not written.called:
        return line
    return replace(
        line,
        name=line.name if written.called else written.prose(line.name),
        diagnosis=written.prose(line.diagnosis or "") or None,
        place=written.code(line.place or "") or None,
        notes=tuple(written.prose(note) for note in line.notes),
    )


def _line(
    review: Review, row: Row, allowed: Allowance, mended: dict[str, int | None]
) -> LineReport:
    """One line. `mended`: the gradients that a mend told before makes right, with its line."""
    finding = row.finding
    notes = [*finding.notes, *_contributions(review, row.name)]
    at = None if row.at is None else review.statement(row.at, row.name)
    found = LineReport(
        name=row.name,
        line=None if at is None else at.lineno,
        source="" if at is None else review.trials.written.source_of(at),
        verdict=finding.verdict,
        max_abs=finding.max_abs,
        max_rel=finding.max_rel,
        shape=finding.shape,
        expected_shape=finding.expected_shape,
        kind=finding.kind,
        diagnosis=finding.text,
        fix=None if row.fix is None else review.trials.written.code(row.fix),
        place=row.place,
        tolerance=finding.tolerance,
        as_written=review.told_as_written(row.name),
        notes=tuple(notes),
    )
    if not row.accuses or row.name in mended:
        return replace(found, kind=None, diagnosis=None)
    found = replace(found, notes=(*found.notes, *_where(review, row)))
    if row.through is not None:
        told = _diagnosed(review, row.through, found, allowed, mended, row.others)
        return told if told.line == found.line and told.fix is not None else found
    if row.settled:
        return found
    blamed = _blamed(review, row)
    if blamed is not None:
        node = review.statement(blamed, row.name)
        source = review.trials.written.source_of(node)
        found = replace(found, line=node.lineno, source=source)
    return _diagnosed(review, row, found, allowed, mended)


def _diagnosed(
    review: Review,
    row: Row,
    found: LineReport,
    allowed: Allowance,
    mended: dict[str, int | None],
    others: Sequence[Row] = (),
) -> LineReport:
    from gradninja.check.diagnosis import Kind, diagnose
    from gradninja.check.diagnosis.telling.consequences import mended_by, patched
    from gradninja.check.walks.first_wrong_turn import first_wrong

    case = case_of(review, row)
    if case is None:
        return found
    beside = (*_beside(review, case), *_unbound(review, case, others))
    try:
        diagnosis = diagnose(replace(case, beside=beside), allowed)
        if not diagnosis.edited and any(other.wrong for other in beside):
            # Then each has a mistake of its own, and what they share stays as it is.
            alone = tuple(replace(other, wrong=False) for other in beside)
            diagnosis = diagnose(replace(case, beside=alone), allowed)
        if diagnosis.patches and sum(other.accuses for other in review.rows) > 1:
            names = mended_by(review, diagnosis.patches) - {row.name, found.name}
            mended.update(dict.fromkeys(names, diagnosis.line or found.line))
    except Exception as error:  # the verdict stands without it
        said = f"no diagnosis: {type(error).__name__}: {error}"
        return replace(found, notes=(*found.notes, said))
    text = diagnosis.text
    if found.diagnosis and row.finding.verdict in (Verdict.ERROR, Verdict.MISSING):
        text = f"{found.diagnosis}. {text}" if text else found.diagnosis
    found = replace(
        found,
        kind=str(diagnosis.kind),
        diagnosis=text,
        fix=diagnosis.fix,
        place=diagnosis.place or None,
    )
    if diagnosis.edited and diagnosis.line is not None:
        written = review.trials.written
        statement = written.statement_at(diagnosis.line)
        if statement and (row.at is not None or diagnosis.kind == Kind.WRONG_NAME):
            source = written.source_of(statement)
            found = replace(found, line=statement.lineno, source=source)
    written = review.trials.written
    try:
        mended_text = patched(written, diagnosis.patches) if diagnosis.patches else None
    except (SyntaxError, GradninjaError):  # it does not stand alone
        mended_text = None
    turn = first_wrong(review.trials, mended_text, found.line or 0, row.name)
    notes = [note for note in (turn, diagnosis.rule) if note]
    return replace(found, notes=(*found.notes, *notes))


def _beside(review: Review, case: Case) -> tuple[Case, ...]:
    """The cases of the gradients that share a local's line with this one, right ones and wrong."""
    own = set(map(id, case.statements)) - set(map(id, case.writers))
    found = []
    for row in review.rows:
        if row.name == case.name or row.name not in review.findings or row.settled:
            continue
        if not own & {id(review.plan.steps[at].node) for at in review.plan.feeding(row.name)}:
            continue
        other = case_of(review, row)
        if other is None or other.draws != case.draws:
            continue
        right = all(other.fits(other.statements, draw) for draw in range(other.draws))
        if right != row.accuses:
            found.append(replace(other, wrong=row.accuses))
    return tuple(found)


def _unbound(review: Review, case: Case, rows: Sequence[Row]) -> Iterator[Case]:
    """The cases of other gradients that the same missing local keeps from being computed."""
    for row in rows:
        other = case_of(review, row)
        if other is not None and other.draws == case.draws:
            yield other


def _where(review: Review, row: Row) -> list[str]:
    """On which draws it is wrong, where it is not on all."""
    labels = [trial.draw for trial in review.trials.trials]
    wrong = set(row.finding.wrong_on)
    if not wrong or len(wrong) == len(labels) or row.finding.verdict == Verdict.WRONG_SHAPE:
        return []
    if row.finding.verdict == Verdict.ERROR:
        error_on = labels[min(wrong)]
        first = min(wrong) > 0 and error_on.gapped
        return ["with a cotangent that is not contiguous in memory"] if first else []
    shown = dict.fromkeys(
        draw.label + (", non-contiguous cotangent" if draw.gapped else "")
        for index, draw in enumerate(labels)
        if index in wrong
    )
    return [f"wrong on {len(wrong)} of {len(labels)} draws: {'; '.join(shown)}"]


# -- parts of a gradient that several statements write ------------------------------------------


def _contributions(review: Review, name: str) -> list[str]:
    """Which known contributions a gradient holds after each statement but the last."""
    parts = _parts(review, name)
    if parts is None:
        return []
    values, uses, scale = parts
    found = []
    for at, value in values[:-1]:
        matched = _sum_of(value, [part for _, part in uses], scale)
        if matched:
            said = " and ".join(f"`{uses[i][0]}`" for i in matched)
            found.append(f"after line {review.line(at)} it holds the part through {said}")
    return found


def _blamed(review: Review, row: Row) -> int | None:
    """The one statement of several that adds no contribution; None where that is unclear."""
    parts = _parts(review, row.name)
    if parts is None or row.finding.verdict != Verdict.WRONG:
        return None
    values, uses, scale = parts
    known = [part for _, part in uses]
    before = torch.zeros_like(values[0][1])
    odd = []
    for at, value in values:
        if _sum_of(value - before, known, scale) is None:
            odd.append(at)
        before = value
    return odd[0] if len(odd) == 1 else None


Parts = tuple[list[tuple[int, torch.Tensor]], list[tuple[str, torch.Tensor]], float]


def _parts(review: Review, name: str) -> Parts | None:
    """A gradient's values after each statement, and what each use of its variable adds to it."""
    if name not in review.findings:
        return None
    walk, trial = review.trials.walks[0][torch.float64], review.trials.trials[0]
    values = walk.outcomes[name].values
    version = review.findings[name].versions[0]
    true = trial.wide.gradients[version]
    if len(values) < 2 or not all(
        isinstance(value, torch.Tensor) and value.shape == true.shape for _, value in values
    ):
        return None
    uses = [(line.source, part) for line, part in trial.wide.contributions(version)]
    if not 2 <= len(uses) <= MOST_USES:
        return None
    return values, uses, size(true)


def _sum_of(
    value: torch.Tensor, parts: Sequence[torch.Tensor], scale: float
) -> tuple[int, ...] | None:
    """Which of the parts add up to a value: () for none of them, None where no choice does."""
    for count in range(len(parts) + 1):
        for chosen in combinations(range(len(parts)), count):
            total = sum((parts[i] for i in chosen), torch.zeros_like(value))
            if distance(value, total) <= 1e-9 * scale:
                return chosen
    return None
