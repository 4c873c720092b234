"""Every row of the rule book in each dtype and on another device, derived and fused.

A gradient has its input's dtype and is as near to float64's as autograd's own in that dtype. Inputs
on `meta` show without a GPU whether a text makes a tensor where its inputs are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

import gradninja as gn
from gradninja.algebra.ops.lowering import TABLE
from gradninja.errors import GradninjaError
from rule_inputs import Trial, book_rows, trials_of

pytestmark = pytest.mark.filterwarnings("ignore")

PARTS = 4
DTYPES = (torch.float64, torch.float32, torch.bfloat16)
# How often a unit in the last place of the largest element a text may be off, beside what autograd
# is: series and least squares are other sums than autograd's.
UNITS = {"sinc": 200, "lstsq": 40}

Inputs = dict[str, Tensor]


def autograd(
    trial: Trial, inputs: Inputs, given: tuple[Tensor, ...] | None = None
) -> tuple[tuple[Tensor, ...], Inputs] | None:
    """The cotangents and the gradients; None where PyTorch does not run it."""
    leaves = {
        name: value.clone().requires_grad_() if value.is_floating_point() else value
        for name, value in inputs.items()
    }
    wanted = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    try:
        outputs = trial.forward(**leaves)
        generator = torch.Generator().manual_seed(5)
        grads = given or tuple(
            torch.zeros_like(o)
            if o.is_meta
            else torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o.dtype)
            for o in outputs
        )
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if o.requires_grad]
        found = torch.autograd.grad(
            [o for o, _ in pairs],
            list(wanted.values()),
            [g for _, g in pairs],
            allow_unused=True,
            materialize_grads=True,
        )
    except (RuntimeError, NotImplementedError):
        return None
    return grads, {f"d{name}": gradient for name, gradient in zip(wanted, found, strict=True)}


def called(back: gn.Backward, inputs: Inputs, grads: tuple[Tensor, ...]) -> Inputs:
    return dict(back(inputs, grads if len(grads) > 1 else grads[0]))


def dtype_faults(back: gn.Backward, trial: Trial) -> Iterator[str]:
    for dtype in DTYPES:
        inputs = trial.draw(1, dtype)
        truth = autograd(trial, inputs)
        if truth is None:
            continue
        grads, want = truth
        wide = {n: v.double() if v.is_floating_point() else v for n, v in inputs.items()}
        exact = autograd(trial, wide, tuple(g.double() for g in grads))
        true = exact[1] if exact is not None else want
        for name, mine in called(back, inputs, grads).items():
            if mine.dtype != dtype:
                yield f"{trial}: {name} is {mine.dtype}, not {dtype}"
            known = true[name].isfinite() & want[name].isfinite()
            if known.any():
                off, theirs = (
                    float((t.double() - true[name].double())[known].abs().max())
                    for t in (mine, want[name])
                )
                largest = float(true[name][known].abs().max())
                units = UNITS.get(trial.row, 8) * torch.finfo(dtype).eps * largest
                if not off <= 4 * theirs + units:
                    yield f"{trial}: in {dtype} {name} is off by {off:.1e}, autograd {theirs:.1e}"


def device_faults(back: gn.Backward, trial: Trial) -> Iterator[str]:
    inputs = {name: value.to("meta") for name, value in trial.draw(1).items()}
    truth = autograd(trial, inputs)
    if truth is None or "torch.tensor(" in trial.expression:  # the trial's own are on the CPU
        return
    try:
        for name, gradient in called(back, inputs, truth[0]).items():
            if not gradient.is_meta:
                yield f"{trial}: {name} is on {gradient.device}"
    except GradninjaError as error:
        if "Meta kernel" not in error.message:  # what a mask picks has no size without values
            yield f"{trial}: {error.message}"


def faults(verb: Callable[..., gn.Backward], trials: list[Trial]) -> list[str]:
    found = []
    for trial in trials:
        try:
            back = verb(trial.source, trial.draw(0))
        except GradninjaError:  # of a style that does not cover it
            continue
        found += [*dtype_faults(back, trial), *device_faults(back, trial)]
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_derived_rows_in_each_dtype_and_on_another_device(part: int) -> None:
    rows = book_rows()[part::PARTS]
    assert faults(gn.derive, [t for row in rows for t in trials_of(row)[:1]]) == []
    exact = [trials_of(row)[0] for row in rows if row.exact]
    assert faults(lambda *given: gn.derive(*given, style="exact"), exact) == []


@pytest.mark.parametrize("part", range(PARTS))
def test_fused_rows_in_each_dtype_and_on_another_device(part: int) -> None:
    rows = [row for row in book_rows() if row.name in TABLE][part::PARTS]
    assert faults(gn.fuse, [trials_of(row)[0] for row in rows]) == []
