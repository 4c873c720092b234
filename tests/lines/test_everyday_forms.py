"""Small forms that stand in many published forwards: each is read as what it means."""

from __future__ import annotations

import functools
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gradninja as gn


class Axis(IntEnum):
    rows = 0
    columns = 1


def scaled(by: float) -> Any:
    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(self: Any, *args: Any, **named: Any) -> Any:
            return by * function(self, *args, **named)

        return wrapper

    return decorate


class Forms(nn.Module):
    """Each method is a forward of its own."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.w = nn.Parameter(torch.randn(3))
        self.register_buffer("seen", torch.zeros(3))
        self.frozen = nn.Parameter(torch.randn(3), requires_grad=False)
        self.offsets = np.array([0.5, 1.0, 2.0])
        self.places = np.array([2, 0, 1], dtype=np.int64)

    def forward(self, x: torch.Tensor) -> Any:
        return getattr(self, self.form)(x)

    def numbers_beside(self, x: torch.Tensor) -> Any:
        loss = (x * self.w).sum()
        return loss, {"loss": loss.item(), "n": len(x), "norm": float(x.norm()), "note": "ok"}

    def an_enumeration(self, x: torch.Tensor) -> Any:
        return (x * self.w).sum(Axis.rows).unsqueeze(Axis.rows).transpose(Axis.rows, Axis.columns)

    def an_ellipsis(self, x: torch.Tensor) -> Any:
        return self.w[(*((None,) * (x.ndim - 1)), Ellipsis)] * x

    def an_array_held(self, x: torch.Tensor) -> Any:
        shifted = x + x.new_tensor(self.offsets).unsqueeze(0)
        return shifted * torch.from_numpy(self.offsets) * self.w[torch.as_tensor(self.places)]

    def an_array_made(self, x: torch.Tensor) -> Any:
        rows, columns = np.meshgrid(range(2), range(-1, 2), indexing="ij")
        grid = np.concatenate((rows.flatten(), columns.flatten())).reshape(2, 6)
        return torch.from_numpy(grid).type(x.dtype).sum(1)[0] * x * self.w

    def made_into(self, x: torch.Tensor) -> Any:
        places = torch.arange(0, 3, out=torch.LongTensor(3))
        return (x * self.w)[:, places.flip(0)]

    def made_of_old(self, x: torch.Tensor) -> Any:
        state = x.data.new(x.size(0), 3).zero_()
        return (state + x * self.w) * x.new([1.0, 2.0, 3.0])

    def data_written(self, x: torch.Tensor) -> Any:
        scores = x * self.w
        scores.data.masked_fill_(x > 0, -float("inf"))
        return torch.softmax(torch.cat((scores, x), 1), 1)

    def data_replaced(self, x: torch.Tensor) -> Any:
        h = x * self.w
        h.data = h.data.round()
        self.frozen.data = self.frozen.data / self.frozen.norm()
        return h * self.frozen

    def state_set(self, x: torch.Tensor) -> Any:
        name = "kept"
        setattr(self, name, x * self.w)
        self.seen = 0.9 * self.seen + 0.1 * x.mean(0).detach()
        self.frozen = nn.Parameter(self.frozen * self.seen)
        return getattr(self, name) + self.frozen

    def pieces_sliced(self, x: torch.Tensor) -> Any:
        return torch.stack(x.unbind(0)[1:]) * self.w.exp() * torch.arange(3)[:, None]

    def pieces_starred(self, x: torch.Tensor) -> Any:
        return torch.hypot(*x.chunk(2)) * self.w

    def one_part_in_several_places(self, x: torch.Tensor) -> Any:
        return torch.stack([x.exp()] * 3) * self.w * torch.arange(3)[:, None, None]

    def counted_and_paired(self, x: torch.Tensor) -> Any:
        h = x
        for i, (w, b) in enumerate(zip([self.w, self.w], [x[0], x[1]], strict=True), start=1):
            h = torch.tanh(h * w + b) * i
        return sum([h, x], start=torch.zeros(3)) * sorted([1, 3, 2], reverse=True)[0]

    @scaled(3.0)
    def decorated(self, x: torch.Tensor) -> Any:
        return x * self.w


FORMS = [n for n, v in vars(Forms).items() if callable(v) and n not in {"__init__", "forward"}]


@pytest.mark.parametrize("form", FORMS)
def test_an_everyday_form_has_autograds_gradient(form: str) -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        module, x = Forms(form), torch.randn(4, 3, requires_grad=True)
        back = gn.derive(module, {"x": x.detach()})
        found_w = module.w
        out = module(x)
        out = out[0] if isinstance(out, tuple) else out
        cotangent = torch.randn_like(out)
        true = torch.autograd.grad(out, [x, found_w], cotangent)
        if form in {"data_replaced", "state_set"}:  # what it wrote is there at its next call
            module.frozen, module.seen = _as_they_were()
        found = back({"x": x.detach()}, cotangent)
    finally:
        torch.set_default_dtype(torch.float32)
    for mine, gradient in zip((found["dx"], found["w"]), true, strict=True):
        torch.testing.assert_close(mine, gradient, rtol=1e-12, atol=1e-12)


def _as_they_were() -> tuple[nn.Parameter, torch.Tensor]:
    torch.manual_seed(0)
    made = Forms("decorated")
    return made.frozen, made.seen


def test_only_a_number_is_no_output() -> None:
    class Logs(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return x.sum().item()

    with pytest.raises(gn.GradninjaError, match="`item` is outside"):
        gn.derive(Logs(), torch.randn(3))
