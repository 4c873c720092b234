"""Functions that are right, in forms that were accused once; and a mistake of each, which is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from functions_trial import judged
from gradninja.check import check

QUANTISER = """
import torch


class Quantise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w, alpha, g):
        ctx.save_for_backward(w, alpha)
        ctx.g = g
        return (w / alpha).round().clamp(-4, 3) * alpha

    @staticmethod
    def backward(ctx, grad):
        w, alpha = ctx.saved_tensors
        q = w / alpha
        low, high = (q < -4).to(w.dtype), (q > 3).to(w.dtype)
        middle = 1 - low - high
        dalpha = ((low * -4 + high * 3 + middle * (q.round() - q)) * grad * ctx.g).sum()
        return middle * grad, dalpha.view(1), None


def inputs():
    return {"w": torch.linspace(-1.7, 1.2, 12), "alpha": torch.tensor([0.3]), "g": 0.1}
"""

DROPOUT = """
import torch


class DropoutAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, residual, p):
        mask = torch.empty_like(x).bernoulli_(1 - p)
        ctx.save_for_backward(mask.to(torch.bool))
        ctx.p = p
        return x * mask / (1 - p) + residual

    @staticmethod
    def backward(ctx, grad):
        (mask,) = ctx.saved_tensors
        dx = grad * mask / (1 - ctx.p)
        return dx, grad, None


def inputs():
    return {"x": torch.arange(12.0).view(4, 3), "residual": torch.ones(4, 3), "p": 0.3}
"""

SCRIPTED = """
import torch


@torch.jit.script
def gelu(x):
    return 0.5 * x * (1 + torch.tanh(0.79788456 * x * (1 + 0.044715 * x * x)))


@torch.jit.script
def slope(x):
    t = torch.tanh(0.79788456 * x * (1 + 0.044715 * x * x))
    return 0.5 * x * (1 - t * t) * (0.79788456 + 0.1070322243 * x * x) + 0.5 * (1 + t)


class BiasGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, bias):
        ctx.save_for_backward(x, bias)
        return gelu(x + bias)

    @staticmethod
    def backward(ctx, grad):
        x, bias = ctx.saved_tensors
        dx = grad * slope(x + bias)
        return dx, dx.sum(0)


def inputs():
    return {"x": torch.linspace(-2, 2, 12).view(4, 3), "bias": torch.tensor([0.1, 0.5, -0.7])}
"""

# Of one row alone nothing is left beside the diagonal: its forward gives nan there.
CONTRAST = """
import torch


class Contrast(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, t):
        n = z.size(0)
        eye = torch.eye(n, dtype=torch.bool)
        s = (z @ z.t() / t).masked_fill(eye, float("-inf"))
        p = torch.softmax(s, dim=1)
        to = (torch.arange(n) + n // 2) % n
        ctx.save_for_backward(z, p, to)
        ctx.t = t
        return -(s.gather(1, to[:, None])[:, 0] - s.logsumexp(1)).mean()

    @staticmethod
    def backward(ctx, grad):
        z, p, to = ctx.saved_tensors
        ds = p.clone()
        ds[torch.arange(len(z)), to] -= 1
        ds = ds * grad / len(z)
        return (ds + ds.t()) @ z / ctx.t, None


def inputs():
    return {"z": torch.linspace(-1, 1, 12).view(4, 3).sin(), "t": 0.5}
"""

FORMS = {
    "bounds of a step and a scaled gradient": (QUANTISER, "low * -4 + high", "low * 4 + high"),
    "a mask that is drawn": (DROPOUT, " / (1 - ctx.p)", ""),
    "constants rounded in a scripted helper": (SCRIPTED, "0.1070322243", "0.0356774081"),
    "a forward that gives nan": (CONTRAST, "(ds + ds.t())", "(2 * ds)"),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_right_is_not_accused_and_a_mistake_is(tmp_path: Path, form: str) -> None:
    right, lines, mistake = FORMS[form]
    report = judged(right, tmp_path)
    assert report.ok, str(report)
    assert lines in right
    assert judged(right.replace(lines, mistake), tmp_path).wrong


class Times(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, count)
        return x * count

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        x, count = ctx.saved_tensors
        return g * count, (g * x).sum().view(1)


def test_one_element_may_have_any_stride() -> None:
    count = torch.tensor([2.0, 3.0])[::2]
    assert count.stride() == (2,)
    report = check(Times, inputs={"x": torch.arange(3.0), "count": count})
    assert report.ok, str(report)


def test_differences_across_steps_accuse_nobody(tmp_path: Path) -> None:
    clipped = QUANTISER.replace("clamp(-4, 3)", "clamp(-4, float(alpha.item() / 0.1))")
    assert clipped != QUANTISER
    report = judged(clipped, tmp_path)
    assert report.ok
    assert any("is what is meant" in said for said in report.not_looked_at), str(report)


LOOKED_UP = """
import torch


class LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table, x):
        low = x.floor().long()
        part = x - low
        scale = 1.0 + 0 * float(part.sum().item())
        ctx.save_for_backward(table, low, part)
        return (table[low] * (1 - part) + table[low + 1] * part) * scale

    @staticmethod
    def backward(ctx, g):
        table, low, part = ctx.saved_tensors
        dtable = torch.zeros_like(table).index_add(0, low, g * (1 - part))
        dtable = dtable.index_add(0, low + 1, g * part)
        return dtable, g * (table[low + 1] - table[low])


def inputs():
    return {"table": torch.tensor([1.0, 3.0, 2.0, 5.0]), "x": torch.tensor([0.3, 1.6, 2.2])}
"""


def test_a_mistake_beside_a_step_is_one(tmp_path: Path) -> None:
    report = judged(LOOKED_UP, tmp_path)
    assert report.ok, str(report)
    wrong = LOOKED_UP.replace("table[low + 1] - table[low])", "table[low] - table[low + 1])")
    (row,) = judged(wrong, tmp_path).wrong
    assert row.name == "dx"
