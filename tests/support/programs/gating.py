"""Activations, gates, experts, lookups."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def linear_relu_net(
    x: Float[Tensor, "n d"],
    W1: Float[Tensor, "h d"],
    b1: Float[Tensor, "h"],
    W2: Float[Tensor, "1 h"],
):
    """Two layers as `nn.Linear` keeps them."""
    h = F.relu(F.linear(x, W1, b1))
    return F.linear(h, W2).squeeze(-1)


def gelu_by_hand(x: Float[Tensor, "n d"]):
    """GPT-2's tanh form, constants written out."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def gelu_both(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]):
    """The library's two forms, and the exact one by erf."""
    exact = 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    return F.gelu(x) - exact * F.gelu(y, approximate="tanh")


def swiglu(
    x: Float[Tensor, "n d"],
    W: Float[Tensor, "d h"],
    V: Float[Tensor, "d h"],
    W2: Float[Tensor, "h d"],
):
    """Shazeer 2020, Llama's feed-forward."""
    return (F.silu(x @ W) * (x @ V)) @ W2


def mish(x: Float[Tensor, "n d"]):
    """Misra 2019."""
    return x * torch.tanh(F.softplus(x))


def activation_zoo(x: Float[Tensor, "n d"]):
    """One of each, stacked on a new axis."""
    return torch.stack(
        [
            F.leaky_relu(x, 0.1),
            F.elu(x, alpha=0.7),
            torch.sigmoid(x),
            torch.relu(x),
            torch.expm1(-x.abs()),
            x.sign() * x.square(),
            x / (1 + torch.abs(x)),
            torch.sin(x) * torch.cos(2 * x),
            torch.reciprocal(x**2 + 1),
            F.leaky_relu(-x),
        ],
        dim=1,
    )


def hard_swish(x: Float[Tensor, "n d"]):
    """MobileNetV3 (Howard et al. 2019)."""
    return x * torch.clamp(x + 3, 0, 6) / 6


def prelu(x: Float[Tensor, "n d"], slope: Float[Tensor, "d"]):
    """He et al. 2015, by maximum and minimum."""
    zero = torch.zeros_like(x)
    return torch.maximum(x, zero) + slope * torch.minimum(x, zero)


def maxout(x: Float[Tensor, "n d"], W: Float[Tensor, "k d h"]):
    """Goodfellow et al. 2013: the best of several linear maps."""
    pieces = torch.einsum("nd,kdh->knh", x, W)
    best, _ = pieces.max(dim=0)
    return best


def dropout_by_hand(x: Float[Tensor, "n d"], W: Float[Tensor, "d h"], p: float = 0.3):
    """Srivastava et al. 2014, the mask a line of its own."""
    h = torch.relu(x @ W)
    mask = (torch.rand_like(h) > p).to(h.dtype) / (1 - p)
    return h * mask


def moe_top1(x: Float[Tensor, "n d"], Wg: Float[Tensor, "d 3"], We: Float[Tensor, "3 d h"]):
    """Switch (Fedus et al. 2021): each row goes to its best expert, weighed by its gate."""
    gates = F.softmax(x @ Wg, dim=-1)
    best = gates.argmax(dim=-1)
    mask = F.one_hot(best, num_classes=3).to(x.dtype)
    weight = (gates * mask).sum(-1, keepdim=True)
    outs = torch.einsum("nd,edh->neh", x, We)
    y = (outs * mask.unsqueeze(-1)).sum(1) * weight
    load = (mask.mean(0) * gates.mean(0)).sum() * 3
    return y, load


def moe_masks(x: Float[Tensor, "n d"], Wg: Float[Tensor, "d 2"], W: Float[Tensor, "2 d d"]):
    """The same idea by a loop over experts and a mask each."""
    gates = torch.softmax(x @ Wg, 1)
    out = torch.zeros_like(x)
    for e in range(2):
        chosen = (gates[:, e] >= 0.5).unsqueeze(1)
        out = out + torch.where(chosen, torch.tanh(x @ W[e]), 0.0) * gates[:, e : e + 1]
    return out


