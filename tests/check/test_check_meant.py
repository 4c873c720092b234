"""Gradients that differ from the forward's on purpose: taken as what they mean, and not accused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gradninja.check import BackwardWrong, Report, Verdict, assert_backward, check

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(2))


class Ternary(torch.autograd.Function):
    """Steps by `torch.where`, as ternary weight networks have them."""

    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        delta = 0.7 * w.abs().mean()
        return torch.where(w > delta, 1.0, torch.where(w < -delta, -1.0, 0.0))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g


class TopK(torch.autograd.Function):
    """The largest of a row, as a mask that is learnt through."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        idx = scores.topk(2, dim=-1).indices
        return torch.zeros_like(scores).scatter(-1, idx, 1.0)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g


class Window(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g.masked_fill(ctx.saved_tensors[0].abs() > 1, 0)


@pytest.mark.parametrize("function", [Ternary, TopK, Window])
def test_steps_that_the_gradient_goes_through_are_judged_so(function: Any) -> None:
    (name,) = ["scores"] if function is TopK else ["w"] if function is Ternary else ["x"]
    report = check(function, inputs={name: X})
    assert [row.verdict for row in report.lines] == [Verdict.EXACT], str(report)
    assert not report.not_looked_at
    kept = f"{name}.clamp(-1, 1)" if function is Window else name
    assert f"taken as `{kept} + (torch." in report.notes[-1]
    assert f"- {kept}).detach()`" in report.notes[-1]
    assert "is taken times" not in report.notes[-1]


class Nearest(torch.autograd.Function):
    """Vector quantisation: the codes' gradient is the forward's, what is looked up has none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor) -> Tensor:
        apart = (x**2).sum(1, keepdim=True) + (codes**2).sum(1) - 2 * x @ codes.t()
        ix = apart.min(dim=1)[1]
        ctx.save_for_backward(ix, codes)
        return codes.index_select(0, ix)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        ix, codes = ctx.saved_tensors
        return g.clone(), torch.zeros_like(codes).index_add_(0, ix, g)


class NearestLost(Nearest):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        ix, codes = ctx.saved_tensors
        dcodes = torch.zeros_like(codes)
        dcodes[ix] = g
        return g.clone(), dcodes


def test_what_is_looked_up_may_be_passed_through() -> None:
    values = {"x": X, "codes": X[:3] + 0.1}
    report = check(Nearest, inputs=values)
    assert report.ok, str(report)
    assert not any(row.verdict == Verdict.MEANT for row in report.lines)
    (row,) = check(NearestLost, inputs=values).wrong
    assert (row.name, row.kind) == ("dcodes", "lost repeats")


class Spike(torch.autograd.Function):
    """A spiking neuron's surrogate slope."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.alpha = alpha
        return (x > 0).float()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        s = torch.sigmoid(ctx.alpha * ctx.saved_tensors[0])
        return g * ctx.alpha * s * (1 - s), None


class Gumbel(torch.autograd.Function):
    """A one-hot draw on the way there, the softmax's gradient on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tau: float) -> Tensor:
        noise = -torch.empty_like(x).exponential_().log()
        soft = ((x + noise) / tau).softmax(-1)
        ctx.save_for_backward(soft)
        ctx.tau = tau
        return torch.zeros_like(x).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (soft,) = ctx.saved_tensors
        return soft * (g - (g * soft).sum(-1, keepdim=True)) / ctx.tau, None


def _meant(report: Report, name: str) -> bool:
    row = next(row for row in report.lines if row.name == name)
    return row.verdict == Verdict.MEANT and f"whether {name} is what is meant" in (
        report.not_looked_at
    )


@pytest.mark.parametrize("function", [Spike, Gumbel])
def test_a_surrogate_slope_is_not_accused(function: Any) -> None:
    name = "alpha" if function is Spike else "tau"
    report = check(function, inputs={"x": X, name: 4.0})
    assert report.ok and _meant(report, "dx"), str(report)


class Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.sign(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return -g


def test_a_gradient_that_is_turned_around_is_no_slope_of_its_own() -> None:
    (row,) = check(Turned, inputs={"x": X}).wrong
    assert (row.kind, row.fix) == ("sign", "return g")


class Center(torch.autograd.Function):
    """Center loss: the centers move by a rule of their own, whatever the loss is multiplied by."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, label: Tensor, centers: Tensor) -> Tensor:
        ctx.save_for_backward(x, label, centers)
        return (x - centers.index_select(0, label)).pow(2).sum() / 2.0 / len(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, label, centers = ctx.saved_tensors
        diff = centers.index_select(0, label) - x
        counts = centers.new_ones(len(centers)).scatter_add_(0, label, x.new_ones(len(x)))
        moves = torch.zeros_like(centers).index_add_(0, label, diff)
        return -g * diff / len(x), None, moves / counts.view(-1, 1)


class CenterMissing(Center):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        dx, _, moves = Center.backward(ctx, g)
        return dx * len(dx), None, moves


@pytest.mark.parametrize(("function", "wrong"), [(Center, []), (CenterMissing, ["dx"])])
def test_an_update_of_its_own_is_no_gradient(function: Any, wrong: list[str]) -> None:
    values = {"x": X, "label": torch.tensor([0, 2, 2, 1]), "centers": X[:3] + 0.1}
    report = check(function, inputs=values)
    assert [row.name for row in report.wrong] == wrong, str(report)
    assert _meant(report, "dcenters")


class Rotated(torch.autograd.Function):
    """What is returned is complex: its numbers are no steps."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(z, b)
        return z * b

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        z, b = ctx.saved_tensors
        return g * b, (g * z).real.sum(0)


def test_a_complex_output_takes_no_steps() -> None:
    z = torch.complex(X, X.flip(0))
    report = check(Rotated, inputs={"z": z, "b": X[0].clone()})
    (row,) = report.wrong
    assert row.name == "db" and row.fix is not None and ".conj()" in row.fix, str(report)


class Learnt(torch.autograd.Function):
    """LSQ: the step's gradient is times a number that the forward does nothing with."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, alpha: Tensor, g: float) -> Tensor:
        ctx.save_for_backward(w, alpha)
        ctx.g = g
        return (w / alpha).round().clamp(-4, 3) * alpha

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        w, alpha = ctx.saved_tensors
        q = w / alpha
        low, high = (q < -4).float(), (q > 3).float()
        mid = 1.0 - low - high
        dalpha = ((low * -4 + high * 3 + mid * (q - q.round())) * grad * ctx.g).sum().view(1)
        return mid * grad, dalpha, None


def test_a_scaled_gradient_is_mended_as_a_whole() -> None:
    values = {"w": 2 * X, "alpha": torch.tensor([0.5]), "g": 0.13}
    (row,) = check(Learnt, inputs=values).wrong
    assert row.fix is not None and "- mid * (q - q.round())" in row.fix
    assert "is meant" not in " ".join(row.notes)  # it is settled


class Stepped(Learnt):
    """The same, right."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        w, alpha = ctx.saved_tensors
        q = w / alpha
        low, high = (q < -4).float(), (q > 3).float()
        mid = 1.0 - low - high
        dalpha = ((low * -4 + high * 3 + mid * (q.round() - q)) * grad * ctx.g).sum().view(1)
        return mid * grad, dalpha, None


def test_a_number_that_a_gradient_is_taken_times_is_told() -> None:
    report = check(Stepped, inputs={"w": 2 * X, "alpha": torch.tensor([0.5]), "g": 0.13})
    assert report.ok and report.notes[-1].endswith("; dalpha is taken times `g`")


class Matrices(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, w = ctx.saved_tensors
        return g @ w.T, x.T @ g


def test_assert_backward_asks_under_conditions() -> None:
    values = {"x": X, "w": X.T.contiguous()}
    assert_backward(Matrices, inputs=values)
    with pytest.raises(BackwardWrong, match="autocast to bfloat16"):
        assert_backward(Matrices, inputs=values, under=["autocast"])


BINARIZE = """
import torch


class Binarize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x.abs() <= 1)
"""


@pytest.mark.parametrize("slope", ["(x.abs() <= 1)", "1", "(1 / (1 + x.abs()) ** 2)"])
def test_a_slope_across_steps_is_meant_and_its_sign_turned_is_not(
    slope: str, tmp_path: Path
) -> None:
    file = tmp_path / "binarize.py"
    right = BINARIZE.replace("(x.abs() <= 1)", slope)
    file.write_text(right)
    assert check(file).ok
    file.write_text(right.replace("return grad", "return -grad"))
    report = check(file)
    assert not report.ok and any("the sign of dx is wrong" in note for note in report.notes)
