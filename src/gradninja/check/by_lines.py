"""Judging a backward that has lines: from its statements to the report."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import replace

from gradninja.check.diagnosis import Kind
from gradninja.check.diagnosis.telling.report_lines import explained
from gradninja.check.diagnosis.work import Allowance
from gradninja.check.given.backward_text import EMPTY, Written
from gradninja.check.given.placed import Wanted, placed
from gradninja.check.given.plan import bound, plan
from gradninja.check.given.subject import Subject
from gradninja.check.reference.tolerance import told
from gradninja.check.tell.findings import CheckError, LineReport, Report, Verdict
from gradninja.check.tell.report import shape_told
from gradninja.check.verdicts.asked import WHOLE, Asked
from gradninja.check.verdicts.review import Review
from gradninja.check.walks.statement_walk import codes
from gradninja.check.walks.trials import Trial, Trials, digits_of, held, tried
from gradninja.check.wholes.as_called import Calls
from gradninja.check.wholes.callers import caller
from gradninja.check.wholes.returned import Returned
from gradninja.errors import NOT_PYTHON, Spot


def writes_gradients(trials: Trials) -> bool:
    """Whether any line gives a gradient of the forward a value."""
    return any(step.writes & set(trials.plan.gradients) for step in trials.plan.steps)


def judge_lines(
    trials: Trials,
    asked: Asked = WHOLE,
    allowed: Allowance | None = None,
    called: Report | None = None,
) -> Report:
    """The report on a backward, a row for each gradient that a line writes or should write.

    Args:
        allowed: what the search for mends may do.
        called: what is said of its calls, which tells of the gradients that are left out.
    """
    written = trials.written
    begun = writes_gradients(trials)
    calls = _called(written, trials) if begun and asked.only is None else None
    try:
        review = Review(trials, asked)
        rows = [_let(line, asked) for line in explained(review, allowed)]
        notes, unnamed = list(review.notes), _unnamed(trials)
        if calls is not None and not any(row.verdict.accuses for row in rows):
            returned = Returned(trials, calls.collect())
            row = returned.row()
            by_place = sorted(unnamed & returned.stood_for())
            unnamed -= set(by_place)
            rows += [row] if row is not None else [_right(returned, name) for name in by_place]
            notes += returned.notes
        if called is None:
            notes += [
                f"`{name}` is given no gradient, and none is returned: taken as meant"
                for name in sorted(unnamed)
            ]
    finally:
        if calls is not None:
            calls.end()
    held(trials.trials)
    known = [f.tolerance for f in review.findings.values() if f.tolerance is not None]
    terms = max(trial.wide.terms for trial in trials.trials)
    return Report(
        file=written.file,
        lines=tuple(rows),
        draws=tuple(dict.fromkeys(trial.draw.label for trial in trials.trials)),
        tolerance=told(terms, max((t for t in known if t < 1e-3), default=0.0)),
        notes=tuple(review.trials.written.prose(note) for note in notes),
    )


def _let(line: LineReport, asked: Asked) -> LineReport:
    """A line's verdict, where asked let go what only the shape is wrong of.

    The kind is a mend's that was tried: with the axis put right, all numbers are.
    """
    if not (asked.lenient and line.kind == Kind.LOST_KEEPDIM):
        return line
    of = line.name.removeprefix("d")
    note = (
        f"the numbers are right, the shape is {shape_told(line.shape)} and that of `{of}` "
        f"{shape_told(line.expected_shape)}: an axis of size 1 that is lost lines up with another "
        "one where this is used, and an update adds the wrong rows without a word"
    )
    return replace(
        line,
        verdict=Verdict.CLOSE,
        kind=None,
        diagnosis=None,
        fix=None,
        place=None,
        notes=(note,),
    )


def _right(returned: Returned, variable: str) -> LineReport:
    """The row of a gradient that has no name of its own, and is right where it is returned."""
    node, name = returned.statement, returned.names.gradient(variable)
    source = "" if node is None else returned.written.source_of(node)
    return LineReport(name, None if node is None else node.lineno, source, Verdict.CLOSE)


def _unnamed(trials: Trials) -> set[str]:
    """The inputs that no line writes a gradient of by its name, and none need."""
    gradient = trials.trials[0].names.gradient
    return {name for name in trials.unwanted if trials.plan.last(gradient(name)) is None}


def _called(written: Written, trials: Trials) -> Calls | None:
    """The calls of the object that the name is bound to; None where there are only lines."""
    if written.function is None:
        return None
    names = list(written.parameters)
    return Calls(caller(written.function, names), trials.trials, asked=names)


def _takes(written: Written) -> Callable[[str], bool]:
    """Whether lines read the output's gradient, by its name, as something that they are given."""

    def found(name: str) -> bool:
        if written.parameters:
            return name in written.parameters
        for node in written.statements:
            if any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(node)):
                return name not in set(bound(node))
        return False

    return found


def trials_of(subject: Subject, written: Written, every: Sequence[Trial] | None = None) -> Trials:
    """The walks of a backward's lines; `every`: the draws, where they are made already."""
    if every is None:
        digits = digits_of(written.statements)
        every = [replace(t, digits=digits) for t in tried(subject, _takes(written))]
    first = every[0]
    _refuse_parameters(written, first)
    written = placed(written, _asked(first))
    made = plan(written.statements, first.gradients)
    try:
        compiled = codes(made, written.file)
    except NOT_PYTHON as error:
        text = "\n".join(written.text_lines)
        raise CheckError.of_syntax(error, text, written.file) from None
    trials = Trials(tuple(every), written, subject.namespace, made, compiled, said=subject.unwanted)
    return trials.with_hidden_writes()


def _asked(trial: Trial) -> Wanted:
    program = trial.draw.program
    return Wanted(
        [given.name for given in program.inputs],
        list(program.differentiable),
        trial.gradients,
        trial.names.gradient,
        frozenset(trial.names.versions),
    )


def _refuse_parameters(written: Written, trial: Trial) -> None:
    known = {*trial.wide.values, *trial.wide.cotangents, *trial.gradients}
    for name, default in written.parameters.items():
        if name not in known and default is EMPTY:
            cotangents = ", ".join(f"`{n}`" for n in trial.wide.cotangents)
            raise CheckError(
                f"`{written.name}` wants `{name}`, which is no name of the forward",
                spot=_parameter_spot(written, name),
                hint=f"it takes names that the forward binds, and {cotangents}, the gradient of "
                "the output",
            )


def _parameter_spot(written: Written, name: str) -> Spot | None:
    for node in ast.walk(ast.parse(written.text)):
        if isinstance(node, ast.FunctionDef) and node.name == written.name:
            for argument in ast.walk(node.args):
                if isinstance(argument, ast.arg) and argument.arg == name:
                    return written.spot(argument)
    return None
