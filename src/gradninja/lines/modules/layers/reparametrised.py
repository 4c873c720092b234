"""Weights that are computed before each call of their layer: weight norm, spectral norm, and what
else `torch.nn.utils.parametrize` puts in a weight's place.

Formulas: PyTorch, torch/nn/utils/{weight_norm,spectral_norm,parametrizations,parametrize}.py.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from gradninja.lines.modules.layers.registry import means, prepares


@means(ParametrizationList)
def parametrised(self: Any) -> Any:
    if self.is_tensor:
        x = self[0](self.original)
    else:
        x = self[0](*[getattr(self, f"original{i}") for i in range(self.ntensors)])
    for further in list(self)[1:]:
        x = further(x)
    return x


def scaled(v: Tensor, g: Tensor, dim: int) -> Any:
    """v with the length g along all axes but `dim`; -1 stands for none."""
    if dim == -1:
        return v * (g / v.norm())
    if v.ndim == 1:
        return v * (g / v.abs())
    return v * (g / v.norm(dim=[d for d in range(v.ndim) if d != dim], keepdim=True))


@means(parametrizations._WeightNorm)
def weight_norm(self: Any, weight_g: Tensor, weight_v: Tensor) -> Any:
    return scaled(weight_v, weight_g, self.dim)


@prepares(WeightNorm)
def weight_norm_hook(self: Any, module: Any) -> Any:
    v = getattr(module, self.name + "_v")
    g = getattr(module, self.name + "_g")
    return scaled(v, g, self.dim)


def rows(weight: Tensor, dim: int) -> Tensor:
    """A weight as a matrix with a row for each place along `dim`."""
    if dim != 0:
        weight = weight.permute(dim, *[d for d in range(weight.ndim) if d != dim])
    return weight.flatten(1) if weight.ndim > 2 else weight


@means(parametrizations._SpectralNorm)
def spectral_norm(self: Any, weight: Tensor) -> Any:
    if weight.ndim == 1:
        return F.normalize(weight, dim=0, eps=self.eps)
    matrix = rows(weight, self.dim)
    if self.training:
        with torch.no_grad():
            for _ in range(self.n_power_iterations):
                self._u = F.normalize(torch.mv(matrix, self._v), dim=0, eps=self.eps)
                self._v = F.normalize(torch.mv(matrix.T, self._u), dim=0, eps=self.eps)
    return weight / torch.dot(self._u, torch.mv(matrix, self._v))


@prepares(SpectralNorm)
def spectral_norm_hook(self: Any, module: Any) -> Any:
    weight = getattr(module, self.name + "_orig")
    u = getattr(module, self.name + "_u")
    v = getattr(module, self.name + "_v")
    matrix = rows(weight, self.dim)
    if module.training:
        with torch.no_grad():
            for _ in range(self.n_power_iterations):
                v = F.normalize(torch.mv(matrix.T, u), dim=0, eps=self.eps)
                u = F.normalize(torch.mv(matrix, v), dim=0, eps=self.eps)
        setattr(module, self.name + "_u", u)
        setattr(module, self.name + "_v", v)
    return weight / torch.dot(u, torch.mv(matrix, v))
