"""Judging a backward: from what is given to the report."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gradninja.check import whole
from gradninja.check.draws import draws
from gradninja.check.explain import explained
from gradninja.check.plan import plan
from gradninja.check.review import Review
from gradninja.check.subject import EMPTY, Subject, Written, resolve
from gradninja.check.tolerance import told
from gradninja.check.trials import PRECISIONS, Trial, Trials
from gradninja.check.truth import names_of, truth
from gradninja.check.types import CheckError, Report
from gradninja.check.walk import codes
from gradninja.errors import Spot


def judge(forward: Any, backward: Any, inputs: Mapping[str, Any] | None) -> Report:
    """See `gradninja.check.check`."""
    subject = resolve(forward, backward, inputs)
    written = subject.backward
    if not isinstance(written, Written):
        return whole.judge(subject)
    trials = _trials(subject, written)
    if not any(step.writes & set(trials.plan.gradients) for step in trials.plan.steps):
        if written.function is not None and not _names(written) & set(trials.trials[0].gradients):
            return whole.judge(replace(subject, backward=written.function))
        if written.function is None:
            raise CheckError(
                "no line writes a gradient",
                hint="name them `d<name>`: `dx` for the gradient of `x`, one for each float input",
            )
    review = Review(trials)
    rows = explained(review)
    known = [f.tolerance for f in review.findings.values() if f.tolerance is not None]
    terms = max(trial.wide.terms for trial in trials.trials)
    return Report(
        file=written.file,
        lines=tuple(rows),
        draws=tuple(dict.fromkeys(trial.draw.label for trial in trials.trials)),
        tolerance=told(terms, max((t for t in known if t < 1e-3), default=0.0)),
        notes=tuple(review.notes),
    )


def _names(written: Written) -> set[str]:
    """The names that a backward reads and does not ask for."""
    nodes = (node for statement in written.statements for node in ast.walk(statement))
    names = (node for node in nodes if isinstance(node, ast.Name))
    return {n.id for n in names if isinstance(n.ctx, ast.Load)} - set(written.parameters)


def _trials(subject: Subject, written: Written) -> Trials:
    source = subject.source
    if source is None:
        raise CheckError(
            f"{subject.file} has no function named forward",
            hint="write `def forward(...)` in plain PyTorch beside the backward",
        )
    every = []
    for draw in draws(source, subject.forward, subject.inputs):
        names = names_of(source, draw.program)
        wide, single = (truth(draw, d, source, names, subject.namespace) for d in PRECISIONS)
        every.append(Trial(draw, names, wide, single))
    first = every[0]
    _refuse_parameters(written, first)
    made = plan(written.statements, first.gradients)
    try:
        compiled = codes(made, written.file)
    except (SyntaxError, ValueError) as error:
        number = getattr(error, "lineno", None)
        spot = None if number is None else written.spot(ast.Pass(lineno=number, col_offset=0))
        what = getattr(error, "msg", None) or str(error)
        raise CheckError(f"this is not Python: {what}", spot=spot) from None
    return Trials(tuple(every), written, subject.namespace, made, compiled).with_hidden_writes()


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
