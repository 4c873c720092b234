"""Layers that normalise."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from gradninja.lines.modules.layers.registry import means


@means(nn.LayerNorm)
def layer_norm(self: Any, x: Tensor) -> Tensor:
    return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


@means(nn.RMSNorm)
def rms_norm(self: Any, x: Tensor) -> Tensor:
    return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)


@means(nn.GroupNorm)
def group_norm(self: Any, x: Tensor) -> Tensor:
    return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


@means(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.modules.batchnorm._BatchNorm)
def batch_norm(self: Any, x: Tensor) -> Tensor:
    # The running statistics that training writes have no gradient: they are left to the layer.
    if self.training or self.running_mean is None:
        return F.batch_norm(x, None, None, self.weight, self.bias, True, eps=self.eps)
    return F.batch_norm(
        x, self.running_mean, self.running_var, self.weight, self.bias, False, eps=self.eps
    )


@means(
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.modules.instancenorm._InstanceNorm,
)
def instance_norm(self: Any, x: Tensor) -> Tensor:
    if self.training or not self.track_running_stats:
        return F.instance_norm(x, None, None, self.weight, self.bias, eps=self.eps)
    return F.batch_norm(
        x, self.running_mean, self.running_var, self.weight, self.bias, False, eps=self.eps
    )
