"""What a Function is played on: values of its reading, or those that it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from gradninja.check.functions.held import Held
from gradninja.check.functions.played.search import Values
from gradninja.check.functions.played.telling import with_mends
from gradninja.check.functions.text import Text
from gradninja.check.given.subject import Subject
from gradninja.check.tell.types import Report
from gradninja.check.walks.trials import Trial


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


def with_mends_of_lines(report: Report, read: Read, trials: Sequence[Trial]) -> Report:
    """The same, with what playing the Function finds for what has no mend."""
    gradient, inputs, first = trials[0].names.gradient, read.held.inputs, trials[0]
    values = read_values(read, trials)
    given = {gradient(inputs[at]): at for at in values.wanted}
    methods = read.text.backward.args.args[1:]
    outputs = [output for output in read.held.outputs if output is not None]
    gradients = {a.arg: o for a, o in zip(methods, outputs, strict=False)}
    return with_mends(report, read.text, values, given, first.draw.program, gradients)


def read_values(read: Read, trials: Sequence[Trial]) -> Values:
    """What the Function is played on."""
    inputs, first = read.held.inputs, trials[0]
    wanted = [n for n in first.draw.program.differentiable if n not in read.subject.unwanted]
    draws = [[trial.draw.inputs[name] for name in inputs] for trial in trials]
    return Values(draws, [inputs.index(n) for n in wanted], read.plain, first.digits)


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
    return with_mends(report, text, Values([values], wanted, plain), places, None, {})


def _has_gradient(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())


def _wide(value: Any) -> Any:
    if not _has_gradient(value):
        return value
    return value.detach().to(torch.complex128 if value.is_complex() else torch.float64)
