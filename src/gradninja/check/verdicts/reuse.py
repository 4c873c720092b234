"""A `d<name>` that holds another value at its place: people name by place, not by tensor.

In `dh = dout @ V.T`, `dh *= 1 - h**2` the name is the gradient of `h` after the first line only.
From the second on it is a local of the person's own, which no truth is known of, and it is given
a name of its own here, so that all that judges by names judges it as that.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

import torch

from gradninja.check.given.backward_text import Reuse, Written
from gradninja.check.given.plan import adds, bound
from gradninja.check.given.plan import written as written_in_place
from gradninja.check.tell.findings import Verdict
from gradninja.check.verdicts.verdict import Finding, finding_of
from gradninja.check.walks.trials import Trials


@dataclass(frozen=True)
class Settled:
    """Trials in which each name is judged as what it is, and what is to be told of it."""

    trials: Trials
    findings: dict[str, Finding]
    notes: tuple[str, ...] = ()

    @property
    def accused(self) -> list[str]:
        """The gradients that are wrong, in the order of their first lines."""
        wrong = [name for name, finding in self.findings.items() if finding.verdict.accuses]
        return sorted(wrong, key=lambda name: self.trials.plan.writers(name)[0])


def findings_of(trials: Trials) -> dict[str, Finding]:
    """The finding on each gradient that a line writes."""
    plan = trials.plan
    return {name: finding_of(trials, name) for name in plan.gradients if plan.writers(name)}


def settled(
    trials: Trials, findings: dict[str, Finding], all_right: bool, last: frozenset[str]
) -> Settled:
    """The same, with the names that hold something else taken for the person's own.

    Args:
        all_right: the inputs' gradients come out right as it is written. Then no other name is
            accused; else a name is taken for the person's own where fewer are wrong then.
        last: names that stand for the gradient to the end.
    """
    best = Settled(trials, findings)
    inputs = {trials.trials[0].names.gradient(n) for n in trials.inputs}
    tried = inputs | last
    while name := next((name for name in best.accused if name not in tried), None):
        tried.add(name)
        for other in _otherwise(best, name, all_right):
            if all_right or len(other.accused) < len(best.accused):
                best = other
                break
    return best


def _otherwise(now: Settled, name: str, all_right: bool) -> Iterator[Settled]:
    """The name as the person's own: from where it has been right on, or everywhere."""
    trials, plan = now.trials, now.trials.plan
    line = _last_right(trials, name)
    writers = plan.writers(name)
    after = next((at for at in writers if line is None or at > line), None)
    if line is not None and after is not None and (all_right or not adds(plan.steps[after].node)):
        made = trials.of(split(trials.written, name, plan.steps[after].node))
        what = f"after line {plan.steps[line].node.lineno}" if line >= 0 else "from line "
        what += "" if line >= 0 else str(plan.steps[after].node.lineno) + " on"
        note = f"{what} the name `{name}` is used for another value"
        yield Settled(made, findings_of(made), (*now.notes, note))
    # What no line reads, in a backward that is not done, explains nothing: it is wrong.
    if _stands_elsewhere(now, name) if all_right else _is_read(trials, name):
        made = replace(trials, own=trials.own | {name}).of(trials.written)
        number = plan.steps[writers[-1]].node.lineno
        said, of = f"`{name}` on line {number}", plan.gradients[name]
        note = f"{said} is not the gradient of `{of}`"
        if all_right and _broadcasts(now, name):
            note = f"{said} has not the shape of `{of}`, and broadcasts as it does"
        elif all_right:
            note += ", and all comes out right: it is taken for a name of your own"
        yield Settled(made, findings_of(made), (*now.notes, note))


def _last_right(trials: Trials, name: str) -> int | None:
    """The last statement after which a name holds its gradient; -1 where it is given so."""
    match = trials.match(trials.trials[0], torch.float64)
    outcome = trials.walks[0][torch.float64].outcomes[name]
    right = [at for at, value in outcome.values if match(name, value)]
    given = name in trials.trials[0].wide.cotangents and name not in trials.withheld
    return right[-1] if right else -1 if given else None


def _stands_elsewhere(now: Settled, name: str) -> bool:
    """Whether a wrong name serves for others, as the gradient of what the forward has no name for.

    What lines below each other leave is looked at, and so is what a function returns: there it is
    no other variable's either. A right value in a wrong shape is a mistake all the same, but for
    axes of size 1 in front, which broadcasting puts there.
    """
    trials, finding = now.trials, now.findings[name]
    first = trials.trials[0]
    value = trials.walks[0][torch.float64].outcomes[name].value
    if not isinstance(value, torch.Tensor):
        return False
    if finding.verdict is Verdict.WRONG_SHAPE:
        own = first.wide.gradients[finding.versions[0]]
        if _broadcasts(now, name):
            return True
        return value.numel() != own.numel() or not torch.allclose(value.flatten(), own.flatten())
    written = trials.written
    if written.is_function and name not in written.returned:
        return True
    if not _is_read(trials, name):
        return False
    others = first.wide.gradients.values()
    return not any(o.shape == value.shape and torch.allclose(value, o) for o in others)


def _broadcasts(now: Settled, name: str) -> bool:
    """Whether it is right but for axes of size 1 in front: `dmean = (-d).sum(0)` of a (1, n)."""
    trials = now.trials
    value = trials.walks[0][torch.float64].outcomes[name].value
    own = trials.trials[0].wide.gradients[now.findings[name].versions[0]]
    if not isinstance(value, torch.Tensor) or value.ndim >= own.ndim:
        return False
    missing = own.ndim - value.ndim
    shaped = {*own.shape[:missing]} == {1} and own.shape[missing:] == value.shape
    return shaped and torch.allclose(value.flatten(), own.flatten())


def _is_read(trials: Trials, name: str) -> bool:
    return any(name in step.mentions - step.writes for step in trials.plan.steps)


def split(written: Written, name: str, at: ast.stmt) -> Written:
    """The same text, in which a name has another from one statement on."""
    number = len(written.reuses) + 1
    alias = f"{name}_from_line_{at.lineno}_{number}"
    statements: list[ast.stmt] = []
    below = False
    for node in written.statements:
        if node is at:
            below = True
            copy = deepcopy(node)
            anew = name in set(bound(node)) and isinstance(node, ast.Assign | ast.AnnAssign)
            if anew and name not in set(written_in_place(node)):
                copy = _Rename(name, alias, ast.Store).visit(copy)
                copy.gives_up = name
            else:
                told = ast.Assign([ast.Name(alias, ast.Store())], ast.Name(name, ast.Load()))
                ast.fix_missing_locations(ast.copy_location(told, node))
                told.gives_up = name  # type: ignore[attr-defined]
                told.unwritten = True  # type: ignore[attr-defined]
                statements.append(told)
                copy = _Rename(name, alias).visit(copy)
            statements.append(copy)
        else:
            statements.append(_Rename(name, alias).visit(deepcopy(node)) if below else node)
    reuse = Reuse(name, alias, at.lineno)
    return replace(written, statements=tuple(statements), reuses=(*written.reuses, reuse))


class _Rename(ast.NodeTransformer):
    def __init__(self, name: str, alias: str, context: type = ast.expr_context) -> None:
        self.name, self.alias, self.context = name, alias, context

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id == self.name and isinstance(node.ctx, self.context):
            return ast.copy_location(ast.Name(self.alias, node.ctx), node)
        return node
