"""What stands around published functions and modules, or says in words of Python what runs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gradninja as gn

X = torch.tensor([[0.3, -0.7, 1.1], [0.9, 0.2, -0.4]], dtype=torch.float64)
SCALE = 3.0


@torch.jit.script
def gated(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """What a compiler fuses."""
    return x * torch.sigmoid(y)


@functools.lru_cache(None)
def table(rows: int, columns: int) -> torch.Tensor:
    return torch.ones(rows, columns, dtype=torch.float64).cumsum(0)


@torch.no_grad()
def target(x: torch.Tensor) -> torch.Tensor:
    return x * SCALE


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3, dtype=torch.float64)

    def plain(self, x: torch.Tensor) -> torch.Tensor:
        h = self.fc(x)
        h = h * torch.sigmoid(x) * table(*x.shape)
        return (h - target(x)).square().mean()


class Autocast(Plain):
    @torch.autocast("cuda", enabled=True)
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.plain(x)


def compiled() -> Plain:
    """In here, as the decorator imports the compiler: 2.5 s for each process that collects."""

    class Compiled(Plain):
        @torch.compile
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast(device_type="cuda", dtype=torch.float16):
                h = gated(self.fc(x), x) * table(*x.shape)
            return (h - target(x)).square().mean()

    return Compiled()


@pytest.mark.parametrize("make", [Autocast, compiled])
def test_what_only_compiles_or_casts_elsewhere_is_read_through(make: Callable[[], Plain]) -> None:
    made = make()
    made.plain(X).backward()
    found = gn.derive(made, X)({"x": X})
    for name, parameter in made.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_a_wrapped_module_is_the_module(wrap: Any) -> None:
    made = wrap(Autocast())
    found = gn.derive(made, X)({"x": X})
    own = [name for name, _ in made.named_parameters()]
    assert all(name.endswith(("fc.weight", "fc.bias")) and name != "fc.weight" for name in own)
    for name in own:
        assert found[name] is found[name.partition(".")[2]]


class Worded(nn.Module):
    """Choices by `match`, sets and types; numbers of NumPy's; iterators; what is detached."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        lengths = torch.LongTensor([len(x)] * 3) + torch.Tensor([0.5]).to(x)
        match self.mode:
            case "tanh" | "both":
                h = x.tanh()
            case None:
                h = x
            case other if len(other) > 4:
                h = x.sin()
            case _:
                h = x.exp()
        if self.mode in {"tanh", "square"} and type(h) is torch.Tensor and callable(self.scaled):
            h = self.scaled(h)
        rows = iter(h * lengths)
        total = next(rows)
        for row in rows:
            total = total + 2 * row
        loss = total.square().mean()
        return {"loss": loss, "logged": loss.detach()}

    def scaled(self, h: torch.Tensor) -> torch.Tensor:
        return h / np.sqrt(2.0)


@pytest.mark.parametrize("mode", ["tanh", "both", "square", "exp", None])
def test_choices_in_pythons_words(mode: str) -> None:
    made, x = Worded(mode), X.clone().requires_grad_()
    made(x)["loss"].backward()
    back = gn.derive(made, X)
    assert back.scalar  # what is detached beside the loss has no gradient to hand in
    torch.testing.assert_close(back({"x": X})["dx"], x.grad, rtol=1e-12, atol=1e-12)
    both = back({"x": X}, (torch.tensor(2.0).to(X), torch.tensor(5.0).to(X)))
    torch.testing.assert_close(both["dx"], 2 * x.grad, rtol=1e-12, atol=1e-12)


def test_a_backward_with_names_of_parts_is_judged() -> None:
    """What is derived takes parts of lines by names; a buffer is given without a gradient."""
    made = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0, 1.0, 3.0], dtype=torch.float64))

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.loss = nn.Linear(3, 3, dtype=torch.float64), made

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.fc(x * x.sum(1, keepdim=True).rsqrt().nan_to_num())
            return self.loss(x.double(), torch.ones_like(x, dtype=torch.float64))

    step = Step()
    back = gn.derive(step, X)
    assert set(back.arguments) - set(gn.derive.__globals__["read_program"](step, X).values)
    report = gn.check(step, back.source, {"x": X})
    assert report.ok, str(report)
    wrong = back.source.replace("dfc_bias = ", "dfc_bias = 2 * ")
    assert not gn.check(step, wrong, {"x": X}).ok


def test_constants_of_a_file_may_come_several_in_a_line(tmp_path: Any) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\nB, T = 2, 3\nEPS: float = 1e-3\nHALF = B * T // 4\nA = C = 0.5\n"
        "B, C = T, B\nSTEP = 7\nfor STEP in range(3):\n    pass\nT += 0\n\ndef forward(x):\n"
        "    return ((x.view(B, -1) * T + EPS) ** HALF * C).sum() / A + STEP\n\n"
        "def inputs():\n    return {'x': torch.arange(6.0, dtype=torch.float64)}\n\n"
        "if __name__ == '__main__':\n    A = 0.1\n"
    )
    back = gn.derive(file)
    x = torch.arange(6.0, dtype=torch.float64)
    torch.testing.assert_close(back({"x": x})["dx"], torch.full_like(x, 3 * 2 / 0.5))
