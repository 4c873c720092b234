"""What a Function is played on: values of its reading, or those that it is given."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch

from gradninja.check.functions.function_text import Text
from gradninja.check.functions.held import Held
from gradninja.check.functions.played.mended_report import played, with_mends
from gradninja.check.functions.played.playing import Mend, Values, wrong_by
from gradninja.check.given.subject import Subject
from gradninja.check.tell.findings import Report, Verdict
from gradninja.check.walks.trials import Trial

HALF = frozenset("cholesky cholesky_ex eigh eigvalsh ldl_factor symeig".split())  # read one half
SYMMETRIC = "is symmetric: its gradient is right in its symmetric part, and the rest says nothing"


class Read(Protocol):
    """A Function that was read."""

    @property
    def subject(self) -> Subject: ...

    @property
    def text(self) -> Text: ...

    @property
    def held(self) -> Held: ...

    @property
    def plain(self) -> Callable[..., Any]: ...


def with_mends_of_lines(
    report: Report, read: Read, trials: Sequence[Trial], found: Callable[[], Sequence[Mend]]
) -> Report:
    """The same, with what playing the Function finds for what has no mend."""
    values = read_values(read, trials)
    given = {trials[0].names.gradient(read.held.inputs[at]): at for at in values.wanted}
    if values.symmetric and not report.ok:
        report = _symmetric(report, values, read.text, given)
    return with_mends(report, read.text, given, found)


def played_lines(read: Read, trials: Sequence[Trial]) -> list[Mend]:
    """The mends that playing a Function that was read finds."""
    values = read_values(read, trials)
    methods = read.text.backward.args.args[1:]
    outputs = [output for output in read.held.outputs if output is not None]
    gradients = {a.arg: o for a, o in zip(methods, outputs, strict=False)}
    return played(read.text, values, values.wanted, trials[0].draw.program, gradients)


def read_values(read: Read, trials: Sequence[Trial]) -> Values:
    """What the Function is played on."""
    inputs, first = read.held.inputs, trials[0]
    wanted = [n for n in first.draw.program.differentiable if n not in read.subject.unwanted]
    draws = [[trial.draw.inputs[name] for name in inputs] for trial in trials]
    places = [inputs.index(name) for name in wanted]
    half = any(
        isinstance(node, ast.Attribute) and node.attr in HALF
        for node in ast.walk(read.text.forward)
    )
    symmetric = [at for at in places if half and all(_is_symmetric(draw[at]) for draw in draws)]
    return Values(draws, places, read.plain, first.digits, frozenset(symmetric))


def _is_symmetric(value: Any) -> bool:
    square = isinstance(value, torch.Tensor) and value.ndim > 1 and value.shape[-1] > 1
    return square and value.shape[-1] == value.shape[-2] and torch.equal(value, value.mT)


def _symmetric(report: Report, values: Values, text: Text, places: Mapping[str, int]) -> Report:
    """The same where of a symmetric matrix's gradient only the symmetric part is told."""
    left = wrong_by(values, text)
    mine = {name for name, at in places.items() if at in values.symmetric and at not in left}
    rows = tuple(
        replace(
            row,
            verdict=Verdict.CLOSE,
            kind=None,
            diagnosis=None,
            fix=None,
            place=None,
            notes=(f"`{text.inputs[places[row.name]]}` {SYMMETRIC}",),
        )
        if row.name in mine and row.verdict == Verdict.WRONG
        else row
        for row in report.lines
    )
    return replace(report, lines=rows)


def with_mends_of_whole(report: Report, subject: Subject, text: Text) -> Report:
    """The same of a Function that was not read: its slopes are the truth."""
    given = list((subject.inputs or {}).items())
    values = [_wide(value) for _, value in given]
    wanted = [
        at
        for at, (name, value) in enumerate(given)
        if _has_gradient(value) and name not in subject.unwanted
    ]
    if not wanted:
        return report
    places = {f"d{given[at][0]}": at for at in wanted}
    plain = None if subject.source is None or subject.source.live is None else subject.source.live
    known = Values([values], wanted, plain)
    return with_mends(report, text, places, lambda: played(text, known, wanted, None, {}))


def _has_gradient(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())


def _wide(value: Any) -> Any:
    if not _has_gradient(value):
        return value
    return value.detach().to(torch.complex128 if value.is_complex() else torch.float64)
