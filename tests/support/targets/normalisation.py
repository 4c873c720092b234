# ruff: noqa: RET504 - written as people write it
"""Normalisation over rows, columns and groups, and lengths."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def batchnorm_unbiased(
    hprebn: Float[Tensor, "n d"], bngain: Float[Tensor, "1 d"], bnbias: Float[Tensor, "1 d"]
):
    """The lecture's chunks."""
    n = hprebn.shape[0]
    bnmeani = 1 / n * hprebn.sum(0, keepdim=True)
    bndiff = hprebn - bnmeani
    bndiff2 = bndiff**2
    bnvar = 1 / (n - 1) * bndiff2.sum(0, keepdim=True)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = bndiff * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    return hpreact


def batchnorm_unbiased_backward(bngain, n, bnvar_inv, bnraw, dhpreact):
    dbnbias = dhpreact.sum(0, keepdim=True)
    dbngain = (dhpreact * bnraw).sum(0, keepdim=True)
    dhprebn = bngain * bnvar_inv * (dhpreact - dbnbias / n - dbngain / (n - 1) * bnraw)
    return dhprebn, dbngain, dbnbias


def batchnorm_biased(
    hprebn: Float[Tensor, "n d"], bngain: Float[Tensor, "1 d"], bnbias: Float[Tensor, "1 d"]
):
    n = hprebn.shape[0]
    bnmeani = 1 / n * hprebn.sum(0, keepdim=True)
    bndiff = hprebn - bnmeani
    bndiff2 = bndiff**2
    bnvar = 1 / n * bndiff2.sum(0, keepdim=True)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = bndiff * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    return hpreact


def batchnorm_biased_backward(bngain, n, bnvar_inv, bnraw, dhpreact):
    dbnbias = dhpreact.sum(0, keepdim=True)
    dbngain = (dhpreact * bnraw).sum(0, keepdim=True)
    dhprebn = bngain * bnvar_inv * (dhpreact - dbnbias / n - dbngain / n * bnraw)
    return dhprebn, dbngain, dbnbias


def batchnorm_var(
    hprebn: Float[Tensor, "n d"], bngain: Float[Tensor, "1 d"], bnbias: Float[Tensor, "1 d"]
):
    """By the library's mean and (unbiased) variance, divided by the deviation."""
    mean = hprebn.mean(0, keepdim=True)
    var = hprebn.var(0, keepdim=True, unbiased=True)
    bnraw = (hprebn - mean) / torch.sqrt(var + 1e-5)
    hpreact = bngain * bnraw + bnbias
    return hpreact


def batchnorm_var_backward(hprebn, bngain, var, bnraw, dhpreact):
    n = hprebn.shape[0]
    dbnbias = dhpreact.sum(0, keepdim=True)
    dbngain = (dhpreact * bnraw).sum(0, keepdim=True)
    scale = bngain / torch.sqrt(var + 1e-5)
    dhprebn = scale * (dhpreact - dbnbias / n - dbngain / (n - 1) * bnraw)
    return dhprebn, dbngain, dbnbias


def batchnorm_library(
    x: Float[Tensor, "n d"], weight: Float[Tensor, "d"], bias: Float[Tensor, "d"]
):
    y = F.batch_norm(x, None, None, weight, bias, training=True)
    return y


def batchnorm_library_backward(x, weight, dy):
    n = x.shape[0]
    rstd = (x.var(0, correction=0) + 1e-5) ** -0.5
    xhat = (x - x.mean(0)) * rstd
    dbias = dy.sum(0)
    dweight = (dy * xhat).sum(0)
    dx = weight * rstd * (dy - dbias / n - dweight / n * xhat)
    return dx, dweight, dbias


def layernorm(x: Float[Tensor, "n d"], weight: Float[Tensor, "d"], bias: Float[Tensor, "d"]):
    """Ba et al. 2016."""
    mean = x.mean(1, keepdim=True)
    diff = x - mean
    var = (diff**2).mean(1, keepdim=True)
    rstd = (var + 1e-5) ** -0.5
    xhat = diff * rstd
    y = xhat * weight + bias
    return y


def layernorm_backward(weight, rstd, xhat, dy):
    dbias = dy.sum(0)
    dweight = (dy * xhat).sum(0)
    dxhat = dy * weight
    along = (dxhat * xhat).mean(1, keepdim=True)
    dx = rstd * (dxhat - dxhat.mean(1, keepdim=True) - xhat * along)
    return dx, dweight, dbias


def layernorm_library(
    x: Float[Tensor, "n d"], weight: Float[Tensor, "d"], bias: Float[Tensor, "d"]
):
    y = F.layer_norm(x, (x.shape[1],), weight, bias)
    return y


def layernorm_library_backward(x, weight, dy):
    rstd = (x.var(1, keepdim=True, correction=0) + 1e-5) ** -0.5
    xhat = (x - x.mean(1, keepdim=True)) * rstd
    return layernorm_backward(weight, rstd, xhat, dy)


