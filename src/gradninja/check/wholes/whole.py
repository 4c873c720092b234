"""Judging a backward that has no lines of its own: only the gradients of the inputs can be seen.

A `torch.autograd.Function`, a pair of functions on arrays as for `jax.custom_vjp`, or any callable
around a kernel. The truth is autograd's through the plain forward.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from gradninja.check.given.backwards import is_autograd_function
from gradninja.check.given.subject import Subject
from gradninja.check.reference.tolerance import told as tolerance_told
from gradninja.check.reference.truth import size
from gradninja.check.tell.findings import LineReport, Report, Verdict
from gradninja.check.verdicts.verdict import Finding, against
from gradninja.check.walks.trials import PRECISIONS, Trial, held, tried
from gradninja.check.wholes.as_called import Call, Calls
from gradninja.check.wholes.callers import (
    OUTPUT,
    Gradients,
    asked_of,
    forward_as_called,
    name_of,
    runner,
    takes,
)
from gradninja.check.wholes.differences import by_differences
from gradninja.check.wholes.left_out import with_left_out

COARSE = 1e-11  # of a float64 output: it was computed in float32
WHOLE = "judged as a whole: it has no lines `d<name>` of its own"


def judge(subject: Subject, why: str = "", made: Collection[str] = ()) -> Report:
    """The report on a backward as a whole, one line for each float input.

    Args:
        why: what keeps its lines from being judged.
        made: as for `judged`.

    Raises:
        CheckError: it cannot be called, or there is neither a forward nor inputs.
    """
    if subject.source is None:
        report = by_differences(subject)
    else:
        trials = tried(subject, takes(subject.backward))
        forward_as_called(subject, trials)
        with called(subject.backward, trials) as calls:
            report = judged(subject, trials, calls.collect(), made)
        report = replace(report, notes=(WHOLE, *report.notes))
    return replace(report, notes=(*report.notes, why)) if why else report


@contextmanager
def called(backward: Any, trials: Sequence[Trial]) -> Iterator[Calls]:
    """The calls of a backward on all draws, which run while the caller does something else."""
    asked, engine = asked_of(backward), is_autograd_function(backward)
    calls = Calls(runner(backward), trials, asked=asked, engine=engine)
    try:
        yield calls
    finally:
        calls.end()


def judged(
    subject: Subject, trials: Sequence[Trial], calls: Sequence[Call], made: Collection[str] = ()
) -> Report:
    """The report on what calls gave.

    Args:
        made: the inputs whose gradients the backward's lines make: that None is returned for them
            is not meant.
    """
    file = f"{subject.file}:{name_of(subject.backward)}"
    labels = tuple(dict.fromkeys(trial.draw.label for trial in trials))
    held(trials)
    wanted = gradients = list(trials[0].draw.program.differentiable)
    raised = next((call for call in calls if call.raised is not None), None)
    if raised is not None:
        row = _raised(wanted[0], str(raised.raised), trials[raised.index])
        return Report(file, (row,), labels)
    rounds = _rounds(calls, len(trials))
    notes = [f"`{name}` asks for no gradient" for name in wanted if name in subject.unwanted]
    given = {n for n in gradients if any(call.value.get(n) is not None for call in calls)}
    wanted = [name for name in wanted if name not in subject.unwanted]
    left = [n for n in wanted if given and n not in {*given, *made, *subject.asked}]
    wanted = [name for name in wanted if name not in left]
    findings = [_finding(variable, trials, rounds) for variable in wanted]
    known = [f.tolerance for f in findings if f.tolerance is not None]
    terms = max(trial.wide.terms for trial in trials)
    report = Report(
        file=file,
        lines=tuple(_line(f"d{v}", f) for v, f in zip(wanted, findings, strict=True)),
        draws=labels,
        tolerance=tolerance_told(terms, max((t for t in known if t < 1e-3), default=0.0)),
        notes=tuple(notes),
    )
    true = trials[0].wide.gradients
    return with_left_out(report, {name: size(true[name]) for name in left})


def _rounds(calls: Sequence[Call], count: int) -> list[list[dict[torch.dtype, Gradients]]]:
    """What the draws gave when first called, then with each value that came out differently."""
    several: dict[tuple[int, torch.dtype], list[Gradients]] = {}
    for call in calls:
        several.setdefault((call.index, call.dtype), []).append(call.value)
    longest = max(map(len, several.values()))
    return [
        [
            {d: several[index, d][min(turn, len(several[index, d]) - 1)] for d in PRECISIONS}
            for index in range(count)
        ]
        for turn in range(longest)
    ]


def _raised(variable: str, error: str, trial: Trial) -> LineReport:
    where = trial.draw.label + (", non-contiguous cotangent" if trial.draw.gapped else "")
    return LineReport(
        f"d{variable}",
        None,
        "",
        Verdict.ERROR,
        diagnosis=error,
        kind="raises",
        notes=(where,),
    )


def _finding(
    variable: str,
    trials: Sequence[Trial],
    rounds: Sequence[Sequence[dict[torch.dtype, Gradients]]],
) -> Finding:
    """The verdict on the gradient of one input, in whatever order it was called."""
    first = _once(variable, trials, rounds[0])
    for found in rounds[1:]:
        later = _once(variable, trials, found)
        if later.verdict.accuses and not first.verdict.accuses:
            later.text = "it gives another value when it is called again, or in another order"
            return later
    return first


def _once(
    variable: str, trials: Sequence[Trial], found: Sequence[dict[torch.dtype, Gradients]]
) -> Finding:
    values = [{d: row[d].get(variable) for d in PRECISIONS} for row in found]
    if any(value is None for row in values for value in row.values()):
        shape = tuple(trials[0].wide.gradients[variable].shape)
        text = f"it gives no gradient for `{variable}`"
        return Finding(Verdict.MISSING, expected_shape=shape, text=text)
    versions, double = [variable] * len(trials), torch.float64
    coarse = any(row[double].get(OUTPUT, 0.0) > COARSE for row in found)
    finding = against(
        trials, f"d{variable}", variable, values, versions, kernel=True, coarse=coarse
    )
    if finding.verdict == Verdict.WRONG and finding.text is None:
        finding.text = "it differs from autograd's through the forward" + _ratio(
            [row[torch.float64] for row in values], trials, variable
        )
    return finding


def _line(name: str, finding: Finding) -> LineReport:
    return LineReport(
        name,
        None,
        "",
        finding.verdict,
        max_abs=finding.max_abs,
        max_rel=finding.max_rel,
        shape=finding.shape,
        expected_shape=finding.expected_shape,
        kind=finding.kind,
        diagnosis=finding.text,
        tolerance=finding.tolerance,
        notes=tuple(finding.notes),
    )


def _ratio(values: Sequence[Any], trials: Sequence[Trial], variable: str) -> str:
    """Says of a wrong gradient whether it is the true one times a number."""
    ratios = []
    for trial, value in zip(trials, values, strict=True):
        true = trial.wide.gradients[variable]
        if not isinstance(value, torch.Tensor) or not bool((true != 0).all()) or not true.numel():
            return ""
        ratio = value.to(true.dtype) / true
        if not bool((ratio - ratio.flatten()[0]).abs().max() <= 1e-6 * ratio.abs().max()):
            return ""
        ratios.append(float(ratio.flatten()[0]))
    return f": it is the true gradient times {', '.join(dict.fromkeys(f'{r:.6g}' for r in ratios))}"
