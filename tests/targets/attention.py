# ruff: noqa: RET504, E741 - written as people write it
"""Attention: single-head, with many heads, causal; in steps and in one call."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def attention(q: Float[Tensor, "t d"], k: Float[Tensor, "s d"], v: Float[Tensor, "s e"]):
    """Vaswani et al. 2017, equation 1."""
    scale = q.shape[1] ** -0.5
    S = q @ k.T * scale
    P = torch.softmax(S, dim=1)
    O = P @ v
    return O


def attention_backward(q, k, v, scale, P, O, dO):
    dv = P.T @ dO
    dS = P * (dO @ v.T - (dO * O).sum(1, keepdim=True)) * scale
    return dS @ k, dS.T @ q, dv


def attention_chunked(q: Float[Tensor, "t d"], k: Float[Tensor, "s d"], v: Float[Tensor, "s e"]):
    """The softmax in the lecture's steps."""
    scale = q.shape[1] ** -0.5
    S = q @ k.T * scale
    S_maxes = S.max(1, keepdim=True).values
    counts = (S - S_maxes).exp()
    counts_sum = counts.sum(1, keepdim=True)
    P = counts / counts_sum
    O = P @ v
    return O


attention_chunked_backward = attention_backward


def attention_heads(
    q: Float[Tensor, "b h t d"], k: Float[Tensor, "b h s d"], v: Float[Tensor, "b h s e"]
):
    """Heads and batch as axes in front."""
    scale = q.shape[-1] ** -0.5
    S = q @ k.transpose(-2, -1) * scale
    P = F.softmax(S, dim=-1)
    O = P @ v
    return O


def attention_heads_backward(q, k, v, scale, P, O, dO):
    dv = P.mT @ dO
    dS = P * (dO @ v.mT - (dO * O).sum(-1, keepdim=True)) * scale
    return dS @ k, dS.mT @ q, dv


def attention_causal(
    q: Float[Tensor, "b h t d"], k: Float[Tensor, "b h t d"], v: Float[Tensor, "b h t e"]
):
    """What comes later is masked out (GPT)."""
    T = q.shape[-2]
    scale = q.shape[-1] ** -0.5
    mask = torch.tril(torch.ones(T, T)) == 0
    S = q @ k.transpose(-2, -1) * scale
    masked = S.masked_fill(mask, float("-inf"))
    P = F.softmax(masked, dim=-1)
    O = P @ v
    return O


attention_causal_backward = attention_heads_backward


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


def attention_library(
    q: Float[Tensor, "b h t d"], k: Float[Tensor, "b h s d"], v: Float[Tensor, "b h s e"]
):
    """One call; what it has inside is computed again."""
    O = F.scaled_dot_product_attention(q, k, v)
    return O


def attention_library_backward(q, k, v, O, dO):
    scale = q.shape[-1] ** -0.5
    P = (q @ k.mT * scale).softmax(-1)
    return attention_heads_backward(q, k, v, scale, P, O, dO)


def multi_head(
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


def multi_head_backward(x, Wqkv, Wo, B, T, C, q, k, v, P, O, y, dout):
    dWo = y.reshape(-1, C).T @ dout.reshape(-1, C)
    dO = (dout @ Wo.T).view(B, T, 2, C // 2).transpose(1, 2)
    dv = P.mT @ dO
    dS = P * (dO @ v.mT - (dO * O).sum(-1, keepdim=True)) * (C // 2) ** -0.5
    dq, dk = dS @ k, dS.mT @ q
    dqkv = torch.cat([d.transpose(1, 2).reshape(B, T, C) for d in (dq, dk, dv)], dim=-1)
    return dqkv @ Wqkv.T, x.reshape(-1, C).T @ dqkv.view(-1, 3 * C), dWo
