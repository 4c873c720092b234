"""In which turn of a backward's loop a line is first wrong.

Where the line is mended, the loop runs as it is and as it should be, side by side: the first turn
in which the line gives other values is told. Where no mend is found, and each turn writes elements
of its own, the first of them that ends up wrong is told.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from gradninja.check.given.backward_text import Written
from gradninja.check.given.execution import copy_of, precision, quiet, run
from gradninja.check.given.plan import bound
from gradninja.check.given.plan import written as written_in_place
from gradninja.check.reference.tolerance import comparable, distance
from gradninja.check.reference.truth import size
from gradninja.check.walks.statement_walk import start
from gradninja.check.walks.trials import Trials

TURN = "__turn__"
APART = 1e-9  # relative, in float64


@dataclass(frozen=True)
class Turn:
    """What the loop counts by, and what each name held before and when it was over."""

    at: str
    before: dict[str, Any]
    held: dict[str, Any]


def first_wrong(trials: Trials, mended: Written | None, line: int, name: str) -> str:
    """`first wrong in turn 2 of 5 (t = 3)`; empty where a line stands in no loop of several.

    Args:
        mended: the same with the line put right, where that is known.
        name: the gradient that comes out wrong.
    """
    turns = _turns(trials, trials.written, line)
    if len(turns) < 2:
        return ""
    if mended is None:
        at = _by_elements(trials, turns, name)
    else:
        at = _side_by_side(turns, _turns(trials, mended, line), _written_at(trials.written, line))
    if at is None:
        return ""
    counted = f" ({turns[at].at})" if turns[at].at else ""
    return f"first wrong in turn {at + 1} of {len(turns)}{counted}"


def _loop(written: Written, line: int) -> tuple[int, ast.For] | None:
    """The top-level `for` that a line stands in, and its place."""
    for at, node in enumerate(written.statements):
        if isinstance(node, ast.For) and node.lineno < line <= (node.end_lineno or 0):
            return at, node
    return None


def _written_at(written: Written, line: int) -> set[str]:
    """What the statement of a line gives values to."""
    statement = written.statement_at(line)
    return set() if statement is None else {*bound(statement), *written_in_place(statement)}


def _turns(trials: Trials, written: Written, line: int) -> list[Turn]:
    """What each turn of the loop left, with the values that the lines above it leave."""
    found = _loop(written, line)
    if found is None:
        return []
    at, loop = found
    names = {*bound(loop), *written_in_place(loop)}
    target = ast.unparse(loop.target)
    seen: list[tuple[str, dict[str, Any]]] = []
    scope = start(
        trials.trials[0].wide,
        trials.trials[0].names,
        trials.namespace,
        written.parameters,
        natural=True,
        withheld=trials.withheld,
    )

    def over() -> None:
        held = {name: copy_of(scope[name]) for name in names if name in scope}
        seen.append((_counted(target, scope), held))

    loop = deepcopy(loop)
    loop.body = [
        *ast.parse(f"{TURN}()").body,
        *loop.body,
    ]  # a turn before is over, `continue` or no
    marked = ast.Module([*written.statements[:at], loop], [])
    scope[TURN] = over
    with precision(torch.float64, trials.trials[0].wide.draw.seed), torch.no_grad(), quiet():
        try:
            run(compile(ast.fix_missing_locations(marked), "<turns>", "exec"), scope)
        except Exception:  # what raises is told elsewhere
            return []
        over()
    # What is seen as a turn begins was left by the one before; what it counts by is its own.
    return [Turn(at, before, held) for (at, before), (_, held) in pairwise(seen)]


def _counted(target: str, scope: dict[str, Any]) -> str:
    """`t = 3`, of a loop that counts by one whole number."""
    value = scope.get(target)
    return f"{target} = {value}" if isinstance(value, int) else ""


def _side_by_side(turns: Sequence[Turn], right: Sequence[Turn], names: set[str]) -> int | None:
    for at, (mine, other) in enumerate(zip(turns, right, strict=False)):
        for name in names:
            value, expected = mine.held.get(name), other.held.get(name)
            if isinstance(value, torch.Tensor) and isinstance(expected, torch.Tensor):
                if not comparable(value, expected):
                    return at
                if distance(value, expected) > APART * size(expected):
                    return at
    return None


def _by_elements(trials: Trials, turns: Sequence[Turn], name: str) -> int | None:
    """The first turn that writes a wrong element, where no two turns write the same one."""
    trial = trials.trials[0]
    versions = trial.versions(trials.plan.gradients[name]) if name in trials.plan.gradients else ()
    true = trial.wide.gradients[versions[0]] if versions else None
    values = [(turn.before.get(name), turn.held.get(name)) for turn in turns]
    changes: list[torch.Tensor] = []
    for before, held in values:
        if true is None or not (comparable(before, true) and comparable(held, true)):
            return None
        changes.append(torch.ne(before, held))  # type: ignore[arg-type]
    if true is None or bool((torch.stack(changes).sum(0) > 1).any()):
        return None
    wrong = (turns[-1].held[name] - true).abs() > APART * size(true)
    return next((at for at, change in enumerate(changes) if bool((change & wrong).any())), None)
