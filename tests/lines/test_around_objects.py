"""What forwards do with objects: copies, lists that they keep, tensors of their file."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradninja as gn


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(2147483647)


def same(made: Any, *given: torch.Tensor) -> gn.Backward:
    """What is derived is autograd's on the person's own object, for its parameters too."""
    back = gn.derive(made, given)
    live = back.program.live
    assert live is not None
    names = [i.name for i in back.program.inputs if i.name not in live.tensors]
    leaves = [t.clone().requires_grad_() for t in given]
    wanted = {n: t for n, t in live.tensors.items() if n in back.program.differentiable}
    out = made(*leaves)
    grad = torch.randn_like(out)
    true = torch.autograd.grad(out, [*leaves, *wanted.values()], grad)
    found = back(dict(zip(names, given, strict=True)), grad)
    for name, want in zip([*names, *wanted], true, strict=True):
        torch.testing.assert_close(found[f"d{name}"], want, rtol=1e-10, atol=1e-11)
    return back


def doubles(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


class Grids(nn.Module):
    """A detection head keeps a grid for each scale, made when first seen."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = [torch.empty(0) for _ in range(2)]
        self.stride = torch.tensor([8.0, 16.0])
        self.last = {"seen": [torch.zeros(1)]}

    def make(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.arange(n).double(), torch.full((n,), 2.0).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x.sum()
        for i in range(2):
            if self.grid[i].shape != x.shape[1:]:
                self.grid[i], _ = self.make(x.shape[1])
            self.last["seen"][0] = x * self.stride[i]
            total = total + ((x.sigmoid() * 2 + self.grid[i]) * self.last["seen"][0]).sum()
        return total


def test_what_is_written_into_an_object_s_list_is_read_from_it() -> None:
    same(Grids(), doubles(2, 3))


class Twins(nn.Module):
    """The target network is a copy that is made in the first forward."""

    def __init__(self) -> None:
        super().__init__()
        self.online = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
        self.target: nn.Module | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.target is None:
            self.target = copy.deepcopy(self.online)
            for p in self.target.parameters():
                p.requires_grad = False
        aim = self.target(x)
        before = copy.deepcopy([aim.detach()])[0]
        return F.mse_loss(self.online(x), aim.detach()) + (before * aim).sum()


def test_a_network_that_is_copied_is_another_one() -> None:
    back = same(Twins(), doubles(5, 3))
    assert set(back.program.differentiable) >= {"online_0_weight", "online_2_bias"}


class Locked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.fc.lock = Lock()  # type: ignore[assignment]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return copy.deepcopy(self.fc)(x)  # type: ignore[no-any-return]


def test_what_cannot_be_copied_is_told() -> None:
    with pytest.raises(gn.GradninjaError, match=r"this cannot be copied: cannot pickle"):
        gn.derive(Locked(), torch.randn(2, 3))


alphas = torch.linspace(1.0, 0.1, 6).cumprod(0)
gain = nn.Parameter(torch.tensor([0.5, -1.5], dtype=torch.float64))


def extract(a: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return a.gather(-1, t)[:, None]


class Scheduled(nn.Module):
    """A schedule stands beside the class, and a parameter that it does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        noisy = extract(alphas.sqrt(), torch.tensor([1, 4])) * x
        return self.fc(noisy) * gain


def test_tensors_of_a_file_beside_its_classes_are_inputs() -> None:
    was = alphas.clone()
    back = same(Scheduled(), doubles(2, 2))
    assert "gain" in back.program.differentiable and "alphas" not in back.program.differentiable
    assert "alphas" in back.whole_forward
    assert alphas.equal(was) and alphas.dtype == torch.float32  # nothing of the file is changed


class Kernels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("projection", doubles(4, 3))

    def feature(self, x: torch.Tensor, *, projection: torch.Tensor, query: bool) -> torch.Tensor:
        return (x @ projection.T).exp() * (2 if query else 1)

    def forward(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        kernel = partial(self.feature, projection=self.projection * 0.5)
        scaled = partial(torch.mul, k.mean())
        return kernel(q, query=True) @ scaled(kernel(k, query=False)).T


def test_a_function_with_some_of_its_arguments() -> None:
    same(Kernels(), doubles(2, 3), doubles(5, 3))


class Windows(nn.Module):
    """Places that have names: slices in a tuple, a tuple of positions, a list of them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros_like(x)
        for i, rows in enumerate((slice(0, -2), slice(-2, None))):
            for columns in (slice(0, 1), slice(1, None, 2)):
                mask[rows, columns] = x[rows, columns] * (i + 1)
        place = (torch.tensor([0, 2]), torch.tensor([1, 0]))
        mask[place] = x[place].sin()
        mask[[1, 3]] = x[[3, 1]].exp()
        axes = [1, 0, *range(2, x.ndim)]
        turned = mask.permute([1, 0] + list(range(2, len(mask.shape))))  # noqa: RUF005
        return turned * x.permute(axes)


def test_places_that_have_names() -> None:
    back = same(Windows(), doubles(4, 3))
    assert "slice(" not in back.whole_forward


class Asking(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = torch.promote_types(torch.get_default_dtype(), torch.float64)
        if torch.jit.is_scripting() or torch.onnx.is_in_onnx_export() or not x.requires_grad:
            raise RuntimeError("not here")
        with torch.no_grad():
            graded = torch.is_grad_enabled()
        x.requires_grad_(True)
        return x * torch.ones(3, dtype=wide) * (1 + graded)


def test_what_only_asks_how_the_program_runs() -> None:
    back = same(Asking(), doubles(2, 3))
    assert len(back.lines) == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("u = torch.autograd.grad(x.sum(), x, create_graph=True)[0]", "of second order"),
        ("u = torch.func.grad(lambda v: v.sum())(x)", "of second order"),
        ("u = x.requires_grad_(False)", "`wrt=` says which gradients are wanted"),
    ],
)
def test_second_order_is_refused_in_words(line: str, told: str) -> None:
    text = f"import torch\ndef forward(x):\n    {line}\n    return (u * x).sum()\n"
    with pytest.raises(gn.GradninjaError, match=told) as caught:
        gn.derive(text, {"x": doubles(3)})
    assert "line 3" in str(caught.value) and "^" in str(caught.value)


class Value:
    def __init__(self, data: float) -> None:
        self.data, self.grad = data, 0.0


def test_a_scalar_with_a_gradient_of_its_own_is_told_what_to_be() -> None:
    def forward(a, b):  # type: ignore[no-untyped-def]
        return a * b + a

    with pytest.raises(gn.GradninjaError, match=r"a Value keeps its own .*`torch.tensor\(2.0\)`"):
        gn.derive(forward, {"a": Value(2.0), "b": Value(-3.0)})
    assert "da" in gn.derive(forward, {"a": torch.tensor(2.0), "b": torch.tensor(-3.0)}).source


DRAWN = """
import numpy as np
rng = np.random.default_rng(0)

def forward(x):
    keep = rng.random(x.shape) > 0.5
    noise = rng.normal(size=x.shape)
    return x * keep / 0.5 + noise * x

def backward(x, keep, noise, dout):
    dx = dout * keep / 0.5 + dout * noise
    return dx

def inputs():
    return rng.standard_normal((3, 2))
"""


def test_a_file_s_generator_draws_and_inputs_come_by_place(tmp_path: Path) -> None:
    path = tmp_path / "drawn.py"
    path.write_text(DRAWN)
    assert "keep" in gn.derive(path).arguments
    assert gn.check(path).ok
    path.write_text(DRAWN.replace("+ dout * noise", "+ dout"))
    assert not gn.check(path).ok
