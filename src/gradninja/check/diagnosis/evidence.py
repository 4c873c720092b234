"""What the diagnosis works on: one wrong gradient, and all that its lines are computed from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch

from gradninja.check.diagnosis.case import Case, Situation
from gradninja.check.given.plan import Plan
from gradninja.check.reference.tolerance import (
    ROUNDOFF,
    SAFETY,
    comparable,
    relative_spread,
    tolerance,
)
from gradninja.check.reference.truth import size
from gradninja.check.verdicts.review import Review
from gradninja.check.verdicts.row import Row
from gradninja.check.walks.trials import Trial, Trials
from gradninja.lines.scope import LIBRARY


def case_of(review: Review, row: Row) -> Case | None:
    """The case for the diagnosis; None where its statements are not reached on any draw."""
    plan, trials = review.plan, review.trials
    writers = plan.writers(row.name) if row.name in review.findings else []
    steps = _without_given(review, plan.feeding(row.name) if writers else [])
    astray = _astray(review, {*steps} - {*review.stumbles})
    steps = [at for at in steps if at not in astray and not hasattr(plan.steps[at].node, "given")]
    first = min(steps, default=len(plan.steps))
    uses = (at for at, step in enumerate(plan.steps) if row.name in step.mentions)
    last = max(writers, default=next(uses, len(plan.steps)))
    kept = replace(trials, keep=frozenset({first, last, last + 1}))
    own = set().union(*(plan.steps[at].binds for at in steps)) - set(plan.gradients)
    situations = []
    for trial, version, walked in zip(
        trials.trials, row.finding.versions, trials.walks, strict=True
    ):
        judged = kept.walk(trial, torch.float64)
        if last not in judged.scopes:
            continue
        before = judged.scopes.get(first, {})
        scope = _scope(before, judged.scopes[last], plan)
        bound = {name: scope.pop(name) for name in own & set(scope) - set(before)}
        after = judged.scopes.get(last + 1, {})  # with what a loop binds in its last turn
        bound |= {name: after[name] for name in own & set(after) - set(scope) - set(bound)}
        outcome = walked[torch.float64].outcomes.get(row.name)
        situations.append(
            Situation(
                program=trial.draw.program,
                scope=_own(scope, trials, row.name, trial),
                values=trial.wide.values,
                gradients=trial.wide.gradients,
                expected=trial.wide.gradients[version],
                got=None if outcome is None or outcome.error is not None else outcome.value,
                error=None if outcome is None else outcome.error,
                tolerance=_strict(trial, version),
                bound=bound,
                label=trial.draw.label,
            )
        )
    if not situations:
        return None
    trial = trials.trials[0]
    return Case(
        name=row.name,
        variable=row.finding.versions[0],
        statements=tuple(plan.steps[at].node for at in steps),
        writers=tuple(plan.steps[at].node for at in writers),
        body=tuple(s for s in trials.written.statements if not hasattr(s, "unwritten")),
        text=trials.written.text,
        file=trials.written.file,
        gradients={
            name: trial.versions(of)[0]
            for name, of in trial.gradients.items()
            if name not in trials.own
        },
        # What a backward is given, and is a part of one for, is there as what it writes is.
        written=frozenset(n for n in plan.gradients if plan.last(n) is not None)
        | (set(trial.gradients) & set(trials.written.parameters)),
        astray=tuple(plan.steps[at].node for at in astray),
        situations=tuple(situations),
        right=frozenset(n for n, f in review.findings.items() if not f.verdict.accuses),
        origin=trials.written,
        namespace={**LIBRARY, **trials.namespace},
        book=trial.draw.book,
    )


def _astray(review: Review, steps: Collection[int]) -> list[int]:
    """The statements, but for these, that write only what is wrong, or what the forward gave, or
    into what cannot take it.
    """
    truth = review.trials.trials[0].wide
    wrong = {row.name for row in review.rows if row.accuses and row.name in review.findings}
    known = {*wrong, *truth.values, *truth.cotangents} - review.trials.withheld
    mine = set().union(*(step.binds for step in review.plan.steps))
    return [
        at
        for at, step in enumerate(review.plan.steps)
        if at not in steps
        and step.writes
        and (step.writes <= known or (at in review.stumbles and step.writes <= mine - step.binds))
    ]


def _scope(before: dict[str, Any], after: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """What the names hold for the statements between: gradients as they are at the end, complete
    where they can be; the person's own locals as they are before.
    """
    return {**after, **{name: v for name, v in before.items() if name not in plan.gradients}}


def _without_given(review: Review, steps: list[int]) -> list[int]:
    """Without `dout = torch.ones_like(out)`: there is nothing to mend in what would be given."""
    truth = review.trials.trials[0].wide
    left = review.runs[0].given
    right = {
        name
        for name, value in left.items()
        if comparable(value, truth.cotangents[name]) and torch.equal(value, truth.cotangents[name])
    }
    return [at for at in steps if not review.plan.steps[at].binds & right]


def _own(scope: dict[str, Any], trials: Trials, name: str, trial: Trial) -> dict[str, Any]:
    """The forward's values and the person's locals, without what the file defines."""
    around = {**LIBRARY, **trials.namespace}
    mine = {
        key: value
        for key, value in scope.items()
        if key != name
        and not (key.startswith("__") and key.endswith("__"))
        and not (key in around and around[key] is value)
    }
    return {**{k: v for k, v in trial.wide.values.items() if k not in around}, **mine}


def _strict(trial: Trial, version: str) -> float:
    """What rounding explains of a mend: it has not been run in float32, so the truth's own."""
    wide = trial.wide.gradients[version]
    spread = relative_spread(trial.wide, [(trial.single.gradients[version], wide)])
    extra = SAFETY * trial.wide.terms * ROUNDOFF * size(wide)
    return tolerance(trial.wide, wide, spread, trial.digits).absolute + extra
