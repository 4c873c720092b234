# ruff: noqa: RET504 - written as people write it
"""Attention over standardised tokens, with positions that repeat and a peak that ties."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def inputs():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x = torch.tensor([[1.0, 2, 0], [1, -1, 2], [0, 2, 2], [1, 0, 0], [-1, 2, 1]]).double()
    weights = {"P": normal(2, 3), "Wq": normal(3, 4), "Wk": normal(3, 4), "Wv": normal(3, 3)}
    return {"x": x, **weights, "pos": torch.tensor([0, 1, 0, 0, 0])}


def forward(
    x: Float[Tensor, "t d"],
    P: Float[Tensor, "positions d"],
    Wq: Float[Tensor, "d k"],
    Wk: Float[Tensor, "d k"],
    Wv: Float[Tensor, "d d"],
    pos: Int[Tensor, "t"],
):
    h = x + P[pos]
    t = h.shape[0]
    mean = h.mean(0, keepdim=True)
    centred = h - mean
    var = (centred**2).sum(0, keepdim=True) / (t - 1)
    std = (var + 1e-5).sqrt()
    z = centred / std
    q = z @ Wq
    k = z @ Wk
    v = z @ Wv
    scores = q @ k.T / 2
    e = scores.exp()
    total = e.sum(1, keepdim=True)
    probs = e / total
    peak = h.amax(0, keepdim=True)
    mixed = probs @ v
    out = mixed * peak + v
    return out


def backward(
    P, Wq, Wk, Wv, pos, h, t, centred, std, z, q, k, v, e, total, probs, peak, mixed, dout
):
    dmixed = peak * dout
    dpeak = (mixed * dout).sum(0, keepdim=True)
    dv = dout.clone()
    dprobs = dmixed @ v.T
    dv += probs.T @ dmixed
    de = dprobs / total
    dtotal = -(dprobs * e / total**2).sum(1, keepdim=True)
    de += dtotal
    dscores = e * de
    dq = dscores @ k / 2
    dk = dscores.T @ q / 2
    dz = dv @ Wv.T
    dz += dk @ Wk.T
    dz += dq @ Wq.T
    dWv = z.T @ dv
    dWk = z.T @ dk
    dWq = z.T @ dq
    dcentred = dz / std
    dstd = -(dz * centred / std**2).sum(0, keepdim=True)
    dvar = dstd / (2 * std)
    dcentred += 2 * centred * dvar / (t - 1)
    dh = dcentred.clone()
    dmean = -dcentred.sum(0, keepdim=True)
    dh += dmean / t
    ties = h == peak
    dh += ties * dpeak / ties.sum(0, keepdim=True)
    dx = dh
    dP = torch.zeros_like(P)
    dP.index_add_(0, pos, dh)
    return dx, dP, dWq, dWk, dWv
