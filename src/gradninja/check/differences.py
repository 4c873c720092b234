"""A Function or a pair without a plain forward beside it: judged by central differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from gradninja.check.callers import as_function, name_of
from gradninja.check.module import told
from gradninja.check.run import precision, quiet
from gradninja.check.subject import Subject, is_autograd_function
from gradninja.check.tolerance import distance
from gradninja.check.truth import size
from gradninja.check.types import CheckError, LineReport, Report, Verdict
from gradninja.derive import COTANGENT_SEED

STEP = 6e-6  # of central differences in float64: the cube root of the roundoff
DIFFERENCES = 1e-7  # what they are right to, relative


@dataclass(frozen=True)
class _Difference:
    """One input's gradient by central differences."""

    true: torch.Tensor
    got: torch.Tensor | None


def by_differences(subject: Subject) -> Report:
    """The report on a Function, or a pair on arrays, that stands alone, on `inputs()`.

    Raises:
        CheckError: it is none, or no inputs are given.
    """
    function, given, name = subject.backward, subject.inputs, name_of(subject.backward)
    if isinstance(function, tuple) and len(function) == 2:
        function = as_function(*function)
    if not is_autograd_function(function):
        raise CheckError(
            f"there is no forward that `{name}` could be compared with",
            hint="write `def forward(...)` in plain PyTorch, or give it as the first argument",
        )
    if not given:
        raise CheckError(
            f"no values to call `{name}` with",
            hint="give them by a function inputs(), {name: tensor} in the order of its arguments",
        )
    wide = {
        key: value.detach().double() if _floats(value) else value for key, value in given.items()
    }
    try:
        with precision(torch.float64), quiet():
            rows = _differences(function, wide)
    except CheckError:
        raise
    except Exception as error:  # whatever the person's code raises
        line = LineReport("d" + next(iter(wide)), None, "", Verdict.ERROR, diagnosis=told(error))
        return Report(f"{subject.file}:{name}", (line,))
    lines = []
    for key, row in rows.items():
        shape = tuple(row.true.shape)
        base = LineReport(f"d{key}", None, "", Verdict.CLOSE, expected_shape=shape)
        if row.got is None:
            text = f"it gives no gradient for `{key}`"
            lines.append(replace(base, verdict=Verdict.MISSING, diagnosis=text))
            continue
        off, scale = distance(row.got, row.true), size(row.true)
        right = off <= DIFFERENCES * max(scale, 1.0)
        verdict = Verdict.CLOSE if right else Verdict.WRONG
        if right and scale <= DIFFERENCES:
            verdict = Verdict.VACUOUS
        lines.append(
            LineReport(
                f"d{key}",
                None,
                "",
                verdict,
                max_abs=off,
                max_rel=off / scale if scale else None,
                shape=shape,
                expected_shape=shape,
                tolerance=DIFFERENCES,
                diagnosis=None if right else "it differs from central differences in float64",
            )
        )
    return Report(
        f"{subject.file}:{name}",
        tuple(lines),
        ("the values of inputs()",),
        f"right means: within {DIFFERENCES:.0e} of central differences in float64, relative",
        ("there is no plain forward: judged as a whole, by central differences",),
    )


def _floats(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _differences(function: Any, given: Mapping[str, Any]) -> dict[str, _Difference]:
    names = [name for name, value in given.items() if _floats(value)]
    leaves = {n: v.clone().requires_grad_() if n in names else v for n, v in given.items()}
    output = function.apply(*leaves.values())
    generator = torch.Generator().manual_seed(COTANGENT_SEED)
    cotangent = torch.randn(output.shape, generator=generator, dtype=output.dtype)
    found = torch.autograd.grad(output, [leaves[n] for n in names], cotangent, allow_unused=True)
    rows = {}
    for name, got in zip(names, found, strict=True):
        true = torch.zeros_like(given[name])
        for place in range(true.numel()):
            ends = []
            for sign in (1, -1):
                moved = {n: v.clone() if n in names else v for n, v in given.items()}
                moved[name].view(-1)[place] += sign * STEP
                with torch.no_grad():
                    ends.append((function.apply(*moved.values()) * cotangent).sum())
            true.view(-1)[place] = (ends[0] - ends[1]) / (2 * STEP)
        rows[name] = _Difference(true, got)
    return rows
