"""A Function or a pair without a plain forward beside it: judged by central differences.

The step and what is allowed are those of the precision that it really computes in, which may be
float32 whatever it is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from gradninja.check.given.backwards import is_autograd_function
from gradninja.check.given.execution import counted, precision, quiet
from gradninja.check.given.module import told
from gradninja.check.given.subject import Subject
from gradninja.check.reference.truth import size
from gradninja.check.tell.findings import CheckError, LineReport, Report, Verdict
from gradninja.check.wholes.callers import as_function, name_of
from gradninja.check.wholes.complex_pairs import InParts, complex_places, in_parts, is_complex
from gradninja.check.wholes.complex_pairs import told as about_conjugates
from gradninja.check.wholes.left_out import with_left_out
from gradninja.derive import COTANGENT_SEED
from gradninja.lines.scope import vjp

STEP = 6e-6  # of central differences in float64: the cube root of the roundoff
SINGLE_STEP = 5e-3  # the same of float32's
DIFFERENCES = {torch.float64: 1e-7, torch.float32: 2e-3}  # what they are right to, relative
MOST = 4096  # elements of one input that are moved
AGAIN = 24  # calls more, which must give the same
SPACING = 1e-5  # of the points at which the precision is seen
POINTS = 12
MOSTLY = 0.75  # of the elements
LOOKED = 100_000  # elements
NOISE = 1e-11  # of float64 values what is seen there is far below, of float32's far above


@dataclass(frozen=True)
class _Difference:
    """One input's gradient by central differences, at the elements `places`.

    `low` and `high`: the slopes to both sides, which differ where the function bends.
    """

    true: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    got: list[torch.Tensor | None]


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
    complexes = {name for name, value in given.items() if is_complex(value)}
    function = parts = InParts(function, complex_places(given))
    given = in_parts(given)
    wanted = [k for k, v in given.items() if _floats(v) and k not in subject.unwanted]
    if not wanted:
        raise CheckError(
            f"no input of `{name}` wants a gradient", hint="give a float tensor by inputs()"
        )
    held = {k: v.detach() if isinstance(v, torch.Tensor) else v for k, v in given.items()}
    wide = {k: v.double() if _floats(v) else v for k, v in held.items()}
    try:
        dtype, rows = _differences(function, wide, wanted)
    except CheckError:
        raise
    except Exception:
        try:  # what it is made of may be float32
            dtype, rows = _differences(function, held, wanted)
        except Exception as error:  # whatever the person's code raises
            line = LineReport(f"d{wanted[0]}", None, "", Verdict.ERROR, diagnosis=told(error))
            return Report(f"{subject.file}:{name}", (line,))
    notes = ["there is no plain forward: judged as a whole, by central differences"]
    absent = [key for key, row in rows.items() if row.got[0] is None]
    absent = [key for key in absent if key not in subject.asked and len(absent) < len(rows)]
    left = {key: size(rows.pop(key).true) for key in absent}
    notes += [f"`{key}` asks for no gradient" for key in sorted(subject.unwanted)]
    lines = [_line(key, row, dtype) for key, row in rows.items()]
    for at, (key, row) in enumerate(rows.items()):
        got = row.got[0]
        if key in complexes and got is not None and row.true.ndim > 1:

            def crossed(key: str = key) -> torch.Tensor:
                other = replace(parts, conjugate=True)
                return _differences(other, wide, [key])[1][key].true

            allowed = DIFFERENCES[dtype] * max(size(row.true), 1.0)
            lines[at] = about_conjugates(lines[at], got, row.true, crossed, allowed)
    report = Report(
        f"{subject.file}:{name}",
        tuple(lines),
        ("the values of inputs()",),
        f"right means: within {DIFFERENCES[dtype]:.0e} of central differences, relative, in "
        f"{str(dtype).removeprefix('torch.')}, which it computes in",
        tuple(notes),
    )
    return with_left_out(report, left)


def _line(key: str, row: _Difference, dtype: torch.dtype) -> LineReport:
    shape = tuple(row.got[0].shape) if row.got[0] is not None else tuple(row.true.shape)
    base = LineReport(f"d{key}", None, "", Verdict.CLOSE, expected_shape=shape)
    allowed, scale = DIFFERENCES[dtype], size(row.true)
    worst, again = 0.0, False
    for turn, got in enumerate(row.got):
        if got is None:
            text = f"it gives no gradient for `{key}`"
            return replace(base, verdict=Verdict.MISSING, diagnosis=text)
        off = _off(got, row, allowed * max(scale, 1.0))
        if off > worst:
            worst, again = off, turn > 0
    right = worst <= allowed * max(scale, 1.0)
    verdict = Verdict.CLOSE if right else Verdict.WRONG
    if right and scale <= allowed:
        verdict = Verdict.VACUOUS
    text = "it gives another value when it is called again" if again else "it differs from central "
    if not again:
        text += f"differences in {str(dtype).removeprefix('torch.')}"
    return replace(
        base,
        verdict=verdict,
        max_abs=worst,
        max_rel=worst / scale if scale else None,
        shape=shape,
        tolerance=allowed,
        diagnosis=None if right else text,
    )


def _off(got: torch.Tensor, row: _Difference, allowed: float) -> float:
    """How far it is off; where the function bends, any slope between both sides is right."""
    got = got.double()
    off = (got - row.true).abs()
    between = (got >= row.low - allowed) & (got <= row.high + allowed)
    off = torch.where(between & (row.high - row.low > allowed), torch.zeros_like(off), off)
    off = off[torch.isfinite(row.true)]
    largest = float(off.max()) if off.numel() else 0.0
    return math.inf if math.isnan(largest) else largest


def _floats(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _differences(
    function: Any, given: Mapping[str, Any], wanted: Sequence[str]
) -> tuple[torch.dtype, dict[str, _Difference]]:
    """The gradients of `wanted`, and the precision that they are computed in."""
    wide = all(given[name].dtype == torch.float64 for name in wanted)
    with precision(torch.float64 if wide else torch.float32), quiet(), counted():
        every = [_gradients(function, given, wanted) for _ in range(1 + AGAIN)]
        sums = _Sums(function, *every[0][1:])
        single = not wide or sums.noise(given, wanted) > NOISE
        rows = {}
        for at, name in enumerate(wanted):
            shape = given[name].shape
            index = _some(shape.numel())
            places = [tuple(int(i) for i in np.unravel_index(p, shape)) for p in index]
            found = [sums.slopes(given, name, place, single) for place in places]
            slopes = torch.tensor(found, dtype=torch.float64).reshape(-1, 3)
            whole = len(index) == shape.numel()
            form = shape if whole else (len(index),)
            rows[name] = _Difference(
                slopes[:, 0].reshape(form),
                slopes[:, 1:].amin(1).reshape(form),
                slopes[:, 1:].amax(1).reshape(form),
                [_picked(gradients[at], None if whole else index) for gradients, *_ in every],
            )
    return torch.float32 if single else torch.float64, rows


def _picked(gradient: torch.Tensor | None, index: list[int] | None) -> torch.Tensor | None:
    return gradient if gradient is None or index is None else gradient.reshape(-1)[index]


def _some(count: int) -> list[int]:
    """The elements that are moved: all, or as many as are looked at, drawn."""
    if count <= MOST:
        return list(range(count))
    generator = torch.Generator().manual_seed(COTANGENT_SEED)
    return [int(place) for place in torch.randperm(count, generator=generator)[:MOST]]


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _apply(function: Any, taken: Iterable[Any]) -> list[Any]:
    result = function.apply(*taken)
    return list(result) if isinstance(result, tuple) else [result]


def _gradients(
    function: Any, given: Mapping[str, Any], wanted: Sequence[str]
) -> tuple[list[torch.Tensor | None], list[int], list[torch.Tensor]]:
    """The gradients, which outputs have one, and the gradients that these were given."""
    leaves = {name: _copy(given[name]).requires_grad_() for name in wanted}
    with torch.enable_grad():
        # A Function may write into what it is given, which a leaf is not for.
        taken = [leaves[n].clone() if n in leaves else _copy(v) for n, v in given.items()]
        outputs = _apply(function, taken)
        flowing = [
            at for at, o in enumerate(outputs) if isinstance(o, torch.Tensor) and o.requires_grad
        ]
        cotangents = [_random(outputs[at], at) for at in flowing]
        if not flowing:
            return [None] * len(wanted), [], []
        found = vjp([outputs[at] for at in flowing], list(leaves.values()), cotangents)
    return list(found), flowing, cotangents


def _random(output: torch.Tensor, place: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(COTANGENT_SEED + place)
    drawn = torch.randn(output.shape, generator=generator, dtype=torch.float32)
    return drawn.to(output.dtype)


@dataclass(frozen=True)
class _Sums:
    """The sum of a function's outputs times their given gradients, and how it changes."""

    function: Any
    flowing: list[int]
    cotangents: list[torch.Tensor]

    def values(self, given: Mapping[str, Any]) -> list[torch.Tensor]:
        with torch.no_grad():
            outputs = _apply(self.function, map(_copy, given.values()))
        return [outputs[at].detach().double().clone() for at in self.flowing]

    def change(self, one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
        rows = zip(one, other, self.cotangents, strict=True)
        return sum(float(((a - b) * g.double()).sum()) for a, b, g in rows)

    def slopes(
        self, given: Mapping[str, Any], name: str, place: tuple[int, ...], single: bool
    ) -> tuple[float, float, float]:
        """Along one element: through both neighbours, and to each side alone."""
        ends = []
        for sign in (1, 0, -1):
            value = _copy(given[name])
            value[place] += sign * (SINGLE_STEP if single else STEP)
            if single:
                value[place] = float(value[place].float())
            ends.append((float(value[place]), self.values({**given, name: value})))
        (high, up), (mid, here), (low, down) = ends
        return (
            self.change(up, down) / (high - low),
            self.change(up, here) / (high - mid),
            self.change(here, down) / (mid - low),
        )

    def noise(self, given: Mapping[str, Any], wanted: Sequence[str]) -> float:
        """The rounding that the outputs show, relative: fourth differences of close points.

        Several of each element, for one may be zero by chance; most of the elements, and the
        lesser of two lines, for a few may bend.
        """
        found = []
        for seed in range(2):
            generator = torch.Generator().manual_seed(seed)
            line = {n: torch.randn(given[n].shape, generator=generator) for n in wanted}
            points = [
                self.values({**given, **{n: given[n] + at * SPACING * d for n, d in line.items()}})
                for at in range(POINTS)
            ]
            every = torch.cat(
                [
                    torch.stack(output, -1).reshape(-1, POINTS)
                    for output in zip(*points, strict=True)
                ]
            )
            scale = every.abs().amax(-1)
            seen = every.diff(n=4, dim=-1).square().mean(-1).sqrt()[scale > 0] / scale[scale > 0]
            found.append(float(seen[:LOOKED].quantile(MOSTLY)) if seen.numel() else 0.0)
        return min(found)