def highway(x: Float[Tensor, "n d"], Wt: Float[Tensor, "d d"], Wh: Float[Tensor, "d d"]):
    """Srivastava et al. 2015; the gate used twice."""
    t = torch.sigmoid(torch.mm(x, Wt) - 1)
    h = torch.relu(torch.mm(x, Wh))
    return h * t + x * (1 - t)


def embedding_and_position(
    tok: Float[Tensor, "vocab d"], pos: Float[Tensor, "t d"], ix: Int[Tensor, "n t"]
):
    """The first line of every transformer."""
    return F.embedding(ix, tok) + pos[torch.arange(ix.shape[1])]


def bag_of_embeddings(
    table: Float[Tensor, "vocab d"], ix: Int[Tensor, "tokens"], bag: Int[Tensor, "tokens"]
):
    """Rows looked up and added into bags (fastText)."""
    rows = torch.index_select(table, 0, ix)
    out = torch.zeros(3, table.shape[1], dtype=table.dtype)
    return out.scatter_add(0, bag[:, None].expand(-1, table.shape[1]), rows)


def graph_layer(
    x: Float[Tensor, "nodes d"],
    W: Float[Tensor, "d h"],
    src: Int[Tensor, "edges"],
    dst: Int[Tensor, "edges"],
):
    """Messages along edges, averaged where they arrive."""
    messages = (x @ W)[src]
    total = torch.zeros(x.shape[0], W.shape[1], dtype=x.dtype).index_add(0, dst, messages)
    degree = torch.zeros(x.shape[0], dtype=x.dtype).index_add(
        0, dst, torch.ones_like(messages[:, 0])
    )
    return F.elu(total / degree.clamp(min=1).unsqueeze(1))


def straight_through(x: Float[Tensor, "n d"]):
    """Bengio et al. 2013: rounded on the way in, untouched on the way back."""
    rounded = torch.round(x)
    return x + (rounded - x).detach()


def quantised_vectors(z: Float[Tensor, "n d"], codes: Float[Tensor, "k d"]):
    """VQ-VAE (van den Oord et al. 2017): nearest code, both commitment terms."""
    dist = (z**2).sum(1, keepdim=True) - 2 * z @ codes.T + (codes**2).sum(1)
    nearest = dist.argmin(dim=1)
    zq = codes[nearest]
    loss = F.mse_loss(zq, z.detach()) + 0.25 * F.mse_loss(z, zq.detach())
    return z + (zq - z).detach(), loss


def masked_mean(x: Float[Tensor, "n t d"], keep: Bool[Tensor, "n t"]):
    """The mean of what is no padding."""
    weight = keep.unsqueeze(-1).to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1.0)


def boolean_selection(x: Float[Tensor, "n d"], keep: Bool[Tensor, "n"], w: Float[Tensor, "d"]):
    """Only rows that are kept, as many as there are."""
    kept = x[keep]
    return (kept * w).sum(0) + x[~keep].pow(2).sum()


def factorisation_machine(x: Float[Tensor, "n d"], w: Float[Tensor, "d"], V: Float[Tensor, "d k"]):
    """Rendle 2010: all pairs for the price of one."""
    pairs = 0.5 * ((x @ V).pow(2) - x.pow(2) @ V.pow(2)).sum(1)
    return x @ w + pairs


def lora(
    x: Float[Tensor, "n d"],
    W: Float[Tensor, "h d"],
    A: Float[Tensor, "r d"],
    B: Float[Tensor, "h r"],
):
    """Hu et al. 2021: a frozen weight and a low-rank one."""
    frozen = W.detach()
    return x @ frozen.T + (x @ A.T) @ B.T * 0.5


BOUNDS = {
    "embedding_and_position": {"ix": "vocab"},
    "bag_of_embeddings": {"ix": "vocab", "bag": 3},
    "graph_layer": {"src": "nodes", "dst": "nodes"},
}
