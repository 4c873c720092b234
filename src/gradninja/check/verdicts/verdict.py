"""From the values of one gradient on all draws to its verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from gradninja.check.given.module import told
from gradninja.check.reference import tolerance as rounding
from gradninja.check.reference.tolerance import Tolerance
from gradninja.check.tell.findings import Verdict
from gradninja.check.walks.trials import PRECISIONS, Trial, Trials, tolerances

# In float32 a right line may lose digits, as autograd may. Only where it is off by one part in a
# hundred and autograd's own rounding is a thousand times smaller is it asked whether rounding can
# explain it: then that is noted; if not, the line does something else in float32, and is wrong.
LOST = 1e-2
WORSE = 1e3
EXPLAINED = 30.0  # times what rounding did in a few samples


@dataclass(eq=False)
class Finding:
    """A verdict with its numbers. `versions`: what it was compared with, per draw."""

    verdict: Verdict
    max_abs: float | None = None
    max_rel: float | None = None
    shape: tuple[int, ...] | None = None
    expected_shape: tuple[int, ...] | None = None
    tolerance: float | None = None
    tolerances: list[Tolerance] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    wrong_on: list[int] = field(default_factory=list)
    text: str | None = None
    kind: str | None = None
    notes: list[str] = field(default_factory=list)
    error: Exception | None = None
    error_at: int | None = None


def finding_of(trials: Trials, name: str) -> Finding:
    """The verdict on one gradient, by the walks of these trials."""
    trial = trials.trials[0]
    versions = [t.versions(trials.plan.gradients[name])[0] for t in trials.trials]
    shape = tuple(trial.wide.gradients[versions[0]].shape)
    unreached = []
    for index, walk in enumerate(trials.walks):
        for judged in walk.values():
            outcome = judged.outcomes[name]
            if outcome.error is not None:
                return Finding(
                    Verdict.ERROR,
                    wrong_on=[index],
                    text=told(outcome.error),
                    expected_shape=shape,
                    versions=versions,
                    error=outcome.error,
                    error_at=outcome.error_at,
                )
            if not outcome.values and index not in unreached:
                unreached.append(index)
    if unreached:
        return Finding(
            Verdict.MISSING,
            wrong_on=unreached,
            text=f"a `return` comes before `{name}` is written",
            expected_shape=shape,
            versions=versions,
        )
    values = [{d: walk[d].outcomes[name].value for d in PRECISIONS} for walk in trials.walks]
    return find(trials, name, values, is_input=trials.plan.gradients[name] in trials.inputs)


def find(
    trials: Trials, name: str, values: list[dict[torch.dtype, Any]], *, is_input: bool
) -> Finding:
    """The verdict on one gradient.

    Args:
        values: per draw, by dtype, what the person's lines left for it.
        is_input: a name that the forward binds again is an input's first of all; of another name
            the gradient of any of its bindings is right.
    """
    variable = trials.plan.gradients[name]
    several = [trial.versions(variable) for trial in trials.trials]
    count = min(len(versions) for versions in several)
    places = [0] if is_input else [*range(count), *([-1] if count > 1 else [])]
    found = [
        against(
            trials.trials,
            name,
            variable,
            values,
            [versions[place] for versions in several],
            scatter=trials.scatter,
        )
        for place in places
    ]
    return min(found, key=lambda f: (f.verdict.accuses, f.max_rel if f.max_rel is not None else 9))


def against(
    trials: Sequence[Trial],
    name: str,
    variable: str,
    values: Sequence[Mapping[torch.dtype, Any]],
    versions: list[str],
    *,
    kernel: bool = False,
    coarse: bool = False,
    scatter: Callable[[int, str, str], float] | None = None,
) -> Finding:
    """The verdict on values of `name`, compared with the true gradients of `versions`, per draw.

    `kernel`: it may compute in float32 whatever it is given, and is then held to float32;
    `coarse`: it was seen to do so.
    `scatter`: how far rounding may take it, per draw (`Trials.scatter`).
    """
    wide, single = torch.float64, torch.float32
    rows = [
        {dtype: _as_tensor(v[dtype], t, version) for dtype in v}
        for v, t, version in zip(values, trials, versions, strict=True)
    ]
    found = Finding(Verdict.CLOSE, versions=versions)
    expected = trials[0].wide.gradients[versions[0]]
    found.expected_shape = tuple(expected.shape)
    odd = _wrong_form(trials, rows, versions)
    if odd is not None:
        value, true, index = odd
        found.expected_shape = tuple(true.shape)
        found.wrong_on = [index]
        if isinstance(value, torch.Tensor):
            found.shape = tuple(value.shape)
            if value.shape != true.shape:
                found.verdict = Verdict.WRONG_SHAPE
            else:
                found.verdict, found.kind = Verdict.WRONG, "another kind of tensor"
                found.text = f"`{name}` is {value.dtype}, {value.layout}, on {value.device}"
        else:
            found.verdict = Verdict.WRONG
            found.text = f"`{name}` is {_kind_of(value)}, not a tensor"
        return found
    found.shape = found.expected_shape
    found.tolerances = tolerances(trials, versions, [(r[single], r[wide]) for r in rows])
    vacuous = exact = True
    largest_abs = largest_rel = 0.0
    for index, (trial, row, allowed, version) in enumerate(
        zip(trials, rows, found.tolerances, versions, strict=True)
    ):
        exact_wide = trial.wide.gradients[version]
        exact_single = trial.single.gradients[version]
        off = rounding.distance(row[wide], exact_wide)
        lost = LOST * allowed.scale
        summed = trial.single.terms * torch.finfo(single).eps * trial.single.scale
        # What was measured may be no rounding: where random numbers are drawn it is all of them.
        limit = allowed.absolute * precision_lost(row[wide], kernel, coarse)
        limit = min(limit, max(allowed.absolute, lost, summed))
        if not off <= limit:
            found.wrong_on.append(index)
        off_single = rounding.distance(row[single], exact_single)
        own_single = rounding.distance(exact_single, exact_wide.to(single))
        limit_single = max(lost, WORSE * own_single, summed)
        if off <= limit and math.isinf(off_single):
            found.wrong_on.append(index)
            found.kind = "overflow in float32"
            found.text = (
                f"`{name}` is right in float64, but nan or infinite in float32, where autograd's "
                "is finite: an intermediate result leaves float32's range"
            )
        elif off_single > limit_single and off <= limit:
            of = allowed.scale or trial.single.scale or 1.0  # the true gradient may be zero
            part = off_single / of
            if scatter is None or off_single <= EXPLAINED * scatter(index, name, version):
                own = own_single / of
                found.notes.append(
                    f"`{name}` is right, but loses digits in float32: it is off by {part:.0e} "
                    f"(relative) there, autograd by {own:.0e}"
                )
            else:
                found.wrong_on.append(index)
                found.kind = "wrong in float32"
                found.text = (
                    f"`{name}` is right in float64, but off by {part:.1e} (relative) in float32, "
                    "and rounding does not explain it: the precision itself is asked for"
                )
        vacuous &= allowed.scale <= allowed.absolute
        exact &= rounding.same_bits(row[single], exact_single)
        shown = off_single if off <= limit else max(off, off_single)
        largest_abs = max(largest_abs, shown)
        largest_rel = max(largest_rel, shown / allowed.scale if allowed.scale else shown)
        if coarser(row[single], exact_single):
            found.wrong_on.append(index)
            found.kind = "lower precision"
            dtype, mine = row[single].dtype, exact_single.dtype
            found.text = f"`{name}` is {_short(dtype)}, autograd's is {_short(mine)}"
        if row[single].dtype != single and not row[single].is_floating_point():
            found.notes.append(f"`{name}` is {row[single].dtype}, autograd's is float32")
    found.notes = list(dict.fromkeys(found.notes))
    found.max_abs, found.max_rel = largest_abs, largest_rel
    found.tolerance = max(t.relative for t in found.tolerances)
    if found.wrong_on:
        found.verdict = Verdict.WRONG
    elif vacuous:
        found.verdict = Verdict.VACUOUS
        found.max_rel = None
        found.notes.append(
            f"the true gradient of `{variable}` is zero: to move it does not move the output, what "
            "comes after takes it away again. A line of zeros would agree as well, and what is "
            "left here is rounding"
        )
    elif exact:
        found.verdict = Verdict.EXACT
    return found


def _as_tensor(value: Any, trial: Trial, version: str) -> Any:
    """A plain number is the gradient of a 0-dim tensor; bools and ints are compared as floats."""
    like = trial.wide.gradients[version]
    if isinstance(value, int | float) and like.ndim == 0:
        return torch.tensor(float(value), dtype=torch.get_default_dtype()).to(torch.float32)
    return value


def _wrong_form(
    trials: Sequence[Trial], rows: list[dict[torch.dtype, Any]], versions: list[str]
) -> tuple[Any, torch.Tensor, int] | None:
    for index, (trial, row, version) in enumerate(zip(trials, rows, versions, strict=True)):
        true = trial.wide.gradients[version]
        for value in row.values():
            if not rounding.comparable(value, true):
                return value, true, index
    return None


def precision_lost(value: torch.Tensor, kernel: bool = False, coarse: bool = False) -> float:
    """In a float64 run a float32 result has float32's rounding, and may be that far off.

    `kernel`: the result may have been cast back; then it is float64 with float32's digits.
    `coarse`: it is made of float32's results, whatever its digits.
    """
    if coarse and value.dtype == torch.float64:
        return torch.finfo(torch.float32).eps / torch.finfo(torch.float64).eps
    if kernel and value.dtype == torch.float64 and torch.equal(value, value.float().double()):
        value = value.float()
    if value.is_floating_point() and value.dtype != torch.float64:
        return torch.finfo(value.dtype).eps / torch.finfo(torch.float64).eps
    return 1.0


def coarser(value: torch.Tensor, true: torch.Tensor) -> bool:
    """Whether it is kept in a lower precision than autograd keeps it in."""
    if not value.is_floating_point():
        return False
    return torch.finfo(value.dtype).eps > torch.finfo(true.dtype).eps


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _kind_of(value: Any) -> str:
    if value is None:
        return "None"
    kind = type(value).__name__
    return f"an {kind}" if kind[:1] in "aeiou" else f"a {kind}"
