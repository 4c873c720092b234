"""Layers that change a shape, or nothing, and dropout."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradninja.lines.modules.layers.table import means, reads


@means(nn.Identity)
def identity(self: Any, x: Tensor) -> Tensor:
    return x


@means(nn.Flatten)
def flatten(self: Any, x: Tensor) -> Tensor:
    return x.flatten(self.start_dim, self.end_dim)


@means(nn.Unflatten)
def unflatten(self: Any, x: Any) -> Any:
    return x.unflatten(self.dim, self.unflattened_size)


@means(nn.Sequential)
def sequential(self: Any, x: Any) -> Any:
    for layer in self:
        x = layer(x)
    return x


@reads("F.dropout")
def dropped_out(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Dropout with its mask as a line: the backward takes the mask that the forward drew."""
    if p == 0 or not training:
        return input
    mask = (torch.rand_like(input) >= p) / (1 - p)
    return input * mask


@means(nn.Dropout)
def dropout(self: Any, x: Tensor) -> Tensor:
    return F.dropout(x, self.p, self.training)


@reads("torch.utils.checkpoint.checkpoint")
def checkpoint(function: Any, *args: Any, **kwargs: Any) -> Any:
    """What is computed again in the backward is the same as what is kept."""
    return function(*args)
