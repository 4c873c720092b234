# ruff: noqa: RUF005 - written as people write it
"""Functions judged line by line, as they stand in a file: right, and with a mistake planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from functions_trial import judged, planted, texts
from gradninja.check import check

SHOWN = "linear mul_constant layer_norm cross_entropy leaky_inplace embedding launcher".split()


@pytest.mark.parametrize("name", SHOWN)
def test_a_mistake_is_found_where_it_stands(tmp_path: Path, name: str) -> None:
    mistake = next(planted(name))
    report = judged(mistake.right, tmp_path)
    assert report.ok, str(report)
    assert all(row.line is not None for row in report.lines)
    report = judged(mistake.text, tmp_path)
    (row,) = report.wrong
    assert row.line == mistake.line, str(report)
    assert row.fix is not None


def test_every_file_has_three_mistakes() -> None:
    assert {name: len(list(planted(name))) for name in texts()} == dict.fromkeys(texts(), 3)


class Scaled(torch.autograd.Function):
    """Names crossed, a branch that is never taken, a parameter bound anew, a helper's names."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, mode: str = "mean") -> Tensor:
        a = a * 2
        ctx.save_for_backward(a, b)
        ctx.mode, ctx.n = mode, a.shape[0]
        if mode == "mean":
            return (a * b).mean(0)
        return (a * b).sum(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        b, a = ctx.saved_tensors
        if ctx.mode == "sum":
            raise NotImplementedError
        grad = grads[0]
        grad = grad.contiguous() / ctx.n
        ga = 2 * grad * a
        gb = grad * b
        return (ga, gb) + (None,)


class Unscaled(Scaled):
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        b, a = ctx.saved_tensors
        grad = grads[0]
        return 2 * grad * a / ctx.n, grad * b, None


VALUES = {"a": torch.randn(4, 3), "b": torch.randn(4, 3)}


def test_names_are_the_persons_own() -> None:
    report = check(Scaled, inputs=VALUES)
    assert report.ok, str(report)
    assert [row.source for row in report.lines] == ["ga = 2 * grad * a", "gb = grad * b"]
    (row,) = check(Unscaled, inputs=VALUES).wrong
    assert (row.name, row.kind) == ("db", "missing 1/n")
    assert row.fix == "return 2 * grad * a / ctx.n, grad * b / ctx.n, None"


class Grouped(torch.autograd.Function):
    """`dxn` is the gradient of xn in other axes; `setup_context` saves all inputs with a star."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        xn = x / x.reshape(len(x), -1).norm(dim=-1, keepdim=True).reshape(-1, 1, 1)
        return xn * weight

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight, _ = ctx.saved_tensors

        def rows(t: Tensor) -> Tensor:
            return t.reshape(len(x), -1)

        n = rows(x).norm(dim=-1, keepdim=True)
        dxn = rows(dy * weight)
        xn = rows(x) / n
        dx = (dxn - xn * (xn * dxn).sum(-1, keepdim=True)) / n
        return dx.reshape(x.shape), (dy * xn.reshape(x.shape)).sum((0, 1))


def test_a_gradient_in_other_axes_is_no_mistake() -> None:
    report = check(Grouped, inputs={"x": torch.randn(2, 3, 4), "weight": torch.randn(4)})
    assert report.ok, str(report)
    assert {row.name for row in report.lines} == {"dx", "dweight"}
    assert "the lines of the backward" not in report.not_looked_at


class Kept(torch.autograd.Function):
    """A loss for each row, whose gradient is made in the forward; a local has its name."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor) -> Tensor:
        ctx.grads = torch.softmax(x, -1) + t
        return -(t * torch.log_softmax(x, -1)).sum(-1)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        grads = g[:, None] * ctx.grads
        return grads, None


class Ignored(torch.autograd.Function):
    """The same, with the outputs' gradient forgotten."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor) -> Tensor:
        ctx.grads = torch.softmax(x, -1) - t
        return -(t * torch.log_softmax(x, -1)).sum(-1)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return ctx.grads, None


class Saved(torch.autograd.Function):
    """What is saved is made where it is saved."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor) -> Tensor:
        y = torch.tanh(x)
        ctx.save_for_backward(y + y, t)
        return y * t

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        squared, t = ctx.saved_tensors
        return g * t * (1 - squared), None


@pytest.mark.parametrize(
    ("function", "fix"),
    [
        (Saved, "ctx.save_for_backward(y * y, t)"),
        (Kept, "ctx.grads = torch.softmax(x, -1) - t"),
        (Ignored, "return g[:, None] * ctx.grads, None"),
    ],
)
def test_a_gradient_that_the_forward_keeps_is_mended_where_it_stands(
    function: Any, fix: str
) -> None:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(4, 3, generator=generator)
    (row,) = check(function, inputs={"x": x, "t": torch.eye(3)[[0, 2, 1, 0]]}).wrong
    assert row.fix == fix, str(row)


class Scaled8(torch.autograd.Function):
    """A second output that is marked as having no gradient, as fp8 training hands on its amax."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Any:
        amax = x.abs().max()
        ctx.mark_non_differentiable(amax)
        ctx.save_for_backward(x, w)
        return x @ w, amax

    @staticmethod
    def backward(ctx: Any, g: Tensor, _: Tensor) -> Any:
        x, w = ctx.saved_tensors
        return g @ w.T, x.T @ g


def _slope(u: Tensor) -> Tensor:
    t = torch.tanh(0.79788456 * u * (1 + 0.044715 * u * u))
    inner = 0.79788456 + 0.1070322243 * u * u
    return 0.5 * u * (1 - t * t) * inner + 0.5 * (1 + t)


class BiasGelu(torch.autograd.Function):
    """Its constants are rounded in a helper."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        u = x @ w
        ctx.save_for_backward(x, w)
        return 0.5 * u * (1 + torch.tanh(0.79788456 * u * (1 + 0.044715 * u * u)))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, w = ctx.saved_tensors
        du = g * _slope(x @ w)
        return du @ w.T, x.T @ du


@pytest.mark.parametrize("function", [Scaled8, BiasGelu])
def test_what_is_right_is_not_accused(function: Any) -> None:
    generator = torch.Generator().manual_seed(4)
    values = {n: torch.randn(s, generator=generator) for n, s in (("x", (4, 3)), ("w", (3, 5)))}
    report = check(function, inputs=values)
    assert report.ok, str(report)


class Bounded(torch.autograd.Function):
    """The gradient is stopped by the bounds of what is not rounded yet."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, alpha: float) -> Tensor:
        ctx.save_for_backward(w)
        ctx.alpha = alpha
        return torch.mul((w / alpha).round().clamp(-4, 3), alpha)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        q = ctx.saved_tensors[0] / ctx.alpha
        return g * (q >= -4) * (q <= 3), None


def test_bounds_may_be_taken_before_the_step() -> None:
    report = check(Bounded, inputs={"w": torch.linspace(-1.7, 1.2, 24), "alpha": 0.3})
    assert report.ok, str(report)
    assert "`(w / alpha).clamp(-4, 3).round()` stands for" in " ".join(report.notes)


class Dropped(torch.autograd.Function):
    """Its mask is another one in each precision, so that float32 and float64 are far apart."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float = 0.5) -> Tensor:
        mask = (torch.rand(x.shape) > p).to(x.dtype)
        ctx.save_for_backward(mask)
        ctx.p = p
        return x * mask / (1 - p)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g * ctx.saved_tensors[0], None


class DroppedRight(Dropped):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g * ctx.saved_tensors[0] / (1 - ctx.p), None


def test_random_numbers_are_no_rounding() -> None:
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(16))
    report = check(Dropped, inputs={"x": x, "p": 0.3})
    (row,) = report.wrong
    assert row.fix == "return g * ctx.saved_tensors[0] / (1 - ctx.p), None"
    assert check(DroppedRight, inputs={"x": x, "p": 0.3}).ok
