"""What a backward reads and nothing gives, and the gradients that it leaves out."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from gradninja.check.given.backward_text import in_place_of, returns
from gradninja.check.given.plan import Plan
from gradninja.check.reference.tolerance import comparable
from gradninja.check.reference.truth import Truth
from gradninja.check.tell.findings import Verdict
from gradninja.check.verdicts.asked import todo
from gradninja.check.verdicts.row import Row
from gradninja.check.verdicts.verdict import Finding
from gradninja.check.walks.trials import Trials
from gradninja.check.walks.written import AsWritten
from gradninja.lines.scope import LIBRARY


def unasked(trials: Trials) -> Iterator[Row]:
    """Names of the forward that a function reads without asking for them."""
    written = trials.written
    if not written.parameters:
        return
    known = {*written.parameters, *trials.namespace, *LIBRARY, *dir(builtins)}
    truth = trials.trials[0].wide
    for at, step in enumerate(trials.plan.steps):
        for name in sorted(step.mentions - known):
            if name in {*truth.values, *truth.cotangents} - {*step.binds, *trials.withheld}:
                yield _unasked(trials, name, at, truth)
                known.add(name)
        known |= step.writes


def _unasked(trials: Trials, name: str, at: int, truth: Truth) -> Row:
    written, given = trials.written, truth.cotangents.get(name)
    place = None
    if given is not None and given.ndim == 0:
        fix, place = _one(trials, name), f"before line {trials.plan.steps[at].node.lineno}"
        text = f"`{name}` is read and nothing gives it: the output is 0-dim, its gradient is 1"
        finding = Finding(Verdict.ERROR, text=text, kind="missing line")
    else:
        fix = f"add `{name}` to the parameters of `{written.name}`"
        text = f"`{written.name}` reads `{name}` of the forward, but does not ask for it"
        finding = Finding(Verdict.ERROR, text=text, kind="missing parameter")
    return Row(name, at, finding, fix=fix, place=place, settled=True)


def misgiven(trials: Trials, run: AsWritten) -> Iterator[Row]:
    """`dout = ...` of a 0-dim output that is not 1; the rest is judged with 1."""
    for name in sorted(trials.withheld):
        at, true = trials.one(name), trials.trials[0].wide.cotangents[name]
        if at is not None and not _is_one(run.given.get(name), true):
            text = f"`{name}` is the gradient of the 0-dim output, which is 1"
            node = trials.plan.steps[at].node
            adds, place = isinstance(node, ast.AugAssign), in_place_of(node)
            kind = "wrong operator" if adds else "wrong constant"
            finding = Finding(Verdict.WRONG, text=text, kind=kind)
            yield Row(name, at, finding, _one(trials, name), place, settled=True)


def _is_one(given: Any, like: torch.Tensor) -> bool:
    if isinstance(given, torch.Tensor):
        return comparable(given, like) and bool(given == 1)
    return bool(given == 1)


def _one(trials: Trials, name: str) -> str:
    names = trials.trials[0].names
    output = next(o for o in names.outputs.values() if names.gradient(o) == name)
    asked = output in trials.written.parameters
    return f"{name} = torch.ones_like({output})" if asked else f"{name} = torch.tensor(1.0)"


def unwritten(trials: Trials, rows: Sequence[Row], *, complete: bool) -> Iterator[Row]:
    """Gradients that no line writes: of the float inputs, and those that lines read.

    Those of inputs are missing where the backward is to be complete, and to do where it is not.

    The readers were run on the true gradient. Where all of them are wrong all the same, the name
    itself is mistaken, and nothing is missing.
    """
    plan, names = trials.plan, trials.trials[0].names
    inputs = trials.trials[0].draw.program.differentiable
    needed = {names.gradient(name): name for name in inputs}
    without = trials.unwanted
    left = {
        gradient: name
        for gradient, name in needed.items()
        if name not in without and (gradient not in plan.gradients or plan.absent(gradient))
    }
    if complete:
        for gradient, name in left.items():
            yield _missing(trials, gradient, name, f"the gradient of the input `{name}`")
    given = {*trials.written.parameters, *trials.trials[0].wide.cotangents, *needed}
    told = set[str]()
    for gradient in plan.gradients:
        if gradient not in given and plan.absent(gradient):
            readers = [row for row in rows if _reads(plan, row.name, gradient)]
            if not all(row.accuses for row in readers):
                first = next(step for step in plan.steps if gradient in step.mentions)
                what = f"which line {first.node.lineno} reads"
                yield _missing(trials, gradient, plan.gradients[gradient], what)
                told.add(gradient)
    if not complete:
        yield from (row for row in todo(trials, left.values()) if row.name not in told)


def deleted(trials: Trials, run: AsWritten) -> Iterator[Row]:
    """Gradients of inputs that a line deletes, and not all, where nothing is returned."""
    if next(returns(trials.written), None) is not None:
        return
    names = trials.trials[0].names
    inputs = {names.gradient(n): n for n in trials.trials[0].draw.program.differentiable}
    if run.gone >= set(inputs) & set(run.held):
        return  # all of them, at the end: it says that nothing is left unused
    for gradient, name in inputs.items():
        if gradient in run.gone:
            at = max(i for i, s in enumerate(trials.plan.steps) if _deletes(s.node, gradient))
            row = _missing(trials, gradient, name, "")
            row.finding.kind = "deleted"
            row.finding.text = f"`{gradient}` is deleted here, and nothing else holds it"
            yield replace(row, at=at, settled=True)


def _deletes(node: ast.stmt, name: str) -> bool:
    names = (part for part in ast.walk(node) if isinstance(part, ast.Name))
    return any(part.id == name and isinstance(part.ctx, ast.Del) for part in names)


def _reads(plan: Plan, name: str, gradient: str) -> bool:
    """Whether `gradient` is read for another one."""
    return any(gradient in plan.steps[at].mentions for at in plan.feeding(name))


def _missing(trials: Trials, gradient: str, name: str, what: str) -> Row:
    versions = [trial.versions(name)[0] for trial in trials.trials]
    true = trials.trials[0].wide.gradients[versions[0]]
    finding = Finding(
        Verdict.MISSING,
        kind="missing line",
        expected_shape=tuple(true.shape),
        text=f"no line writes `{gradient}`, {what}",
        versions=versions,
    )
    return Row(gradient, None, finding)
