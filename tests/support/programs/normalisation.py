# ruff: noqa: RET504 - written as people write it
"""Normalisation layers, by hand and through the library, and gradient-sized odds and ends."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def layernorm_by_hand(
    x: Float[Tensor, "n t d"], weight: Float[Tensor, "d"], bias: Float[Tensor, "d"]
):
    """Ba et al. 2016, as in any tutorial on transformers."""
    mean = x.mean(-1, keepdim=True)
    var = x.var(-1, keepdim=True, unbiased=False)
    xhat = (x - mean) / torch.sqrt(var + 1e-5)
    return weight * xhat + bias


def layernorm_saved_rstd(
    x: Float[Tensor, "n t d"], weight: Float[Tensor, "d"], bias: Float[Tensor, "d"]
):
    """The form of C implementations (llm.c), the reciprocal deviation a value of its own."""
    mean = x.sum(-1, keepdim=True) / x.size(-1)
    xshift = x - mean
    var = (xshift**2).sum(-1, keepdim=True) / x.size(-1)
    rstd = (var + 1e-5) ** -0.5
    norm = xshift * rstd
    out = norm * weight + bias
    return out


def layernorm_library(
    x: Float[Tensor, "n t d"], weight: Float[Tensor, "d"], bias: Float[Tensor, "d"]
):
    """One call."""
    return F.layer_norm(x, (x.shape[-1],), weight, bias, eps=1e-6)


def layernorm_two_axes(x: Float[Tensor, "n t d"], weight: Float[Tensor, "t d"]):
    """Normalised over the last two axes, with no bias."""
    return F.layer_norm(x, weight.shape, weight)


def rmsnorm_by_hand(x: Float[Tensor, "n t d"], weight: Float[Tensor, "d"]):
    """Zhang and Sennrich 2019, as in Llama."""
    norm = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
    return norm * weight


def rmsnorm_library(x: Float[Tensor, "n t d"], weight: Float[Tensor, "d"]):
    """One call."""
    return F.rms_norm(x, (x.shape[-1],), weight, 1e-6)


def groupnorm_by_hand(
    x: Float[Tensor, "n 2*group h w"],
    weight: Float[Tensor, "2*group"],
    bias: Float[Tensor, "2*group"],
):
    """Wu and He 2018, two groups, as in diffusion networks."""
    n, c, h, w = x.shape
    grouped = x.view(n, 2, c // 2, h, w)
    mean = grouped.mean(dim=(2, 3, 4), keepdim=True)
    var = grouped.var(dim=(2, 3, 4), keepdim=True, correction=0)
    grouped = (grouped - mean) / (var + 1e-5).sqrt()
    x = grouped.view(n, c, h, w)
    return x * weight.view(1, -1, 1, 1) + bias[None, :, None, None]


def instancenorm_by_hand(x: Float[Tensor, "n c h w"]):
    """Ulyanov et al. 2016, style transfer."""
    flat = x.flatten(2)
    mean, std = flat.mean(-1), flat.std(-1, correction=0)
    out = (flat - mean.unsqueeze(-1)) / (std.unsqueeze(-1) + 1e-5)
    return out.unflatten(2, x.shape[2:])


def standardise_columns(x: Float[Tensor, "n d"]):
    """Whitening without rotation, as before any regression."""
    return (x - x.mean(dim=0)) / x.std(dim=0)


def min_max_scale(x: Float[Tensor, "n d"]):
    """Scaling every column to 0..1."""
    low = x.min(dim=0, keepdim=True)[0]
    high, _ = torch.max(x, 0, keepdim=True)
    return (x - low) / (high - low)


def unit_rows(x: Float[Tensor, "n d"]):
    """Rows of length one, as before a cosine."""
    return x / x.norm(dim=1, keepdim=True).clamp(min=1e-8)


def weight_norm_linear(
    x: Float[Tensor, "n d"],
    v: Float[Tensor, "out d"],
    g: Float[Tensor, "out"],
    bias: Float[Tensor, "out"],
):
    """Salimans and Kingma 2016."""
    w = g[:, None] * v / v.norm(dim=1, keepdim=True)
    return F.linear(x, w, bias)


def clip_by_norm(x: Float[Tensor, "n d"], limit: float = 1.5):
    """Every row shortened to a length, as for differential privacy."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    factor = torch.clamp(limit / length, max=1.0)
    return x * factor


def batchnorm_images(
    x: Float[Tensor, "n c h w"], gamma: Float[Tensor, "c"], beta: Float[Tensor, "c"]
):
    """BatchNorm over everything but the channel, as in convolutional networks."""
    mean = x.mean([0, 2, 3])
    centred = x - mean[:, None, None]
    var = torch.mean(torch.square(centred), dim=[0, 2, 3])
    scale = gamma * torch.rsqrt(var + 1e-5)
    return centred * scale.reshape(1, -1, 1, 1) + beta.reshape(1, -1, 1, 1)
