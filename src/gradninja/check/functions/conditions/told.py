"""A report under conditions: the first that a Function is wrong under, with lines that show it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch

from gradninja.check.functions.conditions import row_alone
from gradninja.check.functions.conditions import tried as conditions
from gradninja.check.functions.conditions.condition import Condition
from gradninja.check.functions.conditions.settings import choices
from gradninja.check.functions.conditions.under import asked_for
from gradninja.check.functions.function_text import Text
from gradninja.check.functions.held import Held
from gradninja.check.functions.return_places import given_none
from gradninja.check.given.execution import counted, quiet
from gradninja.check.given.subject import Subject
from gradninja.check.tell.findings import LineReport, Report, Verdict
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

    def lines_at(
        self, given: Mapping[str, Any], variable: str, usual: Sequence[Trial]
    ) -> LineReport | None: ...


def under_conditions(report: Report, read: Read, trials: Sequence[Trial]) -> Report:
    """The same where it is right under every condition; else the first that is not, told."""
    trial = trials[0]
    gradient, function = trial.names.gradient, read.subject.backward
    rows = {row.name: row for row in report.lines if row.verdict != Verdict.MEANT}
    inputs = trial.draw.program.differentiable
    none = {
        a
        for a, b in zip(read.held.inputs, read.text.inputs, strict=False)
        if b in given_none(read.text)
    }
    wanted = [name for name in inputs if gradient(name) in rows and name not in none]
    call = _called_on_copies(function, read.text)
    inputs_given = trial.draw.inputs
    besides = asked_for(read.subject.under, inputs_given)
    found = conditions.tried(call, read.plain, inputs_given, wanted, choices(read.text), besides)
    report = replace(report, not_looked_at=(*report.not_looked_at, *found.not_looked_at))
    condition = found.failed
    if condition is None:
        with quiet(), counted():
            said = row_alone.batch_invariance(call, read.plain, inputs_given, wanted)
        passed = [*found.passed, *([row_alone.NAME] if said == "" else [])]
        told = [f"right under {len(passed)} conditions: {'; '.join(passed)}"]
        told += [said] if said else []
        return replace(report, notes=(*report.notes, *told))
    row = rows[gradient(found.variable)]
    kind, said = "wrong under a condition", f"With {condition.name}: {found.said}."
    if condition.only_values:  # the lines are judged on these
        values = condition.values(dict(trial.draw.inputs))
        usual = trials if _settings(values) == _settings(trial.draw.inputs) else ()
        row = read.lines_at(values, found.variable, usual) or row
        kind, said = row.kind or kind, " ".join(filter(None, (said, row.diagnosis)))
    wrong = replace(
        row,
        verdict=Verdict.WRONG,
        kind=kind,
        diagnosis=f"It is right otherwise. {said}",
        condition=condition.name,
        reproducer=_reproducer(condition, function, trial, found.variable),
    )
    lines = tuple(wrong if one.name == row.name else one for one in report.lines)
    return replace(report, lines=lines)


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is no tensor: with another flag other lines run."""
    return {name: value for name, value in values.items() if not isinstance(value, torch.Tensor)}


def _called_on_copies(function: Any, text: Text) -> Any:
    """A Function that writes into what it is given cannot be given leaves."""
    methods = [ast.dump(node) for node in (text.forward, text.setup) if node is not None]
    if not any("mark_dirty" in method for method in methods):
        return function.apply

    def called(*values: Any) -> Any:
        return function.apply(*(v.clone() if isinstance(v, torch.Tensor) else v for v in values))

    return called


def _reproducer(condition: Condition, function: Any, trial: Trial, variable: str) -> str:
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
