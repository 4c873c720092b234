"""When no single edit mends a line: what can be said of its value."""

from __future__ import annotations

import ast

import torch

from gradninja.check.diagnosis.contributions import Contribution
from gradninja.check.diagnosis.facts import Facts

NEAR = 1e-9  # relative, float64


def clues(facts: Facts, value: object) -> list[str]:
    """Sentences about a wrong value (or the exception that came instead)."""
    if isinstance(value, BaseException):
        return [f"The line raises {type(value).__name__}: {str(value).splitlines()[0]}"]
    if not isinstance(value, torch.Tensor):
        return [f"It gives a {type(value).__name__}, no tensor."]
    expected = facts.expected
    if value.shape != expected.shape:
        return _shapes(facts, value)
    for say in (_ratio, _partial, _somewhere):
        found = say(facts, value)
        if found:
            return [found]
    return []


def _shapes(facts: Facts, value: torch.Tensor) -> list[str]:
    axes = facts.program.axes_of
    mine, right = axes(tuple(value.shape)), axes(tuple(facts.expected.shape))
    return [f"It has shape ({', '.join(mine)}), `{facts.variable}` has ({', '.join(right)})."]


def _ratio(facts: Facts, value: torch.Tensor) -> str | None:
    """Times a number; or times a number for each place along some axes."""
    expected = facts.expected
    safe = expected.abs() > 1e-9 * expected.abs().max()
    if not bool(safe.any()) or not expected.ndim:
        return None
    ratio = torch.where(safe, value / expected, torch.nan)
    first = ratio[safe][0]
    if _close(ratio[safe], first):
        return f"It is {_number(facts, float(first))} times what it should be."
    names = facts.program.axes_of(tuple(expected.shape))
    for axis in range(expected.ndim):
        if expected.shape[axis] == 1:
            continue  # everything is constant along it
        middle = ratio.nanmedian(axis, keepdim=True).values
        if _close(ratio[safe], middle.expand_as(ratio)[safe]):
            said = [n for n in facts.tensors if _is(facts.scope[n], middle)]
            times = f", `{said[0]}`," if said else ""
            return (
                f"Along axis {axis} ({names[axis]}) it is a constant multiple{times} of what it "
                "should be: a factor that does not depend on that axis is wrong."
            )
    return None


def _is(value: torch.Tensor, other: torch.Tensor) -> bool:
    return value.shape == other.shape and value.is_floating_point() and _close(value, other)


def _number(facts: Facts, ratio: float) -> str:
    """The ratio, in the forward's own counts where that says it."""
    for scalar in facts.scalars:
        count = facts.value(scalar)
        text = ast.unparse(scalar)
        if count:
            forms = ((count, text), (1 / count, f"1 / ({text})"), (-count, f"-({text})"))
            for number, said in forms:
                if abs(ratio - number) <= NEAR * abs(number):
                    return f"{ratio:.6g} ({said})"
    return f"{ratio:.6g}"


def _partial(facts: Facts, value: torch.Tensor) -> str | None:
    """Which of the contributions it is, when it is one of several."""
    mine = [c for c in facts.contributions if c.of == facts.variable]
    if len(mine) < 2:
        return None
    for contribution in mine:
        part = _evaluated(facts, contribution)
        if part is not None and part.shape == value.shape and _close(value, part):
            return f"It is the contribution through `{contribution.line.name}` alone."
    return None


def _evaluated(facts: Facts, contribution: Contribution) -> torch.Tensor | None:
    if contribution.value is None:
        return None
    return facts.tensor(contribution.value)


def _somewhere(facts: Facts, value: torch.Tensor) -> str | None:
    off = (value - facts.expected).abs() > NEAR * facts.expected.abs().max()
    wrong, number = int(off.sum()), value.numel()
    if 0 < wrong < number:
        return f"It is right but for {wrong} of its {number} elements."
    return None


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    scale = max(float(other.abs().max()), 1e-300) if other.numel() else 1.0
    return bool(((one - other).abs() <= NEAR * scale).all())
