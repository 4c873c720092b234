"""Every row of the rule book, tried on its own test texts, against autograd and differences."""

from __future__ import annotations

import pytest
import torch
from rule_inputs import Trial

from gradninja.derive import Backward, derive
from gradninja.rules import BOOK

ROWS = [row for row in BOOK if row.name not in BOOK.own]
TRIALS = [Trial.parse(row.name, text) for row in ROWS for text in row.tests]

# Float64 and a handful of operations: a right formula in another order is within some tens of
# roundings of autograd's, relative to the largest element.
TOLERANCE = 1e-12


def compute(trial: Trial, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """The float outputs of the trial's expression."""
    scope: dict[str, object] = {"torch": torch, "F": torch.nn.functional}
    exec(trial.source, scope)
    found = scope["forward"](**inputs)  # type: ignore[operator]
    several = found if isinstance(found, tuple | list) else (found,)
    return tuple(t for t in several if t.is_floating_point())


def cotangents(outputs: tuple[torch.Tensor, ...], seed: int) -> tuple[torch.Tensor, ...]:
    """Random ones; those of two axes or more lie transposed in memory."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for output in outputs:
        shape = tuple(output.shape)[::-1]
        drawn = torch.randn(shape, generator=generator, dtype=output.dtype)
        found.append(drawn.permute(tuple(range(drawn.ndim))[::-1]))
    return tuple(found)


def autograd(
    trial: Trial, inputs: dict[str, torch.Tensor], grads: tuple[torch.Tensor, ...]
) -> dict[str, torch.Tensor]:
    leaves = {
        name: value.clone().requires_grad_() if value.is_floating_point() else value
        for name, value in inputs.items()
    }
    wanted = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    outputs = compute(trial, leaves)
    flows = [(o, g) for o, g in zip(outputs, grads, strict=True) if o.requires_grad]
    found = torch.autograd.grad(
        [o for o, _ in flows], list(wanted.values()), [g for _, g in flows], allow_unused=True
    )
    return {
        f"d{name}": torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(wanted.items(), found, strict=True)
    }


def run(
    trial: Trial, style: str, dtype: torch.dtype, seed: int
) -> tuple[Backward, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The derived backward, its gradients, and autograd's."""
    generator = torch.Generator().manual_seed(seed)
    inputs = trial.draw(generator, dtype)
    back = derive(trial.source, inputs, style=style)
    grads = cotangents(compute(trial, inputs), seed)
    got = back(inputs, grads if len(grads) > 1 else grads[0])
    return back, got, autograd(trial, inputs, grads)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_explains_itself_and_is_tried(row) -> None:
    assert row.tests, "a row without a test"
    assert row.why and row.source
    assert not row.why.endswith(".")


@pytest.mark.parametrize("style", ["readable", "exact"])
@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_row_equals_autograd_in_float64(trial: Trial, style: str) -> None:
    for seed in (0, 1, 2):
        back, got, true = run(trial, style, torch.float64, seed)
        assert got.keys() == true.keys()
        for name, expected in true.items():
            scale = max(1.0, float(expected.abs().max()) if expected.numel() else 0.0)
            assert got[name].shape == expected.shape, back.source
            error = (got[name] - expected).abs().max() if expected.numel() else 0.0
            assert error <= TOLERANCE * scale, f"{name} is off by {error}\n{back.source}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_tests_reach_every_text_of_a_row(row) -> None:
    reached = set()
    for text in row.tests:
        trial = Trial.parse(row.name, text)
        inputs = trial.draw(torch.Generator().manual_seed(0), torch.float64)
        program = derive(trial.source, inputs).program
        for line in program.lines:
            for expr in line.expr.walk():
                site = BOOK.find(expr) if expr.differentiable else None
                if site is not None and site.rule is row:
                    reached |= {formal for formal, e in site.bound.items() if e.differentiable}
    assert reached == set(row.backward)
