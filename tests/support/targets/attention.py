# ruff: noqa: RET504 - written as people write it
"""Attention: dS with rowsum(dO * O), as in FlashAttention (Dao et al. 2022, section 3.1)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def single_head(Q: Float[Tensor, "t d"], K: Float[Tensor, "s d"], V: Float[Tensor, "s e"]):
    """The softmax in chunks."""
    scale = Q.shape[-1] ** -0.5
    S = Q @ K.T * scale
    counts = (S - S.max(1, keepdim=True).values).exp()
    P = counts / counts.sum(1, keepdim=True)
    O = P @ V  # noqa: E741
    return O


def single_head_backward(Q, K, V, scale, P, O, dO):  # noqa: E741
    dV = P.mT @ dO
    dP = dO @ V.mT
    dS = P * (dP - (dO * O).sum(-1, keepdim=True))
    return dS @ (K * scale), dS.mT @ (Q * scale), dV


def single_head_library(Q: Float[Tensor, "t d"], K: Float[Tensor, "s d"], V: Float[Tensor, "s e"]):
    scale = Q.shape[-1] ** -0.5
    S = Q @ K.T * scale
    P = torch.softmax(S, dim=-1)
    O = P @ V  # noqa: E741
    return O


single_head_library_backward = single_head_backward


def multi_head(
    Q: Float[Tensor, "b h t d"], K: Float[Tensor, "b h s d"], V: Float[Tensor, "b h s e"]
):
    """Four axes, the softmax in chunks."""
    scale = Q.shape[-1] ** -0.5
    S = Q @ K.transpose(-2, -1) * scale
    counts = (S - S.amax(-1, keepdim=True)).exp()
    P = counts / counts.sum(-1, keepdim=True)
    O = P @ V  # noqa: E741
    return O


multi_head_backward = single_head_backward


def multi_head_library(
    Q: Float[Tensor, "b h t d"], K: Float[Tensor, "b h s d"], V: Float[Tensor, "b h s e"]
):
    scale = Q.shape[-1] ** -0.5
    S = torch.einsum("bhtd,bhsd->bhts", Q, K) * scale
    P = F.softmax(S, dim=-1)
    O = torch.einsum("bhts,bhse->bhte", P, V)  # noqa: E741
    return O


multi_head_library_backward = single_head_backward


def causal(Q: Float[Tensor, "b h t d"], K: Float[Tensor, "b h t d"], V: Float[Tensor, "b h t e"]):
    """A query sees what is not after it, the softmax in chunks."""
    scale = Q.shape[-1] ** -0.5
    t = Q.shape[-2]
    mask = torch.tril(torch.ones(t, t)) == 0
    S = (Q @ K.mT * scale).masked_fill(mask, float("-inf"))
    counts = (S - S.amax(-1, keepdim=True)).exp()
    P = counts / counts.sum(-1, keepdim=True)
    O = P @ V  # noqa: E741
    return O


causal_backward = single_head_backward


def causal_library(
    Q: Float[Tensor, "b h t d"], K: Float[Tensor, "b h t d"], V: Float[Tensor, "b h t e"]
):
    scale = Q.shape[-1] ** -0.5
    t = Q.shape[-2]
    mask = torch.tril(torch.ones(t, t)) == 0
    S = (Q @ K.mT * scale).masked_fill(mask, float("-inf"))
    P = F.softmax(S, dim=-1)
    O = P @ V  # noqa: E741
    return O


causal_library_backward = single_head_backward


SIZES = {
    "single_head": (12, 3, 11, 4),
    "single_head_library": (12, 3, 11, 4),
    "multi_head": (2, 5, 12, 3, 11, 4),
    "multi_head_library": (2, 5, 12, 3, 11, 4),
    "causal": (2, 5, 12, 3, 4),
    "causal_library": (2, 5, 12, 3, 4),
}
