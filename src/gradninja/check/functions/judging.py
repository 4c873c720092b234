"""Judging a Function: line by line where it can be read, and called as autograd calls it."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from gradninja.check.by_lines import judge_lines, trials_of
from gradninja.check.diagnosis.kinds import Kind
from gradninja.check.diagnosis.work import Allowance
from gradninja.check.functions.backward_lines import lines_of
from gradninja.check.functions.carried import carried
from gradninja.check.functions.conditions.told import under_conditions
from gradninja.check.functions.function_text import Text, Unreadable, text_of
from gradninja.check.functions.guessing.guess import values_of
from gradninja.check.functions.held import Held, changed
from gradninja.check.functions.intent import with_intents
from gradninja.check.functions.meant import (
    Meaning,
    across,
    has_bounds,
    meanings,
    meant,
    on_purpose,
    steps,
)
from gradninja.check.functions.ops import as_function
from gradninja.check.functions.plain_forward import plain_forward, source_of
from gradninja.check.functions.played.behaviour import Behaviour
from gradninja.check.functions.played.played_values import (
    played_lines,
    read_values,
    with_mends_of_lines,
    with_mends_of_whole,
)
from gradninja.check.functions.played.playing import Mend, copies, held_back, wrong_by
from gradninja.check.functions.return_places import gives, other_meanings
from gradninja.check.given.backward_text import Written
from gradninja.check.given.backwards import is_custom_op
from gradninja.check.given.subject import Subject
from gradninja.check.reference.truth import Complex, Flat
from gradninja.check.tell.findings import CheckError, LineReport, Report, Verdict
from gradninja.check.verdicts.asked import WHOLE
from gradninja.check.verdicts.review import Review
from gradninja.check.verdicts.together import together
from gradninja.check.verdicts.verdict import Finding
from gradninja.check.walks.trials import Trial, digits_of, tried
from gradninja.check.wholes import whole
from gradninja.errors import ReadError
from gradninja.lines.given.source import Source

FLAT = "its forward takes steps, which have no gradient"
OWN = "its forward takes steps, and the output's gradient is multiplied by a slope of its own"
UPDATE = "what it returns does not depend on the output's gradient, as an update of its own does"
STEPPED = "its forward takes steps, across which differences are no gradient"
TURNED = "the sign of d{0} is wrong: the output rises with `{0}`, and its gradient falls everywhere"
MEANT = "its gradients are those of the plain forward beside it, and not of its own forward's lines"
OTHERS = "other conditions"
BY_LINES = 4000.0  # runs of the search in lines; then the Function is played
ONCE = "second order (a gradient of these gradients) was not judged"


def judge(subject: Subject) -> Report:
    """The report on a Function.

    Raises:
        CheckError: it cannot be called, or there is nothing that it can be compared with.
    """
    text = None
    try:
        text = text_of(subject.backward)
        reading = _reading(subject, text)
        if subject.source is None and _hands_on_zero(reading):
            return _across_steps(subject, text, reading)
        report = _by_lines(reading, subject)
        own = report.ok or subject.source is not None
        return report if own else _on_purpose(subject, text, report)
    except (Flat, Complex):
        assert text is not None
        return _across_steps(subject, text, None)
    except (ReadError, Unreadable) as error:
        why = _said(error)
    if text is not None and subject.source is not None:  # which may carry the lines
        try:
            reading = _reading(subject, carried(text, subject.source))
        except (ReadError, Unreadable) as error:
            why += f"; {_said(error)}"
        else:
            by = f"the lines of `{subject.source.function.name}` stand for its forward: {why}"
            return _by_lines(replace(reading, notes=(*reading.notes, by), own=False), subject)
    return _as_a_whole(subject, text, f"not judged line by line: {why}")


def _across_steps(subject: Subject, text: Text, reading: _Reading | None) -> Report:
    """The report on what is not right by its own forward, where steps take a gradient away.

    Args:
        reading: by its own forward; None where that has no gradient at all.
    """
    given = _guessed(subject, text) or {}
    acts, alone = Behaviour(text, given), subject.source is None
    stepped = acts.constant_in() if alone else frozenset[str]()
    found = _meant_otherwise(subject, text, acts, stepped) if alone else None
    if found is not None and (found.ok or stepped or reading is not None):
        own = acts.own_slopes(windows=not has_bounds(text)) & stepped
        return meant(found, OWN, across(text), own) if own and not found.ok else found
    if reading is not None:
        report = _by_lines(reading, subject)
    else:
        subject = replace(subject, inputs=given or subject.inputs)
        report = replace(whole.judge(subject), not_looked_at=(OTHERS,))
        if not stepped:
            report = with_mends_of_whole(report, subject, text)
    if stepped and not report.ok:
        turned = acts.turned_around() & stepped if alone else frozenset[str]()
        report = meant(report, FLAT, across(text), stepped - turned)
        report = replace(report, notes=(*report.notes, *(TURNED.format(n) for n in sorted(turned))))
    return report if report.ok else _on_purpose(subject, text, report)


def _on_purpose(subject: Subject, text: Text, report: Report) -> Report:
    """The report where what is wrong can be no mistake in its lines."""
    given = _guessed(subject, text) or {}
    if copies(text, list(given.values())):
        return on_purpose(report, text) or report
    mended = {
        row.name.removeprefix("d")
        for row in report.wrong
        if row.fix is not None and row.kind != Kind.UNKNOWN
    }
    own = Behaviour(text, given).moved_by_no_output() - mended
    return meant(report, UPDATE, names=own) if own else report


def _hands_on_zero(reading: _Reading) -> bool:
    """Whether the true gradient of what is not right is zero."""
    trials, inputs = reading.trials, reading.read.text.inputs
    left = wrong_by(read_values(reading.read, trials), reading.read.text)
    return any(not trials[0].wide.gradients[inputs[at]].any() for at in left)


def _of_zero(row: LineReport) -> bool:
    """Whether the true gradient is zero: no difference is relative to it."""
    usual = row.condition is None and row.max_abs is not None
    return usual and row.max_rel in (None, row.max_abs)


def _meant_otherwise(
    subject: Subject, text: Text, acts: Behaviour, stepped: frozenset[str]
) -> Report | None:
    """The report by what else the forward may mean: the first that is right, else the likeliest."""
    likeliest: tuple[_Reading, Meaning] | None = None
    fewest = len(text.inputs) + 1  # gradients that are wrong by it
    for meaning in meanings(text, acts.moved_by, sorted(stepped)):
        try:
            reading = _reading(subject, text, meaning.change)
        except (ReadError, Unreadable, CheckError):
            continue
        left = wrong_by(read_values(reading.read, reading.trials), text)
        if meaning.through is not None and text.inputs.index(meaning.through) in left:
            continue
        if len(left) < fewest:
            likeliest, fewest = (reading, meaning), len(left)
        if not left:
            break
    if likeliest is None:
        return None
    report = _by_lines(likeliest[0], subject)
    return replace(report, notes=(*report.notes, likeliest[1].told))


def _as_a_whole(subject: Subject, text: Text | None, why: str) -> Report:
    """The report where there are no lines to judge, with those that give the gradients."""
    try:
        report = whole.judge(subject, why=why)
    except CheckError as refused:
        message = f"{refused.message}, and it is {why}"
        raise CheckError(message, spot=refused.spot, hint=refused.hint) from None
    report = replace(report, not_looked_at=("the lines of the backward", OTHERS))
    if text is not None:
        names = dict(zip(subject.inputs or (), text.inputs, strict=False))
        report = replace(report, lines=tuple(_placed(row, text, names) for row in report.lines))
        flat = any(map(_of_zero, report.wrong)) and subject.source is None
        if flat and steps(text):
            report = meant(report, STEPPED, across(text))
        report = with_mends_of_whole(report, subject, text)
    return report


def _placed(row: LineReport, text: Text, names: Mapping[str, str]) -> LineReport:
    """A row with the line that its gradient comes from, where what is returned tells it."""
    name = row.name.removeprefix("d")
    found = gives(text, name if name in text.inputs else names.get(name, name))
    if found is None or row.line is not None:
        return row
    return replace(row, line=found.lineno, source=ast.unparse(found))


@dataclass(frozen=True, eq=False)
class _Reading:
    """A Function that was read, on values.

    `own`: its own forward is what was read; `meant`: as what else it may mean.
    """

    read: _Read
    trials: Sequence[Trial]
    written: Written
    notes: tuple[str, ...]
    own: bool = True
    meant: bool = False


def _guessed(subject: Subject, text: Text) -> Mapping[str, Any] | None:
    """The values of a Function that is judged as a whole."""
    try:
        forward, held = plain_forward(text)
        found = values_of(subject, source_of(text, forward), held, text)[0] or {}
        return {name: found[name] for name in held.inputs if name in found} or subject.inputs
    except (ReadError, Unreadable, CheckError):
        return subject.inputs


def _reading(
    subject: Subject, text: Text, meant: Callable[[ast.FunctionDef], ast.FunctionDef] | None = None
) -> _Reading:
    """The Function read, on values. `meant`: what its forward is taken as."""
    forward, held = plain_forward(text)
    forward = forward if meant is None else meant(forward)
    source = source_of(text, forward)
    read = _Read(replace(subject, forward=source, source=source), text, held, source)
    given, notes = values_of(subject, source, held, text)
    trials = read.trials(given, "guessed values" if notes else None)
    written = lines_of(text, held, trials[0])
    return _Reading(read, trials, written, notes, meant=meant is not None)


def _by_lines(reading: _Reading, subject: Subject) -> Report:
    read, trials, notes = reading.read, reading.trials, reading.notes
    played = lru_cache(lambda: played_lines(read, trials))
    lines, called = read.judged(trials, reading.written, played)
    report = _joined(lines, called) if lines.ok == called.ok else _by_call(lines, called)
    if subject.source is not None and reading.own:  # a plain forward beside it says what is meant
        beside = [a.arg for a in subject.source.function.args.args]
        known = dict(zip(read.text.inputs, beside, strict=False))
        made = read.made(trials, reading.written)
        other = whole.judge(subject, made={known.get(name, name) for name in made})
        report = report if other.ok == report.ok else _by_call(lines, other)
        meant = other.ok and not (lines.ok and called.ok)
        if meant:
            return replace(report, notes=(*notes, *report.notes, MEANT, ONCE))
    if not reading.meant:
        report = with_intents(report, read.text, read.held.inputs)
    report = with_mends_of_lines(report, read, trials, played)
    if report.ok:
        report = under_conditions(report, read, trials)
    else:
        report = replace(report, not_looked_at=(*report.not_looked_at, OTHERS))
    return replace(report, notes=(*notes, *report.notes, ONCE))


@dataclass(frozen=True, eq=False)
class _Read:
    """A Function that was read: what it is judged as, on whatever values."""

    subject: Subject  # whose forward is the Function's own
    text: Text
    held: Held
    source: Source

    def trials(self, given: Mapping[str, Any] | None, label: str | None = None) -> list[Trial]:
        """The draws with their truth. `label`: what to call the values that are given."""
        methods = [self.text.forward, self.text.backward]
        digits = digits_of([*methods, *self.text.helpers_of(*methods)])
        found = tried(replace(self.subject, inputs=given), lambda name: True)
        taken = other_meanings(self.text, self.held)
        found = [
            replace(trial, digits=digits, names=replace(trial.names, taken=taken))
            for trial in found
        ]
        if label is None:
            return found
        return [replace(t, draw=replace(t.draw, label=label)) for t in found]

    def judged(
        self,
        trials: Sequence[Trial],
        written: Written,
        played: Callable[[], Sequence[Mend]] = list,
    ) -> tuple[Report, Report]:
        """The report on its lines, and the one on what it gives when it is called.

        Args:
            played: finds mends by playing it.
        """
        function = self.subject.backward
        read = replace(self.subject, namespace=self.text.namespace)
        with whole.called(function, trials) as calls:  # they run while the lines are walked
            made = trials_of(replace(read, backward=written), written, trials)
            wrong = {row.name: row.finding for row in Review(made, WHOLE).rows if row.accuses}
            called = whole.judged(read, trials, calls.collect(), self.made(trials, written))
        # `dxn` may be that of xn in other axes: where all that is returned is right, it is.
        inputs = {trials[0].names.gradient(name) for name in trials[0].draw.program.differentiable}
        own = {n for n, found in wrong.items() if called.ok or _laid_out_anew(found)} - inputs
        if own:
            made = replace(made, own=frozenset(own)).of(written)
        # Of a symmetric matrix half of the gradient says nothing: the search in lines takes it all.
        elsewhere = bool(read_values(self, trials).symmetric)
        if len(called.wrong) > 1:  # a line that several come of is likelier than a mistake in each
            elsewhere = elsewhere or any(mend.whole for mend in played())
        allowed = Allowance(0.0 if elsewhere else BY_LINES)
        return judge_lines(made, allowed=allowed, called=called), called

    def made(self, trials: Sequence[Trial], written: Written) -> frozenset[str]:
        """The inputs whose gradients its lines make, whether or not they are returned."""
        bound, first = set(changed(written.statements)), trials[0]
        named = {n for n in first.draw.program.differentiable if first.names.gradient(n) in bound}
        held = held_back(read_values(self, trials), self.text)
        return frozenset(named | {self.held.inputs[at] for at in held})

    def lines_at(
        self, given: Mapping[str, Any], variable: str, usual: Sequence[Trial]
    ) -> LineReport | None:
        """The row of a gradient that a line is wrong for on some values; None where none is.

        Args:
            usual: the draws on which it is right, and which a mend must leave so.
        """
        try:
            trials = [*self.trials(given), *usual]
            report, _ = self.judged(trials, lines_of(self.text, self.held, trials[0]))
        except (ReadError, CheckError):
            return None
        rows = {row.name: row for row in report.wrong}
        return rows.get(trials[0].names.gradient(variable))

    @property
    def plain(self) -> Callable[..., Any]:
        """Its forward as a plain function."""
        assert self.source.live is not None
        return self.source.live


def judge_all(functions: Sequence[Any], subject: Subject) -> Report:
    """One report on several Functions of a file, each row with the name of its Function."""
    classes = [as_function(one) if is_custom_op(one) else one for one in functions]
    judged = {one.__name__: partial(judge, replace(subject, backward=one)) for one in classes}
    return together(subject.file, judged, shared=(ONCE,))


def _joined(lines: Report, called: Report) -> Report:
    """The rows of the lines, and what calls tell of gradients that are not handed back."""
    own = {row.name: row for row in lines.lines}
    told = {
        row.name: row
        for row in called.lines
        if row.verdict == Verdict.MISSING or row.name not in own
    }
    rows = [told.pop(row.name, row) for row in lines.lines]
    looked = (*lines.not_looked_at, *called.not_looked_at)
    return replace(lines, lines=(*rows, *told.values()), not_looked_at=looked)


def _by_call(lines: Report, called: Report) -> Report:
    """What a caller gets is what counts: the rows of the calls, with the lines that they are of."""
    at = {row.name: row for row in lines.lines}
    rows = [
        replace(row, line=at[row.name].line, source=at[row.name].source) if row.name in at else row
        for row in called.lines
    ]
    return replace(called, lines=tuple(rows), notes=(*called.notes, *lines.notes))


def _said(error: Exception) -> str:
    """The first sentence of an error, with its place."""
    spot = getattr(error, "spot", None)
    where = f" (line {spot.line})" if spot is not None else ""
    return f"{getattr(error, 'message', error)}{where}"


def _laid_out_anew(finding: Finding) -> bool:
    """Whether a gradient has as many elements as it should, in another shape."""
    if finding.verdict is not Verdict.WRONG_SHAPE:
        return False
    mine, true = finding.shape or (), finding.expected_shape or ()
    kept, wanted = ([size for size in shape if size != 1] for shape in (mine, true))
    return math.prod(mine) == math.prod(true) and kept != wanted
