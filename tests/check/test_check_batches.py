"""Batch-invariance: told, and no mistake; told of nothing whose rows hang together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gradninja.check import check
from gradninja.check.functions.conditions.row_alone import NAME


class Split(torch.autograd.Function):
    """A launcher that rounds otherwise where there are several rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return torch.exp((x * w).sum(-1))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, w = ctx.saved_tensors
        parts = 3 if x.shape[0] > 1 else 1
        e = (g * torch.exp((x * w).sum(-1)))[:, None]
        return e * (w / parts) * parts, (e * x).sum(0)


class Elementwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, w = ctx.saved_tensors
        return g * w, (g * x).sum(0)


class Centred(torch.autograd.Function):
    """Each row's gradient comes of all of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return (x - x.mean(0)) * w

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, w = ctx.saved_tensors
        gw = (g * (x - x.mean(0))).sum(0)
        g = g * w
        return g - g.mean(0), gw


@pytest.mark.parametrize(
    ("function", "told", "passed"),
    [(Split, True, False), (Elementwise, False, True), (Centred, False, False)],
)
def test_a_row_alone_that_differs_from_its_batch_is_told(
    function: Any, told: bool, passed: bool
) -> None:
    generator = torch.Generator().manual_seed(5)
    x, w = torch.randn(6, 33, generator=generator), torch.rand(33, generator=generator)
    values = {"x": x, "w": w / 8}
    report = check(function, inputs=values)
    assert report.ok, str(report)
    notes = " ".join(report.notes)
    assert ("not batch-invariant: the gradient of a row of `x`" in notes) is told
    assert (NAME in notes) is passed