def rmsnorm(x: Float[Tensor, "n d"], weight: Float[Tensor, "d"]):
    """Zhang and Sennrich 2019."""
    ms = (x**2).mean(1, keepdim=True)
    rrms = (ms + 1e-6) ** -0.5
    xhat = x * rrms
    y = xhat * weight
    return y


def rmsnorm_backward(weight, rrms, xhat, dy):
    dweight = (dy * xhat).sum(0)
    dxhat = dy * weight
    dx = rrms * (dxhat - xhat * (dxhat * xhat).mean(1, keepdim=True))
    return dx, dweight


def rmsnorm_library(x: Float[Tensor, "n d"], weight: Float[Tensor, "d"]):
    y = F.rms_norm(x, (x.shape[1],), weight, 1e-6)
    return y


def rmsnorm_library_backward(x, weight, dy):
    rrms = ((x**2).mean(1, keepdim=True) + 1e-6) ** -0.5
    return rmsnorm_backward(weight, rrms, x * rrms, dy)


def groupnorm(
    x: Float[Tensor, "n 2*group h w"],
    weight: Float[Tensor, "2*group"],
    bias: Float[Tensor, "2*group"],
):
    """Wu and He 2018, two groups."""
    n, c, h, w = x.shape
    grouped = x.view(n, 2, c // 2 * h * w)
    mean = grouped.mean(2, keepdim=True)
    diff = grouped - mean
    var = (diff**2).mean(2, keepdim=True)
    rstd = (var + 1e-5) ** -0.5
    xhat = diff * rstd
    y = xhat.view(n, c, h, w) * weight[:, None, None] + bias[:, None, None]
    return y


def groupnorm_backward(x, weight, rstd, xhat, dy):
    dbias = dy.sum((0, 2, 3))
    dweight = (dy * xhat.view(x.shape)).sum((0, 2, 3))
    dxhat = (dy * weight[:, None, None]).view(xhat.shape)
    along = (dxhat * xhat).mean(2, keepdim=True)
    dx = rstd * (dxhat - dxhat.mean(2, keepdim=True) - xhat * along)
    return dx.view(x.shape), dweight, dbias


def groupnorm_library(
    x: Float[Tensor, "n 2*group h w"],
    weight: Float[Tensor, "2*group"],
    bias: Float[Tensor, "2*group"],
):
    y = F.group_norm(x, 2, weight, bias)
    return y


def groupnorm_library_backward(x, weight, dy):
    grouped = x.view(x.shape[0], 2, -1)
    rstd = (grouped.var(2, keepdim=True, correction=0) + 1e-5) ** -0.5
    xhat = (grouped - grouped.mean(2, keepdim=True)) * rstd
    return groupnorm_backward(x, weight, rstd, xhat, dy)


def weight_norm(x: Float[Tensor, "n d"], v: Float[Tensor, "out d"], g: Float[Tensor, "out 1"]):
    """Salimans and Kingma 2016."""
    length = (v**2).sum(1, keepdim=True) ** 0.5
    w = g * v / length
    y = x @ w.T
    return y


def weight_norm_backward(x, v, g, length, w, dy):
    dw = dy.T @ x
    dg = (dw * v).sum(1, keepdim=True) / length
    dv = g / length * (dw - dg / length * v)
    return dy @ w, dv, dg


def weight_norm_library(
    x: Float[Tensor, "n d"], v: Float[Tensor, "out d"], g: Float[Tensor, "out 1"]
):
    length = v.norm(dim=1, keepdim=True)
    y = F.linear(x, v * (g / length))
    return y


def weight_norm_library_backward(x, v, g, length, dy):
    dw = dy.T @ x
    dg = (dw * v).sum(1, keepdim=True) / length
    dv = g / length * (dw - dg / length * v)
    return dy @ (v * (g / length)), dv, dg


def cosine(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]):
    dots = (a * b).sum(1, keepdim=True)
    a_length = (a**2).sum(1, keepdim=True) ** 0.5
    b_length = (b**2).sum(1, keepdim=True) ** 0.5
    cos = dots / (a_length * b_length)
    return cos


def cosine_backward(a, b, a_length, b_length, cos, dcos):
    cross = dcos / (a_length * b_length)
    da = cross * b - dcos * cos / a_length**2 * a
    db = cross * a - dcos * cos / b_length**2 * b
    return da, db


def cosine_library(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]):
    cos = F.cosine_similarity(a, b, dim=1)
    return cos


def cosine_library_backward(a, b, cos, dcos):
    lengths = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    return cosine_backward(a, b, *lengths, cos[:, None], dcos[:, None])


SIZES = {"weight_norm": (3, 12, 11), "weight_norm_library": (3, 12, 11)}
