"""Where a live session stands: every gradient's verdict, and hints that go on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from gradninja.derive import Backward
from gradninja.errors import GradninjaError
from gradninja.learn.compare import DESK, Comparison, called
from gradninja.learn.hints import STAGES, Hint, hints
from gradninja.learn.judged_lines import read
from gradninja.learn.numpy_session import spoken
from gradninja.learn.ran_forward import Forward, Lacks, forward_of
from gradninja.learn.session import Session, session

# Of the hints that were given in this process, by the forward's text and the variable.
_STAGES: dict[tuple[str, str], int] = {}


@dataclass(frozen=True, eq=False)
class Standing:
    """How far a session has come: a comparison for each gradient, in the order of the way back."""

    found: tuple[Comparison, ...]

    @property
    def todo(self) -> tuple[Comparison, ...]:
        return tuple(found for found in self.found if found.verdict == "to do")

    @property
    def summary(self) -> str:
        right = sum(found.ok for found in self.found)
        wrong = [
            f"d{found.name}" for found in self.found if not found.ok and found not in self.todo
        ]
        told = f"{right} of {len(self.found)} right"
        told += f", to mend: {', '.join(wrong)}" if wrong else ""
        return told + (f", next: d{self.todo[0].name}" if self.todo else "")

    def __str__(self) -> str:
        rows = [
            f"d{found.name:15s} {found.verdict}{f' ({found.kind})' if found.kind else ''}"
            for found in self.found
            if found not in self.todo
        ]
        rows += (
            [f"to do: {', '.join(f'd{found.name}' for found in self.todo)}"] if self.todo else []
        )
        return "\n".join([*rows, self.summary])

    __repr__ = __str__


def standing(
    here: Session, names: Sequence[str] | None = None, loss: str | None = None
) -> Standing:
    """The verdict on every gradient of the session's forward, or on those of `names`.

    Raises:
        Lacks: there is no forward to be found.
    """
    here = spoken(here)
    forward = _forward(here, loss)
    mine = here.namespace
    found = [
        DESK.compare(here, name, mine.get(f"d{name}"), mine[name], loss)
        for name in order(forward)
        if names is None or name in names
    ]
    return Standing(tuple(found))


def order(forward: Forward) -> list[str]:
    """The variables as the way back comes by: those that are used last come first."""
    values = forward.namespace
    tracked = values[forward.loss].requires_grad  # then what asks for no gradient is a constant
    first = {
        name: next(i for i, line in enumerate(forward.lines) if name in line.reads)
        for name in forward.names
        if forward.uses(name) and (values[name].requires_grad or not tracked)
    }
    return sorted(first, key=lambda name: -first[name])


def hint(
    name: str, stage: int | None = None, *, loss: str | None = None, frame: FrameType | None = None
) -> Hint:
    """What leads on to a gradient of the session's forward, one stage further at each call.

    Args:
        name: the variable, `bnvar_inv`, or its gradient.
        stage: 1 a question, 2 the rule, 3 the shapes, 4 half of the line, 5 the line.

    What it lacks, a forward or anything of that name in it, it says in the hint's place, as `cmp`
    does.
    """
    here = session(frame or sys._getframe(1))
    name = called(here, name)
    try:
        return hint_in(here, name, stage, loss)
    except GradninjaError as error:
        return Hint(name, (), 0, str(error))


def hint_in(here: Session, name: str, stage: Any, loss: str | None = None) -> Hint:
    """The same for a session that is known.

    Raises:
        Lacks, DeriveError: there is no forward, or nothing of that name in it.
    """
    variable = name[1:] if _is_gradient(here, name) else name
    forward = forward_of(spoken(here, here.namespace.get(variable)), variable, loss)
    if stage is None:
        stage = _STAGES.get((forward.text, variable), 0) + 1
    elif not isinstance(stage, int):
        raise Lacks(f"there is no stage {stage!r}", hint=f"stages are 1 to {len(STAGES)}")
    _STAGES[forward.text, variable] = stage = max(1, min(stage, len(STAGES)))
    return hints(derived(forward), variable, stage, forward.place_of)


def derived(forward: Forward) -> Backward:
    """The backward of a session's forward."""
    return read(forward).backward


def explained(here: Session, name: str) -> str:
    """One line of the forward and the lines that answer it, with the rules in words.

    `name`: a variable, or its gradient.

    Raises:
        Lacks: there is no forward, or no line of it binds that.
    """
    back = derived(_forward(spoken(here), None))
    variable = name[1:] if _is_gradient(here, name) else name
    answers = [line for line in back.lines if variable in line.forward.targets]
    if not answers:
        bound = dict.fromkeys(n for line in back.lines for n in line.forward.targets)
        raise Lacks(f"no line of the forward binds `{name}`", hint=f"there are: {', '.join(bound)}")
    rows = [answers[0].forward.source]
    for line in answers:
        rows += [f"  {line.source}", *(f"    {sentence}" for sentence in line.why)]
    return "\n".join(rows)


def _forward(here: Session, loss: str | None) -> Forward:
    names = [n for statement in here.statements for n in statement.binds]
    scalars = [loss] if loss else ["loss", *reversed(names)]
    for name in scalars:
        value = here.namespace.get(name)
        if getattr(value, "ndim", None) == 0:
            return forward_of(here, name, loss)
    return forward_of(here, loss or "loss", loss)


def _is_gradient(here: Session, name: str) -> bool:
    return name[:1] == "d" and name[1:] in here.namespace
