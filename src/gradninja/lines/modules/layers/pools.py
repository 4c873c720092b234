"""Layers that pool or pad."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from gradninja.lines.modules.layers.table import means


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


@means(nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d)
def constant_pad(self: Any, x: Tensor) -> Tensor:
    return F.pad(x, self.padding, value=self.value)
