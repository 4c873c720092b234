"""Activations."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradninja.lines.modules.layers.registry import means


@means(nn.ReLU)
def relu(self: Any, x: Tensor) -> Tensor:
    return F.relu(x, inplace=self.inplace)


@means(nn.ReLU6)
def relu6(self: Any, x: Tensor) -> Tensor:
    return F.relu6(x, inplace=self.inplace)


@means(nn.LeakyReLU)
def leaky_relu(self: Any, x: Tensor) -> Tensor:
    return F.leaky_relu(x, self.negative_slope, inplace=self.inplace)


@means(nn.PReLU)
def prelu(self: Any, x: Tensor) -> Any:
    if self.num_parameters == 1:
        return torch.where(x > 0, x, self.weight * x)
    per_channel = self.weight.reshape(-1, *[1 for _ in range(x.dim() - 2)])
    return torch.where(x > 0, x, per_channel * x)


@means(nn.ELU)
def elu(self: Any, x: Tensor) -> Tensor:
    return F.elu(x, self.alpha, inplace=self.inplace)


@means(nn.SELU)
def selu(self: Any, x: Tensor) -> Tensor:
    return 1.0507009873554804934193349852946 * F.elu(x, 1.6732632423543772848170429916717)


@means(nn.CELU)
def celu(self: Any, x: Tensor) -> Any:
    return self.alpha * F.elu(x / self.alpha)


@means(nn.GELU)
def gelu(self: Any, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=self.approximate)


@means(nn.SiLU)
def silu(self: Any, x: Tensor) -> Tensor:
    return F.silu(x, inplace=self.inplace)


@means(nn.Mish)
def mish(self: Any, x: Tensor) -> Tensor:
    return F.mish(x, inplace=self.inplace)


@means(nn.Hardswish)
def hardswish(self: Any, x: Tensor) -> Tensor:
    return x * F.relu6(x + 3) / 6


@means(nn.Hardsigmoid)
def hardsigmoid(self: Any, x: Tensor) -> Tensor:
    return F.relu6(x + 3) / 6


@means(nn.Hardtanh)
def hardtanh(self: Any, x: Tensor) -> Tensor:
    return F.hardtanh(x, self.min_val, self.max_val, inplace=self.inplace)


@means(nn.Softplus)
def softplus(self: Any, x: Tensor) -> Tensor:
    return F.softplus(x, self.beta, self.threshold)


@means(nn.Softsign)
def softsign(self: Any, x: Tensor) -> Tensor:
    return F.softsign(x)


@means(nn.Tanh)
def tanh(self: Any, x: Tensor) -> Tensor:
    return torch.tanh(x)


@means(nn.Sigmoid)
def sigmoid(self: Any, x: Tensor) -> Tensor:
    return torch.sigmoid(x)


@means(nn.LogSigmoid)
def log_sigmoid(self: Any, x: Tensor) -> Tensor:
    return F.logsigmoid(x)


@means(nn.Softmax)
def softmax(self: Any, x: Tensor) -> Tensor:
    return F.softmax(x, dim=self.dim)


@means(nn.LogSoftmax)
def log_softmax(self: Any, x: Tensor) -> Tensor:
    return F.log_softmax(x, dim=self.dim)


@means(nn.GLU)
def glu(self: Any, x: Tensor) -> Tensor:
    value, gate = x.chunk(2, self.dim)
    return value * torch.sigmoid(gate)
