"""Judging a Function: line by line where it can be read, and called as autograd calls it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from gradninja.check.by_lines import judge_lines, trials_of
from gradninja.check.functions import conditions
from gradninja.check.functions.backward import lines_of
from gradninja.check.functions.forward import plain_forward
from gradninja.check.functions.guess import guessed
from gradninja.check.functions.guess import told as guess_told
from gradninja.check.functions.held import Held
from gradninja.check.functions.intent import with_intents
from gradninja.check.functions.ops import as_function
from gradninja.check.functions.text import Text, Unreadable, text_of
from gradninja.check.given.backwards import is_custom_op
from gradninja.check.given.draws import draws
from gradninja.check.given.subject import Subject
from gradninja.check.reference.truth import Flat
from gradninja.check.tell.types import Report, Verdict
from gradninja.check.verdicts.together import together
from gradninja.check.walks.trials import Trial, digits_of, tried
from gradninja.check.wholes import whole
from gradninja.errors import ReadError
from gradninja.lines.source import Source, of_live

FLAT = "the forward's lines have no gradient at all: they are steps"
MEANT = "its gradients are those of the plain forward beside it, and not of its own forward's lines"
ONCE = "second order (a gradient of these gradients) was not judged"


def judge(subject: Subject) -> Report:
    """The report on a Function.

    Raises:
        CheckError: it cannot be called, or there is nothing that it can be compared with.
    """
    function = subject.backward
    try:
        text = text_of(function)
        forward, held = plain_forward(text)
        source = _source(text, forward)
        given, notes = _values(subject, source, held)
        read = replace(subject, forward=source, source=source, inputs=given)
        digits = digits_of([text.forward, text.backward])
        trials = [replace(trial, digits=digits) for trial in tried(read, lambda name: True)]
        written = lines_of(text, held, trials[0])
    except Flat:
        report = with_intents(whole.judge(subject), text, held.inputs)
        return replace(report, notes=(*report.notes, FLAT), not_looked_at=("other conditions",))
    except (ReadError, Unreadable) as error:
        report = whole.judge(subject, why=f"not judged line by line: {_said(error)}")
        return replace(report, not_looked_at=("the lines of the backward", "other conditions"))
    read = replace(read, namespace=text.namespace)
    if notes:
        trials = [replace(t, draw=replace(t.draw, label="guessed values")) for t in trials]
    with whole.called(function, trials) as calls:  # they run while the lines are judged
        lines = judge_lines(trials_of(replace(read, backward=written), written, trials))
        called = whole.judged(read, trials, calls.collect())
    report = lines if lines.ok == called.ok else _by_call(lines, called)
    if subject.source is not None:  # a plain forward beside it says what is meant
        other = whole.judge(subject)
        report = report if other.ok == report.ok else _by_call(lines, other)
        meant = other.ok and not (lines.ok and called.ok)
        if meant:
            return replace(report, notes=(*notes, *report.notes, MEANT, ONCE))
    assert source.live is not None
    report = with_intents(report, text, held.inputs)
    if report.ok:
        report = _under_conditions(report, function, source.live, trials[0], text)
    return replace(report, notes=(*notes, *report.notes, ONCE))


def judge_all(functions: Sequence[Any], subject: Subject) -> Report:
    """One report on several Functions of a file, each row with the name of its Function."""
    classes = [as_function(one) if is_custom_op(one) else one for one in functions]
    judged = {one.__name__: partial(judge, replace(subject, backward=one)) for one in classes}
    return together(subject.file, judged, shared=(ONCE,))


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
    subject: Subject, source: Source, held: Held
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The inputs by the names of the forward: given, those of a plain forward, or guessed."""
    given = subject.inputs
    if given is None and subject.source is not None:
        given = draws(subject.source, subject.forward, None)[0].inputs
    if given is not None:
        if not set(given) & set(held.inputs):  # other names: in the order of the forward
            given = dict(zip(held.inputs, given.values(), strict=False))
        known = {name: value for name, value in given.items() if name in held.inputs}
    else:
        known = {}
    arguments = source.function.args
    free = arguments.args[: len(arguments.args) - len(arguments.defaults)]
    bare = [a.arg for a in free if a.annotation is None or "[" not in ast.unparse(a.annotation)]
    if set(bare) <= set(known):
        return known or None, ()
    assert source.live is not None
    found = guessed(source.live, source.function, known)
    if found is None:
        return known or None, ()
    return found, (guess_told({n: v for n, v in found.items() if n not in known}),)


# -- conditions ----------------------------------------------------------------------------------


def _under_conditions(
    report: Report, function: Any, plain: Callable[..., Any], trial: Trial, text: Text
) -> Report:
    """The same where it is right under every condition; else the first that is not, told."""
    gradient = trial.names.gradient
    rows = {row.name: row for row in report.lines}
    inputs = trial.draw.program.differentiable
    wanted = [name for name in inputs if gradient(name) in rows]
    found = conditions.tried(_called_on_copies(function, text), plain, trial.draw.inputs, wanted)
    report = replace(report, not_looked_at=(*report.not_looked_at, *found.not_looked_at))
    condition = found.failed
    if condition is None:
        told = f"right under {len(found.passed)} conditions: {'; '.join(found.passed)}"
        return replace(report, notes=(*report.notes, told))
    row = rows[gradient(found.variable)]
    wrong = replace(
        row,
        verdict=Verdict.WRONG,
        kind="wrong under a condition",
        diagnosis=f"It is right otherwise. With {condition.name}: {found.said}.",
        condition=condition.name,
        reproducer=_reproducer(condition, function, trial, found.variable),
    )
    lines = tuple(wrong if one is row else one for one in report.lines)
    return replace(report, lines=lines)


def _called_on_copies(function: Any, text: Text) -> Any:
    """A Function that writes into what it is given cannot be given leaves."""
    methods = [ast.dump(node) for node in (text.forward, text.setup) if node is not None]
    if not any("mark_dirty" in method for method in methods):
        return function.apply

    def called(*values: Any) -> Any:
        return function.apply(*(v.clone() if isinstance(v, torch.Tensor) else v for v in values))

    return called


def _reproducer(condition: conditions.Condition, function: Any, trial: Trial, variable: str) -> str:
    """A few lines that show it."""
    inputs = trial.draw.inputs

    def made(name: str, value: Any) -> str:
        if not isinstance(value, torch.Tensor):
            return f"{name} = {value!r}"
        if not value.is_floating_point():
            return f"{name} = torch.tensor({value.tolist()})"
        wants = ", requires_grad=True" if name in trial.draw.program.differentiable else ""
        return f"{name} = torch.randn({tuple(value.shape)}, dtype=torch.float64{wants})"

    return "\n".join(
        [
            *(made(name, value) for name, value in inputs.items()),
            f"# {condition.name}: {condition.lines}",
            f"y = {function.__name__}.apply({', '.join(inputs)})",
            f"torch.autograd.grad(y, {variable}, g)  # compare with the forward's own lines",
        ]
    )


def _source(text: Text, forward: ast.FunctionDef) -> Source:
    """The plain forward with what stands around it: a function of our own, in its own module."""
    scope = dict(text.namespace)
    exec(compile(ast.Module([forward], []), text.file, "exec"), scope)
    live = scope[forward.name]
    return of_live(text.text, text.file, text.tree, forward, live)
