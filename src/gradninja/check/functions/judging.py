"""Judging a Function: line by line where it can be read, and called as autograd calls it."""

from __future__ import annotations

import ast
from dataclasses import replace

from gradninja.check.by_lines import judge_lines, trials_of
from gradninja.check.functions.backward import lines_of
from gradninja.check.functions.forward import plain_forward
from gradninja.check.functions.held import Held
from gradninja.check.functions.text import Text, Unreadable, text_of
from gradninja.check.given.subject import Subject
from gradninja.check.tell.types import Report
from gradninja.check.walks.trials import digits_of, tried
from gradninja.check.wholes import whole
from gradninja.errors import ReadError
from gradninja.lines.source import Source, of_live


def judge(subject: Subject) -> Report:
    """The report on a Function.

    Raises:
        CheckError: it cannot be called, or there is nothing that it can be compared with.
    """
    function = subject.backward
    try:
        text = text_of(function)
        forward, held = plain_forward(text)
        subject = _by_name(subject, held)
        read = replace(subject, forward=(source := _source(text, forward)), source=source)
        digits = digits_of([text.forward, text.backward])
        trials = [replace(trial, digits=digits) for trial in tried(read, lambda name: True)]
        written = lines_of(text, held, trials[0])
    except (ReadError, Unreadable) as error:
        return whole.judge(subject, why=_said(error))
    read = replace(read, namespace=text.namespace)
    with whole.called(function, trials) as calls:  # they run while the lines are judged
        lines = judge_lines(trials_of(replace(read, backward=written), written, trials))
        called = whole.judged(read, trials, calls.collect())
    return lines if lines.ok == called.ok else _by_call(lines, called)


def _by_call(lines: Report, called: Report) -> Report:
    """What a caller gets is what counts: the rows of the calls, with the lines that they are of."""
    at = {row.name: row for row in lines.lines}
    rows = [
        replace(row, line=at[row.name].line, source=at[row.name].source) if row.name in at else row
        for row in called.lines
    ]
    return replace(called, lines=tuple(rows), notes=(*called.notes, *lines.notes))


def _said(error: Exception) -> str:
    return str(error)


def _by_name(subject: Subject, held: Held) -> Subject:
    """Values by the names of the forward: those of `inputs()` may stand in its order alone."""
    given = subject.inputs
    if given is None or set(given) <= set(held.inputs):
        return subject
    return replace(subject, inputs=dict(zip(held.inputs, given.values(), strict=False)))


def _source(text: Text, forward: ast.FunctionDef) -> Source:
    """The plain forward with what stands around it: a function of our own, in its own module."""
    scope = dict(text.namespace)
    exec(compile(ast.Module([forward], []), text.file, "exec"), scope)
    live = scope[forward.name]
    return of_live(text.text, text.file, text.tree, forward, live)
