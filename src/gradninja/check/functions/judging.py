"""Judging a Function: line by line where it can be read, and called as autograd calls it."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from gradninja.check.by_lines import judge_lines, trials_of
from gradninja.check.diagnosis.work import Allowance
from gradninja.check.functions.backward_lines import lines_of
from gradninja.check.functions.carried import carried
from gradninja.check.functions.conditions.told import under_conditions
from gradninja.check.functions.function_text import Text, Unreadable, text_of
from gradninja.check.functions.guess import Guesses, optional
from gradninja.check.functions.guess import told as guess_told
from gradninja.check.functions.held import Held, changed
from gradninja.check.functions.intent import with_intents
from gradninja.check.functions.meant import Meaning, meanings, meant, on_purpose, steps
from gradninja.check.functions.ops import as_function
from gradninja.check.functions.plain_forward import plain_forward
from gradninja.check.functions.played.played_values import (
    played_lines,
    read_values,
    with_mends_of_lines,
    with_mends_of_whole,
)
from gradninja.check.functions.played.playing import Mend, copies, held_back, wrong_by
from gradninja.check.functions.return_places import given_none, gives, other_meanings
from gradninja.check.given.backward_text import Written
from gradninja.check.given.backwards import is_custom_op
from gradninja.check.given.draws import draws
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
from gradninja.lines.given.source import Source, of_live
from gradninja.lines.scope import run_tree

FLAT = "its forward is made of steps, which have no gradient"
STEPPED = "its forward takes steps, across which differences are no gradient"
MEANT = "its gradients are those of the plain forward beside it, and not of its own forward's lines"
OTHERS = "other conditions"
BY_LINES = 4000.0  # runs of the search in lines; then the Function is played
ONCE = "second order (a gradient of these gradients) was not judged"


def judge(subject: Subject) -> Report:
    """The report on a Function.

    Raises:
        CheckError: it cannot be called, or there is nothing that it can be compared with.
    """
    text, flat, report = None, False, None
    try:
        text = text_of(subject.backward)
        report = _by_lines(_reading(subject, text), subject)
        if report.ok or subject.source is not None:
            return report
    except (Flat, Complex):
        flat = True
    except (ReadError, Unreadable) as error:
        why = _said(error)
    if text is not None and (flat or report is not None):
        return _otherwise(subject, text, report)
    if text is not None and subject.source is not None:  # which may carry the lines
        try:
            reading = _reading(subject, carried(text, subject.source))
        except (ReadError, Unreadable) as error:
            why += f"; {_said(error)}"
        else:
            by = f"the lines of `{subject.source.function.name}` stand for its forward: {why}"
            return _by_lines(replace(reading, notes=(*reading.notes, by), own=False), subject)
    return _as_a_whole(subject, text, f"not judged line by line: {why}")


def _otherwise(subject: Subject, text: Text, report: Report | None) -> Report:
    """The report on what is not right by its own forward, by what else may be meant.

    That is only asked where a step has taken a gradient away.

    Args:
        report: by its own forward; None where that has no gradient at all.
    """
    steps = report is None or any(map(_of_zero, report.wrong))
    found = _meant_otherwise(subject, text) if subject.source is None and steps else None
    if found is not None and (found.ok or report is not None):
        return found
    if report is None:
        subject = replace(subject, inputs=_guessed(subject, text))
        report = replace(whole.judge(subject), not_looked_at=(OTHERS,))
        flat = all(row.max_rel is None for row in report.wrong) and subject.source is None
        if flat and not report.ok:
            return found or meant(report, FLAT)
        report = with_mends_of_whole(report, subject, text)
    if report.ok:
        return report
    given = _guessed(subject, text) or {}
    same = copies(text, list(given.values()))
    return (on_purpose(report, text) if same else None) or report


def _of_zero(row: LineReport) -> bool:
    """Whether the true gradient is zero: no difference is relative to it."""
    usual = row.condition is None and row.max_abs is not None
    return usual and row.max_rel in (None, row.max_abs)


def _meant_otherwise(subject: Subject, text: Text) -> Report | None:
    """The report by what else the forward may mean: the first that is right, else the likeliest."""
    likeliest: tuple[_Reading, Meaning] | None = None
    fewest = 0  # gradients that are wrong by it
    wrong: list[str] = []
    for meaning in meanings(text, wrong):
        try:
            reading = _reading(subject, text, meaning.change)
        except (ReadError, Unreadable, CheckError):
            continue
        left = wrong_by(read_values(reading.read, reading.trials), text)
        if not left:
            likeliest = reading, meaning
            break
        wrong[:] = [text.inputs[at] for at in sorted(left)]
        if likeliest is None or len(left) < fewest:
            likeliest, fewest = (reading, meaning), len(left)
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
            report = meant(report, STEPPED)
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
    """A Function that was read, on values. `own`: its own forward is what was read."""

    read: _Read
    trials: Sequence[Trial]
    written: Written
    notes: tuple[str, ...]
    own: bool = True


def _guessed(subject: Subject, text: Text) -> Mapping[str, Any] | None:
    """The values of a Function that is judged as a whole."""
    try:
        forward, held = plain_forward(text)
        found = _values(subject, _source(text, forward), held, text)[0] or {}
        return {name: found[name] for name in held.inputs if name in found} or subject.inputs
    except (ReadError, Unreadable, CheckError):
        return subject.inputs


def _reading(
    subject: Subject, text: Text, meant: Callable[[ast.FunctionDef], ast.FunctionDef] | None = None
) -> _Reading:
    """The Function read, on values. `meant`: what its forward is taken as."""
    forward, held = plain_forward(text)
    forward = forward if meant is None else meant(forward)
    source = _source(text, forward)
    read = _Read(replace(subject, forward=source, source=source), text, held, source)
    given, notes = _values(subject, source, held, text)
    trials = read.trials(given, "guessed values" if notes else None)
    return _Reading(read, trials, lines_of(text, held, trials[0]), notes)


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


# -- values --------------------------------------------------------------------------------------


def _values(
    subject: Subject, source: Source, held: Held, text: Text
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The inputs by the names of the forward: given, those of a plain forward, or guessed.

    And what is said of them.
    """
    given = subject.inputs
    if given is None and subject.source is not None:
        given = draws(subject.source, subject.forward, None)[0].inputs
    if given is not None:
        if not set(given) & set(held.inputs):  # other names: in the order of the forward
            given = dict(zip(held.inputs, given.values(), strict=False))
        known = {name: value for name, value in given.items() if name in held.inputs}
    else:
        known = {}
    assert source.live is not None
    constant = given_none(text) & set(held.inputs)
    guesses = Guesses(source.live, source.function, subject.backward.apply, frozenset(constant))
    arguments = source.function.args
    free = arguments.args[: len(arguments.args) - len(arguments.defaults)]
    bare = [a.arg for a in free if a.annotation is None or "[" not in ast.unparse(a.annotation)]
    made: dict[str, Any] = {}
    if not set(bare) <= set(known):
        found = guesses.guessed(known)
        if found is None:
            return known or None, ()
        made = {name: value for name, value in found.items() if name not in known}
    if set(optional(source.function)) - set(known):  # nobody says that they are None
        values = {**known, **made}
        values = values or draws(source, source, None)[0].inputs
        made |= guesses.filled(values)
        known = {**values, **known} if made else known
    return {**known, **made} or None, (guess_told(made),) if made else ()


def _laid_out_anew(finding: Finding) -> bool:
    """Whether a gradient has as many elements as it should, in another shape."""
    if finding.verdict is not Verdict.WRONG_SHAPE:
        return False
    mine, true = finding.shape or (), finding.expected_shape or ()
    kept, wanted = ([size for size in shape if size != 1] for shape in (mine, true))
    return math.prod(mine) == math.prod(true) and kept != wanted


def _source(text: Text, forward: ast.FunctionDef) -> Source:
    """The plain forward with what stands around it: a function of our own, in its own module."""
    scope = dict(text.namespace)
    run_tree([forward], scope, text.file)
    live = scope[forward.name]
    return of_live(text.text, text.file, text.tree, forward, live)
