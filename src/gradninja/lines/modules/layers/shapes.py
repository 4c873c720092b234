"""Layers that change a shape, or nothing, and dropout."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradninja.lines.modules.layers.registry import means, reads


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


def dropped_channels(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Dropout of whole channels."""
    if p == 0 or not training:
        return input
    first = input
    for dim in range(2, input.dim()):
        first = first.narrow(dim, 0, 1)
    mask = (torch.rand_like(first) >= p) / (1 - p)
    return input * mask


@means(nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
def channel_dropout(self: Any, x: Tensor) -> Tensor:
    return dropped_channels(x, self.p, self.training)


@reads("torch.vmap")
def vmap(func: Any, in_dims: Any = 0, out_dims: int = 0) -> Any:
    """The function on every row, and what it gives, stacked."""

    def mapped(*args: Any) -> Any:
        dims = in_dims if isinstance(in_dims, tuple) else [in_dims] * len(args)
        places = range(len(args))
        one = next(at for at in places if dims[at] is not None)
        found = [
            func(*[args[n] if dims[n] is None else args[n].select(dims[n], i) for n in places])
            for i in range(args[one].shape[dims[one]])
        ]
        if isinstance(found[0], tuple):
            return tuple([torch.stack(list(part), out_dims) for part in zip(*found)])  # noqa: B905
        return torch.stack(found, out_dims)

    return mapped


@reads("torch.utils.checkpoint.checkpoint")
def checkpoint(function: Any, *args: Any, **kwargs: Any) -> Any:
    """What is computed again in the backward is the same as what is kept."""
    return function(*args)


@means(nn.Upsample)
def upsample(self: Any, x: Tensor) -> Tensor:
    if self.size is not None:
        return F.interpolate(x, size=self.size, mode=self.mode, align_corners=self.align_corners)
    return F.interpolate(
        x, scale_factor=self.scale_factor, mode=self.mode, align_corners=self.align_corners
    )
