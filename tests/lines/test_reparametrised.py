"""Weights that are computed before each call of their layer, held to autograd on the layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import spectral_norm as spectral_norm_of_old
from torch.nn.utils import weight_norm as weight_norm_of_old

import gradninja as gn

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


class Symmetric(nn.Module):
    """The tutorial's own."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return X.triu() + X.triu(1).transpose(-1, -2)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = spectral_norm_of_old(nn.Linear(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.fc(x).tanh()).sum()  # the hook has run twice


def _symmetric(layer: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", Symmetric())
    return layer


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "weight norm": (lambda: weight_norm_of_old(nn.Conv1d(4, 3, 2)), (2, 4, 5)),
    "of another axis": (lambda: weight_norm_of_old(nn.ConvTranspose1d(4, 3, 2), dim=1), (2, 4, 5)),
    "of all": (lambda: weight_norm_of_old(nn.Linear(4, 3), dim=None), (2, 4)),
    "of a bias": (lambda: weight_norm_of_old(nn.Linear(4, 3), name="bias"), (2, 4)),
    "weight norm anew": (lambda: parametrizations.weight_norm(nn.Linear(4, 3)), (2, 4)),
    "spectral norm": (lambda: spectral_norm_of_old(nn.Conv2d(4, 3, 2)), (2, 4, 3, 3)),
    "transposed": (lambda: spectral_norm_of_old(nn.ConvTranspose1d(4, 3, 2)), (2, 4, 5)),
    "at rest": (lambda: spectral_norm_of_old(nn.Linear(4, 3)).eval(), (2, 4)),
    "spectral norm anew": (lambda: parametrizations.spectral_norm(nn.Conv1d(4, 3, 2)), (2, 4, 5)),
    "of a vector": (lambda: parametrizations.spectral_norm(nn.LayerNorm(4), "bias"), (2, 4)),
    "several steps": (
        lambda: parametrizations.spectral_norm(nn.Linear(4, 3), n_power_iterations=3),
        (2, 4),
    ),
    "orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(4, 4)), (2, 4)),
    "by reflections": (lambda: parametrizations.orthogonal(nn.Linear(4, 3)), (2, 4)),
    "by Cayley": (
        lambda: parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map="cayley"),
        (2, 4),
    ),
    "one's own": (lambda: _symmetric(nn.Linear(4, 4)), (2, 4)),
    "two": (lambda: _symmetric(parametrizations.spectral_norm(nn.Linear(4, 4))), (2, 4)),
    "twice": (Twice, (2, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_computed_weight_has_autograds_gradient(name: str) -> None:
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer = make().double()
    if name == "of a vector":
        with torch.no_grad():
            layer.parametrizations.bias.original.normal_()  # of zeros there is no direction
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    twin = make().double().train(layer.training)  # training moves its vectors on
    twin.load_state_dict(layer.state_dict())
    out = twin(x)
    cotangent = torch.randn_like(out)
    true = torch.autograd.grad(out, [x, *twin.parameters()], cotangent)
    torch.set_default_dtype(torch.float64)
    try:
        back = gn.derive(layer, {_first(layer): x.detach()})
    finally:
        torch.set_default_dtype(torch.float32)
    found = back({_first(layer): x.detach()}, cotangent)
    torch.testing.assert_close(found[f"d{_first(layer)}"], true[0], rtol=1e-11, atol=1e-12)
    for (path, _), gradient in zip(layer.named_parameters(), true[1:], strict=True):
        torch.testing.assert_close(found[path], gradient, rtol=1e-11, atol=1e-12)


def _first(layer: nn.Module) -> str:
    return "x" if isinstance(layer, Twice) else "input"
