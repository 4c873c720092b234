# ruff: noqa: RET504 - written as people write it
"""Embeddings, the largest of each sentence, LayerNorm with Bessel's correction, least squares."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def forward(
    E: Float[Tensor, "vocab d"],
    gain: Float[Tensor, "d"],
    bias: Float[Tensor, "d"],
    W: Float[Tensor, "d out"],
    b: Float[Tensor, "out"],
    y: Float[Tensor, "n out"],
    ix: Int[Tensor, "n t"],
):
    emb = E[ix]
    pooled = emb.max(1).values
    d = pooled.shape[1]
    mean = pooled.sum(1, keepdim=True) / d
    diff = pooled - mean
    var = (diff**2).sum(1, keepdim=True) / (d - 1)
    inv = (var + 1e-5) ** -0.5
    norm = diff * inv
    out = norm * gain + bias
    pred = out @ W + b
    err = pred - y
    loss = (err**2).mean()
    return loss


def backward(E, gain, W, ix, emb, pooled, d, diff, var, inv, norm, out, err):
    derr = 2 * err / err.numel()
    dpred = derr
    dy = -derr
    dout = dpred @ W.T
    dW = out.T @ dpred
    db = dpred.sum(0)
    dnorm = dout * gain
    dgain = (dout * norm).sum(0)
    dbias = dout.sum(0)
    ddiff = dnorm * inv
    dinv = (dnorm * diff).sum(1, keepdim=True)
    dvar = -0.5 * (var + 1e-5) ** -1.5 * dinv
    ddiff += 2 * diff * dvar / (d - 1)
    dpooled = ddiff.clone()
    dmean = -ddiff.sum(1, keepdim=True)
    dpooled += dmean / d
    demb = torch.zeros_like(emb)
    demb.scatter_(1, emb.max(1, keepdim=True).indices, dpooled.unsqueeze(1))
    dE = torch.zeros_like(E)
    dE.index_put_((ix,), demb, accumulate=True)
    return dE, dgain, dbias, dW, db, dy
