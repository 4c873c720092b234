# ruff: noqa: RUF059 - written as people write it
"""Attention and what stands around it in transformers."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def attention(q: Float[Tensor, "t d"], k: Float[Tensor, "s d"], v: Float[Tensor, "s e"]):
    """One head: Vaswani et al. 2017, equation 1."""
    scores = q @ k.T / math.sqrt(q.shape[-1])
    weights = torch.softmax(scores, dim=-1)
    return weights @ v


def attention_batched(
    q: Float[Tensor, "b t d"], k: Float[Tensor, "b s d"], v: Float[Tensor, "b s e"]
):
    """With bmm, and the scale on the query."""
    q = q * q.shape[-1] ** -0.5
    scores = torch.bmm(q, k.transpose(1, 2))
    return torch.bmm(scores.softmax(dim=2), v)


def multi_head_causal(
    x: Float[Tensor, "b t 2*head"],
    Wqkv: Float[Tensor, "2*head 6*head"],
    Wo: Float[Tensor, "2*head 2*head"],
    causal: bool = True,
):
    """Causal attention with two heads, four axes, and a mask: GPT-2 and its readers."""
    B, T, C = x.shape
    q, k, v = (x @ Wqkv).chunk(3, dim=-1)
    q = q.view(B, T, 2, C // 2).transpose(1, 2)
    k = k.view(B, T, 2, C // 2).transpose(1, 2)
    v = v.view(B, T, 2, C // 2).transpose(1, 2)
    att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
    if causal:
        mask = torch.tril(torch.ones(T, T))
        att = att.masked_fill(mask == 0, float("-inf"))
    att = F.softmax(att, dim=-1)
    y = att @ v
    y = y.transpose(1, 2).contiguous().view(B, T, C)
    return y @ Wo


def attention_alibi(
    q: Float[Tensor, "b h t d"],
    k: Float[Tensor, "b h t d"],
    v: Float[Tensor, "b h t d"],
    slope: Float[Tensor, "h"],
):
    """A bias that grows with distance (Press et al. 2022), with learned slopes."""
    T = q.shape[2]
    position = torch.arange(T)
    distance = (position[None, :] - position[:, None]).to(q.dtype)
    bias = slope[:, None, None] * distance
    scores = q @ k.mT / math.sqrt(q.shape[-1]) + bias
    scores = torch.where(distance <= 0, scores, torch.full_like(scores, -1e9))
    return scores.softmax(-1) @ v


def rotary(q: Float[Tensor, "b t 2*half"], k: Float[Tensor, "b t 2*half"], base: float = 10000.0):
    """RoPE (Su et al. 2021), the halves turned; scores come out."""
    T, D = q.shape[1], q.shape[2]
    half = D // 2
    frequency = base ** (-torch.arange(half) / half)
    angle = torch.arange(T)[:, None] * frequency[None, :]
    cos, sin = torch.cos(angle), torch.sin(angle)
    q1, q2 = q[..., :half], q[..., half:]
    k1, k2 = k.split(half, dim=-1)
    qr = torch.cat([q1 * cos - q2 * sin, q1 * sin + q2 * cos], dim=-1)
    kr = torch.cat((k1 * cos - k2 * sin, k1 * sin + k2 * cos), -1)
    return qr @ kr.transpose(-1, -2)


def rotary_interleaved(x: Float[Tensor, "t 2*half"], theta: Float[Tensor, "half"]):
    """Even and odd columns turned, with learned angles, woven again by stack."""
    angle = torch.outer(torch.arange(x.shape[0]).to(theta.dtype), theta)
    even, odd = x[:, 0::2], x[:, 1::2]
    turned = torch.stack(
        [even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos()], dim=-1
    )
    return turned.flatten(-2)


def grouped_query(
    q: Float[Tensor, "b 2*kv t d"], k: Float[Tensor, "b kv t d"], v: Float[Tensor, "b kv t d"]
):
    """Two query heads share a key (Ainslie et al. 2023)."""
    B, H, T, D = q.shape
    k = k.repeat_interleave(2, dim=1)
    v = v[:, :, None].expand(-1, -1, 2, -1, -1).reshape(B, H, T, D)
    scores = torch.einsum("bhtd,bhsd->bhts", q, k) / D**0.5
    mask = torch.triu(torch.ones(T, T, dtype=torch.bool), diagonal=1)
    scores = scores.masked_fill(mask, float("-inf"))
    return torch.einsum("bhts,bhsd->bhtd", scores.softmax(dim=-1), v)


def cross_attention_einsum(
    x: Float[Tensor, "b t c"],
    memory: Float[Tensor, "b s c"],
    Wq: Float[Tensor, "h c d"],
    Wk: Float[Tensor, "h c d"],
    Wv: Float[Tensor, "h c d"],
    Wo: Float[Tensor, "h d c"],
):
    """Every projection an einsum (Shazeer 2019, fast decoding)."""
    q = torch.einsum("btc,hcd->bhtd", x, Wq)
    k = torch.einsum("bsc,hcd->bhsd", memory, Wk)
    v = torch.einsum("bsc, hcd -> bhsd", memory, Wv)
    w = torch.einsum("bhtd,bhsd->bhts", q, k).softmax(-1)
    o = torch.einsum("bhts,bhsd->bhtd", w, v)
    return torch.einsum("bhtd,hdc->btc", o, Wo)


def linear_attention(q: Float[Tensor, "t d"], k: Float[Tensor, "t d"], v: Float[Tensor, "t e"]):
    """Katharopoulos et al. 2020: no softmax, sums that grow with time."""
    q, k = F.elu(q) + 1, F.elu(k) + 1
    state = torch.cumsum(k.unsqueeze(-1) * v.unsqueeze(1), dim=0)
    normaliser = (q * k.cumsum(0)).sum(-1, keepdim=True)
    return (q.unsqueeze(1) @ state).squeeze(1) / normaliser


def _layernorm(x, weight, bias):
    mean = x.mean(-1, keepdim=True)
    centred = x - mean
    return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5) * weight + bias


def _attend(x, Wq, Wk, Wv):
    T = x.shape[-2]
    q, k, v = x @ Wq, x @ Wk, x @ Wv
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(torch.tril(torch.ones(T, T)) == 0, float("-inf"))
    return F.softmax(scores, dim=-1) @ v


def gpt_block(
    idx: Int[Tensor, "b t"],
    targets: Int[Tensor, "b t"],
    wte: Float[Tensor, "vocab c"],
    wpe: Float[Tensor, "longest+t c"],
    Wq: Float[Tensor, "c c"],
    Wk: Float[Tensor, "c c"],
    Wv: Float[Tensor, "c c"],
    g1: Float[Tensor, "c"],
    b1: Float[Tensor, "c"],
    g2: Float[Tensor, "c"],
    b2: Float[Tensor, "c"],
    W1: Float[Tensor, "c f"],
    W2: Float[Tensor, "f c"],
):
    """A GPT of one block, with its helpers inlined and the embedding used twice."""
    T = idx.shape[1]
    x = wte[idx] + wpe[:T]
    x = x + _attend(_layernorm(x, g1, b1), Wq, Wk, Wv)
    h = _layernorm(x, g2, b2) @ W1
    x = x + F.gelu(h, approximate="tanh") @ W2
    logits = x @ wte.T
    return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


def vit_patches(
    image: Float[Tensor, "n ch 2*p 3*p"],
    W: Float[Tensor, "ch*p*p d"],
    cls: Float[Tensor, "1 1 d"],
    pos: Float[Tensor, "1 7 d"],
):
    """Dosovitskiy et al. 2021: six patches, an extra token, positions."""
    n, ch, height, width = image.shape
    p = height // 2
    patches = image.reshape(n, ch, 2, p, 3, p).permute(0, 2, 4, 1, 3, 5).flatten(1, 2).flatten(2)
    tokens = patches @ W
    x = torch.cat([cls.expand(n, -1, -1), tokens], dim=1) + pos
    return x[:, 0] + x.mean(dim=1)


def relative_positions(scores: Float[Tensor, "h t t"], table: Float[Tensor, "h t+t-1"]):
    """A bias looked up by distance, as in Swin and T5."""
    T = scores.shape[-1]
    ar = torch.arange(T)
    index = ar[:, None] - ar[None, :] + T - 1
    return F.softmax(scores + table[:, index], dim=-1)


def talking_heads_topless(
    scores: Float[Tensor, "b h t s"], mix: Float[Tensor, "h g"], sink: Float[Tensor, "g"]
):
    """Heads mixed before the softmax, and a sink logit that takes what no key wants."""
    mixed = torch.einsum("bhts,hg->bgts", scores, mix)
    b, g, t, s = mixed.shape
    sinks = sink.view(1, g, 1, 1).expand(b, g, t, 1)
    both = torch.cat((mixed, sinks), dim=-1)
    return torch.softmax(both, dim=-1)[..., :s]


BOUNDS = {"gpt_block": {"idx": "vocab", "targets": "vocab"}}
