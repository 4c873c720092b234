# ruff: noqa: RET504, E741 - written as people write it
"""Whole layers: projections around the short forms, other spellings of the same."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def tanh_layer(x: Float[Tensor, "n d"], W: Float[Tensor, "d k"], b: Float[Tensor, "k"]):
    """The lecture's hidden layer: `h` is enough to keep."""
    hpreact = x @ W + b
    h = torch.tanh(hpreact)
    return h


def tanh_layer_backward(x, W, h, dh):
    dhpreact = (1 - h**2) * dh
    return dhpreact @ W.T, x.T @ dhpreact, dhpreact.sum(0)


def swiglu_layer(
    x: Float[Tensor, "n d"],
    W: Float[Tensor, "d h"],
    V: Float[Tensor, "d h"],
    W2: Float[Tensor, "h k"],
):
    """Shazeer 2020, Llama's feed-forward."""
    a = x @ W
    b = x @ V
    s = torch.sigmoid(a)
    gate = a * s
    h = gate * b
    y = h @ W2
    return y


def swiglu_layer_backward(x, W, V, W2, b, s, gate, h, dy):
    dh = dy @ W2.T
    da = (s + gate * (1 - s)) * b * dh
    db = gate * dh
    return da @ W.T + db @ V.T, x.T @ da, x.T @ db, h.T @ dy


def layernorm_three_axes(
    x: Float[Tensor, "b t d"], gain: Float[Tensor, "d"], bias: Float[Tensor, "d"]
):
    """As tutorials on transformers write it, the square root in the line of xhat."""
    mean = x.mean(-1, keepdim=True)
    var = x.var(-1, keepdim=True, unbiased=False)
    rstd = torch.rsqrt(var + 1e-5)
    xhat = (x - mean) * rstd
    y = xhat * gain + bias
    return y


def layernorm_three_axes_backward(gain, rstd, xhat, dy):
    dgain = (xhat * dy).sum((0, 1))
    dbias = dy.sum((0, 1))
    dxhat = gain * dy
    along = (xhat * dxhat).mean(-1, keepdim=True)
    dx = rstd * (dxhat - dxhat.mean(-1, keepdim=True) - xhat * along)
    return dx, dgain, dbias


def attention_einsum(
    q: Float[Tensor, "b h t d"], k: Float[Tensor, "b h s d"], v: Float[Tensor, "b h s e"]
):
    """Products by the names of their axes."""
    S = torch.einsum("bhtd,bhsd->bhts", q, k)
    P = S.softmax(-1)
    O = torch.einsum("bhts,bhse->bhte", P, v)
    return O


def attention_einsum_backward(q, k, v, P, O, dO):
    dv = P.mT @ dO
    dS = P * (dO @ v.mT - (dO * O).sum(-1, keepdim=True))
    return dS @ k, dS.mT @ q, dv


def attention_in_one_call(
    q: Float[Tensor, "b h t d"], k: Float[Tensor, "b h s d"], v: Float[Tensor, "b h s e"]
):
    """What it has inside is computed again."""
    O = F.scaled_dot_product_attention(q, k, v)
    return O


def attention_in_one_call_backward(q, k, v, O, dO):
    scale = q.shape[-1] ** -0.5
    P = (q @ k.mT * scale).softmax(-1)
    dv = P.mT @ dO
    dS = P * (dO @ v.mT - (dO * O).sum(-1, keepdim=True)) * scale
    return dS @ k, dS.mT @ q, dv


def multi_head_projected(
    x: Float[Tensor, "b t 2*head"],
    Wqkv: Float[Tensor, "2*head 6*head"],
    Wo: Float[Tensor, "2*head 2*head"],
):
    """Two causal heads with their projections: GPT-2 and its readers."""
    B, T, C = x.shape
    qkv = x @ Wqkv
    q, k, v = qkv.chunk(3, dim=-1)
    q = q.view(B, T, 2, C // 2).transpose(1, 2)
    k = k.view(B, T, 2, C // 2).transpose(1, 2)
    v = v.view(B, T, 2, C // 2).transpose(1, 2)
    S = q @ k.transpose(-2, -1) * (C // 2) ** -0.5
    S = S.masked_fill(torch.tril(torch.ones(T, T)) == 0, float("-inf"))
    P = F.softmax(S, dim=-1)
    O = P @ v
    y = O.transpose(1, 2).reshape(B, T, C)
    out = y @ Wo
    return out


def multi_head_projected_backward(x, Wqkv, Wo, B, T, C, q_1, k_1, v_1, P, O, y, dout):
    dWo = y.reshape(-1, C).T @ dout.reshape(-1, C)
    dO = (dout @ Wo.T).view(B, T, 2, C // 2).transpose(1, 2)
    dv = P.mT @ dO
    dS = P * (dO @ v_1.mT - (dO * O).sum(-1, keepdim=True)) * (C // 2) ** -0.5
    dq, dk = dS @ k_1, dS.mT @ q_1
    dqkv = torch.cat([d.transpose(1, 2).reshape(B, T, C) for d in (dq, dk, dv)], dim=-1)
    return dqkv @ Wqkv.T, x.reshape(-1, C).T @ dqkv.view(-1, 3 * C), dWo


def gaussian_kl(
    mu1: Float[Tensor, "n d"],
    logvar1: Float[Tensor, "n d"],
    mu2: Float[Tensor, "n d"],
    logvar2: Float[Tensor, "n d"],
):
    """The divergence of two Gaussians from the logarithms of their variances."""
    diff = mu1 - mu2
    var1 = logvar1.exp()
    precision = (-logvar2).exp()
    kl = 0.5 * (logvar2 - logvar1 + (var1 + diff**2) * precision - 1).sum(1)
    loss = kl.mean()
    return loss


def gaussian_kl_backward(diff, var1, precision):
    n = diff.shape[0]
    dmu1 = diff * precision / n
    dlogvar1 = (var1 * precision - 1) * (0.5 / n)
    dlogvar2 = (1 - (var1 + diff**2) * precision) * (0.5 / n)
    return dmu1, dlogvar1, -dmu1, dlogvar2


def vae_kl(mu: Float[Tensor, "n d"], logvar: Float[Tensor, "n d"]):
    """Kingma and Welling 2014, appendix B: against the standard normal."""
    loss = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1).mean()
    return loss


def vae_kl_backward(mu, logvar):
    n = mu.shape[0]
    return mu / n, (logvar.exp() - 1) * (0.5 / n)


SIZES = {
    "attention_einsum": (2, 5, 12, 3, 11, 4),
    "attention_in_one_call": (2, 5, 12, 3, 11, 4),
    "multi_head_projected": (2, 12, 3),
}
