"""A torch.autograd.Function within a forward: its gradient is what its `backward` says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

import gradninja as gn


class Swish(Function):
    @staticmethod
    def forward(ctx: Any, i: torch.Tensor) -> torch.Tensor:
        result = i * torch.sigmoid(i)
        ctx.save_for_backward(i, result)
        return result

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> Any:
        i, result = ctx.saved_tensors
        s = torch.sigmoid(i)
        return grad_output * (s + result * (1 - s))


class Reverse(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, alpha: float) -> torch.Tensor:
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> Any:
        return grad_output.neg() * ctx.alpha, None


class Straight(Function):
    """Its backward is not its forward's derivative, on purpose, and writes in place."""

    @staticmethod
    def forward(ctx: Any, input: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(input)
        return input.sign()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        (input,) = ctx.saved_tensors
        d = g.clone()
        d[input.abs() > 1] = 0
        return d


class Affine(Function):
    """With its context set up beside, and an argument that may need no gradient."""

    @staticmethod
    def forward(x: torch.Tensor, y: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        out = x @ y
        return out if b is None else out + b

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: torch.Tensor) -> None:
        x, y, b = inputs
        ctx.save_for_backward(x, y)
        ctx.biased = b is not None

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        x, y = ctx.saved_tensors
        dx = dy = db = None
        if ctx.needs_input_grad[0]:
            dx = g @ y.T
        if ctx.needs_input_grad[1]:
            dy = x.T @ g
        if ctx.biased:
            db = g.sum(0)
        return dx, dy, db


class Parts(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> Any:
        e = x.exp()
        ctx.save_for_backward(e)
        return e, 2 * x

    @staticmethod
    def backward(ctx: Any, de: torch.Tensor, dx: torch.Tensor) -> Any:
        (e,) = ctx.saved_tensors
        return de * e + 2 * dx


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(4, 3))
        self.b = nn.Parameter(torch.randn(3))

    def forward(self, x: torch.Tensor, alpha: float = 0.5) -> torch.Tensor:
        h = Swish.apply(x)
        h = Affine.apply(h, self.w, self.b)
        a, c = Parts.apply(Reverse.apply(h, alpha))
        return (Straight.apply(a) * c).sum() + Affine.apply(x.detach(), self.w).mean()


@pytest.fixture(autouse=True)
def double() -> Any:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_the_gradient_is_what_the_function_says() -> None:
    net, x = Net(), torch.randn(5, 4, requires_grad=True)
    true = torch.autograd.grad(net(x), [x, net.w, net.b])
    given = {"x": x.detach()}
    for verb in (gn.derive, gn.fuse):
        back = verb(net, given)
        found = back(given)
        for mine, gradient in zip((found["dx"], found["w"], found["b"]), true, strict=True):
            torch.testing.assert_close(mine, gradient, rtol=1e-12, atol=1e-12)
        assert "Swish.apply(x)" in back.whole_forward
        assert gn.check(net, back.source, given).ok


def test_what_a_function_says_is_what_is_judged() -> None:
    given = {"x": torch.randn(5, 4)}
    source = gn.derive(net := Net(), given).source
    report = gn.check(net, source.replace(".neg() * alpha", " * alpha"), given)
    (wrong,) = report.wrong
    assert "-" in wrong.fix or "neg" in wrong.fix


def _applying(function: Any) -> nn.Module:
    class Applies(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return function.apply(x)

    return Applies()


class Drops(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        mask = torch.rand_like(x) > 0.5
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        (mask,) = ctx.saved_tensors
        return g * mask


class Many(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        return 2 * g, None


@pytest.mark.parametrize(
    ("function", "told"),
    [(Drops, "Drops keeps random numbers"), (Many, "Many.backward gives 2 gradients for 1 input")],
)
def test_what_cannot_be_written_in_the_arguments_is_refused(function: Any, told: str) -> None:
    with pytest.raises(gn.GradninjaError, match=told):
        gn.derive(_applying(function), torch.randn(3))
