"""Layers that multiply: linear, bilinear, embedding, convolutions."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradninja.lines.modules.layers.table import means


@means(nn.Linear)
def linear(self: Any, x: Tensor) -> Tensor:
    if self.bias is None:
        return F.linear(x, self.weight)
    return F.linear(x, self.weight, self.bias)


@means(nn.Bilinear)
def bilinear(self: Any, x: Tensor, y: Tensor) -> Tensor:
    product = torch.einsum("...i,oij,...j->...o", x, self.weight, y)
    return product if self.bias is None else product + self.bias


@means(nn.Embedding)
def embedding(self: Any, index: Tensor) -> Tensor:
    if self.max_norm is None and not (self.scale_grad_by_freq or self.sparse):
        if self.padding_idx is None:
            return F.embedding(index, self.weight)
        return F.embedding(index, self.weight, self.padding_idx)
    return F.embedding(
        index,
        self.weight,
        self.padding_idx,
        self.max_norm,
        self.norm_type,
        self.scale_grad_by_freq,
        self.sparse,
    )


def _padded(self: Any, x: Tensor) -> Tensor:
    return F.pad(x, tuple(self._reversed_padding_repeated_twice), mode=self.padding_mode)


@means(nn.Conv1d)
def conv1d(self: Any, x: Tensor) -> Tensor:
    if self.padding_mode != "zeros":
        return F.conv1d(
            _padded(self, x), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )
    return F.conv1d(
        x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
    )


@means(nn.Conv2d)
def conv2d(self: Any, x: Tensor) -> Tensor:
    if self.padding_mode != "zeros":
        return F.conv2d(
            _padded(self, x), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )
    return F.conv2d(
        x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
    )


@means(nn.Conv3d)
def conv3d(self: Any, x: Tensor) -> Tensor:
    return F.conv3d(
        x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
    )


@means(nn.ConvTranspose1d)
def conv_transpose1d(self: Any, x: Tensor) -> Tensor:
    return F.conv_transpose1d(
        x,
        self.weight,
        self.bias,
        self.stride,
        self.padding,
        self.output_padding,
        self.groups,
        self.dilation,
    )


@means(nn.ConvTranspose2d)
def conv_transpose2d(self: Any, x: Tensor) -> Tensor:
    return F.conv_transpose2d(
        x,
        self.weight,
        self.bias,
        self.stride,
        self.padding,
        self.output_padding,
        self.groups,
        self.dilation,
    )
