"""Layers that pool or pad."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradninja.lines.modules.layers.registry import means, reads


@means(nn.MaxPool1d)
def max_pool1d(self: Any, x: Tensor) -> Tensor:
    return F.max_pool1d(
        x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
    )


@means(nn.MaxPool2d)
def max_pool2d(self: Any, x: Tensor) -> Tensor:
    return F.max_pool2d(
        x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
    )


@means(nn.AvgPool1d)
def avg_pool1d(self: Any, x: Tensor) -> Tensor:
    return F.avg_pool1d(
        x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
    )


@means(nn.AvgPool2d)
def avg_pool2d(self: Any, x: Tensor) -> Tensor:
    return F.avg_pool2d(
        x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
    )


@means(nn.AdaptiveAvgPool1d)
def adaptive_avg_pool1d(self: Any, x: Tensor) -> Tensor:
    return F.adaptive_avg_pool1d(x, self.output_size)


@means(nn.AdaptiveAvgPool2d)
def adaptive_avg_pool2d(self: Any, x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, self.output_size)


@means(nn.LPPool1d)
def lp_pool1d_layer(self: Any, x: Tensor) -> Tensor:
    return F.lp_pool1d(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)


@means(nn.LPPool2d)
def lp_pool2d_layer(self: Any, x: Tensor) -> Tensor:
    return F.lp_pool2d(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)


@reads("F.lp_pool1d")
def lp_pool1d(
    input: Tensor, norm_type: Any, kernel_size: int, stride: Any = None, ceil_mode: bool = False
) -> Any:
    mean = F.avg_pool1d(input**norm_type, kernel_size, stride, 0, ceil_mode)
    return (F.relu(torch.abs(mean)) * torch.sign(mean) * kernel_size) ** (1.0 / norm_type)


@reads("F.lp_pool2d")
def lp_pool2d(
    input: Tensor, norm_type: Any, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Any:
    kh, kw = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
    mean = F.avg_pool2d(input**norm_type, kernel_size, stride, 0, ceil_mode)
    return (F.relu(torch.abs(mean)) * torch.sign(mean) * (kh * kw)) ** (1.0 / norm_type)


@means(nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d)
def constant_pad(self: Any, x: Tensor) -> Tensor:
    return F.pad(x, self.padding, value=self.value)
