"""Judging a backward: from what is given to the report."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from gradninja.check import functions
from gradninja.check.by_lines import judge_lines, trials_of, writes_gradients
from gradninja.check.given.arrays.array_subject import array_subject
from gradninja.check.given.arrays.array_types import ArraySubject, SeveralForwards
from gradninja.check.given.backward_text import Written
from gradninja.check.given.backwards import Several, is_autograd_function, is_custom_op
from gradninja.check.given.module import as_tensors
from gradninja.check.given.subject import Subject, resolve
from gradninja.check.reference.guard import untouched
from gradninja.check.tell.findings import CheckError, Report
from gradninja.check.verdicts.asked import WHOLE, Asked
from gradninja.check.verdicts.together import together
from gradninja.check.wholes import whole
from gradninja.check.wholes.callers import forward_as_called
from gradninja.check.wholes.spoken import as_spoken
from gradninja.rules import BOOK, Book


def judge(
    forward: Any,
    backward: Any,
    inputs: Mapping[str, Any] | None,
    asked: Asked = WHOLE,
    book: Book = BOOK,
) -> Report:
    """See `gradninja.check.check`."""
    with untouched():
        if isinstance(forward, str) and re.fullmatch(r"\w+::\w+", forward):
            forward = functions.named_op(forward)
        try:
            subject = array_subject(forward, backward, inputs) or resolve(forward, backward, inputs)
        except SeveralForwards as several:
            if backward is not None or inputs is not None:
                raise
            return together(several.file, _each(several, asked, book))
        given = None if subject.inputs is None else as_tensors(subject.inputs)
        return _judge(replace(subject, inputs=given, book=book, under=asked.under), asked)


def _each(several: SeveralForwards, asked: Asked, book: Book) -> dict[str, Callable[[], Report]]:
    """How each of a file's forwards is judged."""
    return {
        name: partial(judge, f"{several.file}:{name}", None, None, asked, book)
        for name in several.names
    }


def _judge(subject: Subject, asked: Asked) -> Report:
    written = subject.backward
    if is_custom_op(written):
        subject = replace(subject, backward=(written := functions.as_function(written)))
    if isinstance(written, Several):
        return functions.judge_all(written, subject)
    if is_autograd_function(written):
        return functions.judge(subject)
    if asked.under:
        raise CheckError(
            "only a torch.autograd.Function or a custom op is called under compile, vmap, autocast",
            hint="leave `under` out: plain lines are run as they stand",
        )
    if not isinstance(written, Written):
        return whole.judge(subject)
    trials = trials_of(subject, written)
    if not writes_gradients(trials) and (asked.complete or not _blank(written)):
        if written.function is not None and not _names(written) & set(trials.trials[0].gradients):
            return whole.judge(replace(subject, backward=written.function))
        if written.function is None:
            raise CheckError(
                "no line writes a gradient",
                hint="name them `d<name>`: `dx` for the gradient of `x`, one for each float input",
            )
    forward_as_called(subject, trials.trials)
    report = judge_lines(trials, asked)
    if isinstance(subject, ArraySubject):
        spoken = as_spoken(report, subject, trials.trials[0].wide)
        if not subject.notes:
            return spoken
        return replace(spoken, notes=(*subject.notes, *spoken.notes), draws=("guessed values",))
    return report


def _blank(written: Written) -> bool:
    """Whether nothing is written yet: `pass`, `...`."""
    blank = ast.Pass | ast.Expr
    return all(isinstance(node, blank) for node in written.statements)


def _names(written: Written) -> set[str]:
    """The names that a backward reads and does not ask for."""
    nodes = (node for statement in written.statements for node in ast.walk(statement))
    names = (node for node in nodes if isinstance(node, ast.Name))
    return {n.id for n in names if isinstance(n.ctx, ast.Load)} - set(written.parameters)
