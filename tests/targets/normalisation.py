# ruff: noqa: RET504 - written as people write it
"""Normalisation: over the batch, over features, over groups; of weights and of angles."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def batchnorm_unbiased(
    hprebn: Float[Tensor, "n hidden"],
    bngain: Float[Tensor, "1 hidden"],
    bnbias: Float[Tensor, "1 hidden"],
):
    """Makemore part 4, exercise 3, step by step."""
    n = hprebn.shape[0]
    bnmeani = 1 / n * hprebn.sum(0, keepdim=True)
    bndiff = hprebn - bnmeani
    bndiff2 = bndiff**2
    bnvar = 1 / (n - 1) * bndiff2.sum(0, keepdim=True)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = bndiff * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    return hpreact


def batchnorm_unbiased_backward(bngain, bnvar_inv, bnraw, n, dhpreact):
    dbngain = (bnraw * dhpreact).sum(0, keepdim=True)
    dbnbias = dhpreact.sum(0, keepdim=True)
    dhprebn = bngain * bnvar_inv * (dhpreact - dbnbias / n - bnraw * (dbngain / (n - 1)))
    return dhprebn, dbngain, dbnbias


def batchnorm_biased(
    hprebn: Float[Tensor, "n hidden"],
    bngain: Float[Tensor, "1 hidden"],
    bnbias: Float[Tensor, "1 hidden"],
):
    """The same with n in place of n-1."""
    n = hprebn.shape[0]
    bnmeani = 1 / n * hprebn.sum(0, keepdim=True)
    bndiff = hprebn - bnmeani
    bndiff2 = bndiff**2
    bnvar = 1 / n * bndiff2.sum(0, keepdim=True)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = bndiff * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    return hpreact


def batchnorm_biased_backward(bngain, bnvar_inv, bnraw, n, dhpreact):
    dbngain = (bnraw * dhpreact).sum(0, keepdim=True)
    dbnbias = dhpreact.sum(0, keepdim=True)
    dhprebn = bngain * bnvar_inv * (dhpreact - dbnbias / n - bnraw * (dbngain / n))
    return dhprebn, dbngain, dbnbias


def batchnorm_pieces(
    hprebn: Float[Tensor, "n hidden"],
    bngain: Float[Tensor, "hidden"],
    bnbias: Float[Tensor, "hidden"],
):
    """Ioffe and Szegedy 2015, as in makemore part 3: mean, var, one line."""
    bnmean = hprebn.mean(0, keepdim=True)
    bnvar = hprebn.var(0, keepdim=True, unbiased=True)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = (hprebn - bnmean) * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    return hpreact


def batchnorm_pieces_backward(hprebn, bngain, bnvar_inv, bnraw, dhpreact):
    n = hprebn.shape[0]
    dbngain = (bnraw * dhpreact).sum(0)
    dbnbias = dhpreact.sum(0)
    dhprebn = bngain * bnvar_inv * (dhpreact - dbnbias / n - bnraw * (dbngain / (n - 1)))
    return dhprebn, dbngain, dbnbias


def batchnorm_library(
    hprebn: Float[Tensor, "n hidden"],
    bngain: Float[Tensor, "hidden"],
    bnbias: Float[Tensor, "hidden"],
):
    """One call."""
    hpreact = F.batch_norm(hprebn, None, None, bngain, bnbias, training=True)
    return hpreact


def batchnorm_library_backward(hprebn, bngain, dhpreact):
    n = hprebn.shape[0]
    bnvar, bnmean = torch.var_mean(hprebn, 0, correction=0)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = (hprebn - bnmean) * bnvar_inv
    dbngain = (bnraw * dhpreact).sum(0)
    dbnbias = dhpreact.sum(0)
    dhprebn = bngain * bnvar_inv * (dhpreact - dbnbias / n - bnraw * (dbngain / n))
    return dhprebn, dbngain, dbnbias


def layernorm_chunked(
    x: Float[Tensor, "n d"], gain: Float[Tensor, "1 d"], bias: Float[Tensor, "1 d"]
):
    """Ba et al. 2016 in the lecture's small steps."""
    d = x.shape[1]
    mean = 1 / d * x.sum(1, keepdim=True)
    diff = x - mean
    diff2 = diff**2
    var = 1 / d * diff2.sum(1, keepdim=True)
    rstd = (var + 1e-5) ** -0.5
    xhat = diff * rstd
    y = gain * xhat + bias
    return y


def layernorm_chunked_backward(gain, rstd, xhat, d, dy):
    dgain = (xhat * dy).sum(0, keepdim=True)
    dbias = dy.sum(0, keepdim=True)
    dxhat = gain * dy
    along = (xhat * dxhat).mean(1, keepdim=True)
    dx = rstd * (dxhat - dxhat.mean(1, keepdim=True) - xhat * along)
    return dx, dgain, dbias


def layernorm_pieces(x: Float[Tensor, "b t d"], gain: Float[Tensor, "d"], bias: Float[Tensor, "d"]):
    """As tutorials on transformers write it, on three axes."""
    mean = x.mean(-1, keepdim=True)
    var = x.var(-1, keepdim=True, unbiased=False)
    rstd = torch.rsqrt(var + 1e-5)
    xhat = (x - mean) * rstd
    y = xhat * gain + bias
    return y


def layernorm_pieces_backward(gain, rstd, xhat, dy):
    dgain = (xhat * dy).sum((0, 1))
    dbias = dy.sum((0, 1))
    dxhat = gain * dy
    along = (xhat * dxhat).mean(-1, keepdim=True)
    dx = rstd * (dxhat - dxhat.mean(-1, keepdim=True) - xhat * along)
    return dx, dgain, dbias


