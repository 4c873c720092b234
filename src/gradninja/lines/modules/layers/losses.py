"""Losses."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from gradninja.lines.modules.layers.registry import means


@means(nn.CrossEntropyLoss)
def cross_entropy(self: Any, x: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(
        x,
        target,
        weight=self.weight,
        ignore_index=self.ignore_index,
        reduction=self.reduction,
        label_smoothing=self.label_smoothing,
    )


@means(nn.NLLLoss)
def nll_loss(self: Any, x: Tensor, target: Tensor) -> Tensor:
    return F.nll_loss(
        x, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction
    )


@means(nn.MSELoss)
def mse_loss(self: Any, x: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(x, target, reduction=self.reduction)


@means(nn.L1Loss)
def l1_loss(self: Any, x: Tensor, target: Tensor) -> Tensor:
    return F.l1_loss(x, target, reduction=self.reduction)


@means(nn.SmoothL1Loss)
def smooth_l1_loss(self: Any, x: Tensor, target: Tensor) -> Tensor:
    return F.smooth_l1_loss(x, target, reduction=self.reduction, beta=self.beta)


@means(nn.HuberLoss)
def huber_loss(self: Any, x: Tensor, target: Tensor) -> Tensor:
    return F.huber_loss(x, target, reduction=self.reduction, delta=self.delta)


@means(nn.BCELoss)
def binary_cross_entropy(self: Any, x: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy(x, target, weight=self.weight, reduction=self.reduction)


@means(nn.BCEWithLogitsLoss)
def binary_cross_entropy_with_logits(self: Any, x: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(
        x, target, weight=self.weight, reduction=self.reduction, pos_weight=self.pos_weight
    )


@means(nn.KLDivLoss)
def kl_div(self: Any, x: Tensor, target: Tensor) -> Tensor:
    return F.kl_div(x, target, reduction=self.reduction, log_target=self.log_target)


@means(nn.CosineSimilarity)
def cosine_similarity(self: Any, a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a, b, self.dim, self.eps)