def layernorm_library(
    x: Float[Tensor, "b t d"], gain: Float[Tensor, "d"], bias: Float[Tensor, "d"]
):
    """One call."""
    y = F.layer_norm(x, (x.shape[-1],), gain, bias)
    return y


def layernorm_library_backward(x, gain, dy):
    var, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
    rstd = (var + 1e-5) ** -0.5
    xhat = (x - mean) * rstd
    return layernorm_pieces_backward(gain, rstd, xhat, dy)


def rmsnorm_chunked(x: Float[Tensor, "n d"], gain: Float[Tensor, "1 d"]):
    """Zhang and Sennrich 2019."""
    ms = (x**2).mean(1, keepdim=True)
    rrms = (ms + 1e-6) ** -0.5
    xhat = x * rrms
    y = gain * xhat
    return y


def rmsnorm_chunked_backward(gain, rrms, xhat, dy):
    dgain = (xhat * dy).sum(0, keepdim=True)
    dxhat = gain * dy
    dx = rrms * (dxhat - xhat * (xhat * dxhat).mean(1, keepdim=True))
    return dx, dgain


def rmsnorm_library(x: Float[Tensor, "b t d"], gain: Float[Tensor, "d"]):
    """One call."""
    y = F.rms_norm(x, (x.shape[-1],), gain, 1e-6)
    return y


def rmsnorm_library_backward(x, gain, dy):
    rrms = ((x * x).mean(-1, keepdim=True) + 1e-6) ** -0.5
    xhat = x * rrms
    dgain = (xhat * dy).sum((0, 1))
    dxhat = gain * dy
    dx = rrms * (dxhat - xhat * (xhat * dxhat).mean(-1, keepdim=True))
    return dx, dgain


def groupnorm_chunked(
    x: Float[Tensor, "n g c s"], gain: Float[Tensor, "g c 1"], bias: Float[Tensor, "g c 1"]
):
    """Wu and He 2018, the groups an axis of their own."""
    mean = x.mean((2, 3), keepdim=True)
    diff = x - mean
    var = (diff**2).mean((2, 3), keepdim=True)
    rstd = (var + 1e-5) ** -0.5
    xhat = diff * rstd
    y = gain * xhat + bias
    return y


def groupnorm_chunked_backward(gain, rstd, xhat, dy):
    dgain = (xhat * dy).sum((0, 3)).unsqueeze(-1)
    dbias = dy.sum((0, 3)).unsqueeze(-1)
    dxhat = gain * dy
    along = (xhat * dxhat).mean((2, 3), keepdim=True)
    dx = rstd * (dxhat - dxhat.mean((2, 3), keepdim=True) - xhat * along)
    return dx, dgain, dbias


def groupnorm_library(
    x: Float[Tensor, "n 2*c h w"], gain: Float[Tensor, "2*c"], bias: Float[Tensor, "2*c"]
):
    """One call, two groups."""
    y = F.group_norm(x, 2, gain, bias)
    return y


def groupnorm_library_backward(x, gain, dy):
    groups = x.reshape(x.shape[0], 2, -1)
    var, mean = torch.var_mean(groups, -1, correction=0, keepdim=True)
    rstd = (var + 1e-5) ** -0.5
    xhat = (groups - mean) * rstd
    dgain = (xhat.view_as(x) * dy).sum((0, 2, 3))
    dbias = dy.sum((0, 2, 3))
    dxhat = (gain[:, None, None] * dy).reshape(xhat.shape)
    along = (xhat * dxhat).mean(-1, keepdim=True)
    dx = rstd * (dxhat - dxhat.mean(-1, keepdim=True) - xhat * along)
    return dx.view_as(x), dgain, dbias


def weight_norm(V: Float[Tensor, "n d"], g: Float[Tensor, "n 1"]):
    """Salimans and Kingma 2016: direction and length apart."""
    norm = (V**2).sum(1, keepdim=True).sqrt()
    W = g * V / norm
    return W


def weight_norm_backward(V, g, norm, dW):
    dg = (V * dW).sum(1, keepdim=True) / norm
    return g / norm * (dW - V * (dg / norm)), dg


def weight_norm_library(V: Float[Tensor, "n d"], g: Float[Tensor, "n 1"]):
    """By `normalize`, which gives the direction a name."""
    U = F.normalize(V, dim=1)
    W = g * U
    return W


def weight_norm_library_backward(V, g, U, dW):
    dg = (U * dW).sum(1, keepdim=True)
    return g / V.norm(dim=1, keepdim=True) * (dW - U * dg), dg


def cosine_chunked(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]):
    """The angle between rows."""
    na = (a * a).sum(1, keepdim=True).sqrt()
    nb = (b * b).sum(1, keepdim=True).sqrt()
    cos = (a * b).sum(1, keepdim=True) / (na * nb)
    return cos


def cosine_chunked_backward(a, b, na, nb, cos, dcos):
    slope = dcos / (na * nb)
    da = slope * b - dcos * cos / na**2 * a
    db = slope * a - dcos * cos / nb**2 * b
    return da, db


def cosine_library(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]):
    """One call."""
    cos = F.cosine_similarity(a, b, dim=1)
    return cos


def cosine_library_backward(a, b, cos, dcos):
    na, nb = a.norm(dim=1), b.norm(dim=1)
    slope = (dcos / (na * nb))[:, None]
    da = slope * b - (dcos * cos / na**2)[:, None] * a
    db = slope * a - (dcos * cos / nb**2)[:, None] * b
    return da, db
