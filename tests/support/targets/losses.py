# ruff: noqa: RET504 - written as people write it
"""Losses: softmax and what is made of it."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def cross_entropy(logits: Float[Tensor, "n c"], Yb: Int[Tensor, "n"]):
    """The lecture's chunks."""
    n = logits.shape[0]
    logit_maxes = logits.max(1, keepdim=True).values
    norm_logits = logits - logit_maxes
    counts = norm_logits.exp()
    counts_sum = counts.sum(1, keepdim=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv
    logprobs = probs.log()
    loss = -logprobs[range(n), Yb].mean()
    return loss


def cross_entropy_backward(logits, Yb, n, probs):
    dlogits = (probs - F.one_hot(Yb, logits.shape[1])) / n
    return dlogits


def cross_entropy_library(logits: Float[Tensor, "n c"], Yb: Int[Tensor, "n"]):
    loss = F.cross_entropy(logits, Yb)
    return loss


def cross_entropy_library_backward(logits, Yb):
    dlogits = (F.softmax(logits, 1) - F.one_hot(Yb, logits.shape[1])) / logits.shape[0]
    return dlogits


def softmax(x: Float[Tensor, "n c"]):
    maxes = x.max(1, keepdim=True).values
    counts = (x - maxes).exp()
    counts_sum = counts.sum(1, keepdim=True)
    probs = counts / counts_sum
    return probs


def softmax_backward(probs, dprobs):
    dx = probs * (dprobs - (dprobs * probs).sum(1, keepdim=True))
    return dx


def softmax_library(x: Float[Tensor, "n c"]):
    probs = F.softmax(x, dim=1)
    return probs


softmax_library_backward = softmax_backward


def log_softmax(x: Float[Tensor, "n c"]):
    maxes = x.max(1, keepdim=True).values
    norm_x = x - maxes
    counts = norm_x.exp()
    counts_sum = counts.sum(1, keepdim=True)
    logprobs = norm_x - counts_sum.log()
    return logprobs


def log_softmax_backward(counts, counts_sum, dlogprobs):
    dx = dlogprobs - counts * (dlogprobs.sum(1, keepdim=True) / counts_sum)
    return dx


def log_softmax_library(x: Float[Tensor, "n c"]):
    logprobs = F.log_softmax(x, dim=1)
    return logprobs


def log_softmax_library_backward(logprobs, dlogprobs):
    dx = dlogprobs - logprobs.exp() * dlogprobs.sum(1, keepdim=True)
    return dx


def logsumexp(x: Float[Tensor, "n c"]):
    maxes = x.max(1, keepdim=True).values
    counts = (x - maxes).exp()
    counts_sum = counts.sum(1, keepdim=True)
    total = maxes + counts_sum.log()
    return total


def logsumexp_backward(counts, counts_sum, dtotal):
    dx = counts * (dtotal / counts_sum)
    return dx


def logsumexp_library(x: Float[Tensor, "n c"]):
    total = torch.logsumexp(x, dim=1, keepdim=True)
    return total


def logsumexp_library_backward(x, dtotal):
    dx = dtotal * F.softmax(x, 1)
    return dx


def label_smoothing(logits: Float[Tensor, "n c"], Yb: Int[Tensor, "n"], eps: float = 0.1):
    """Szegedy et al. 2016, section 7."""
    n = logits.shape[0]
    norm_logits = logits - logits.max(1, keepdim=True).values
    counts = norm_logits.exp()
    probs = counts / counts.sum(1, keepdim=True)
    logprobs = probs.log()
    hit = logprobs[range(n), Yb]
    smooth = logprobs.mean(1)
    loss = -((1 - eps) * hit + eps * smooth).mean()
    return loss


def label_smoothing_backward(Yb, n, eps, probs):
    c = probs.shape[1]
    hot = F.one_hot(Yb, c).to(probs.dtype)  # ints times 0.9 would be of the default dtype
    dlogits = (probs - (1 - eps) * hot - eps / c) / n
    return dlogits


def label_smoothing_library(logits: Float[Tensor, "n c"], Yb: Int[Tensor, "n"]):
    loss = F.cross_entropy(logits, Yb, label_smoothing=0.1)
    return loss


def label_smoothing_library_backward(logits, Yb):
    n, c = logits.shape
    hot = F.one_hot(Yb, c).to(logits.dtype)
    dlogits = (F.softmax(logits, 1) - 0.9 * hot - 0.1 / c) / n
    return dlogits


def focal(logits: Float[Tensor, "n c"], Yb: Int[Tensor, "n"], gamma: float = 2.0):
    """Lin et al. 2017, equation 4."""
    n = logits.shape[0]
    norm_logits = logits - logits.max(1, keepdim=True).values
    counts = norm_logits.exp()
    probs = counts / counts.sum(1, keepdim=True)
    pt = probs[range(n), Yb]
    logpt = pt.log()
    loss = (-((1 - pt) ** gamma) * logpt).mean()
    return loss


def focal_backward(Yb, n, gamma, probs, pt, logpt):
    dlogpt = (gamma * (1 - pt) ** (gamma - 1) * pt * logpt - (1 - pt) ** gamma) / n
    dlogits = dlogpt[:, None] * (F.one_hot(Yb, probs.shape[1]) - probs)
    return dlogits


def focal_library(logits: Float[Tensor, "n c"], Yb: Int[Tensor, "n"], gamma: float = 2.0):
    ce = F.cross_entropy(logits, Yb, reduction="none")
    pt = torch.exp(-ce)
    loss = ((1 - pt) ** gamma * ce).mean()
    return loss


def focal_library_backward(logits, Yb, gamma, ce, pt):
    n, c = logits.shape
    dce = (gamma * (1 - pt) ** (gamma - 1) * pt * ce + (1 - pt) ** gamma) / n
    dlogits = dce[:, None] * (F.softmax(logits, 1) - F.one_hot(Yb, c))
    return dlogits


def bce(x: Float[Tensor, "n c"], y: Float[Tensor, "n c"]):
    p = torch.sigmoid(x)
    loss = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    return loss


def bce_backward(y, p):
    dx = (p - y) / y.numel()
    return dx


def bce_stable(x: Float[Tensor, "n c"], y: Float[Tensor, "n c"]):
    """The form with the absolute value, which does not overflow."""
    loss = (x.clamp(min=0) - x * y + torch.log1p(torch.exp(-x.abs()))).mean()
    return loss


def bce_stable_backward(x, y):
    dx = (torch.sigmoid(x) - y) / x.numel()
    return dx


def bce_library(x: Float[Tensor, "n c"], y: Float[Tensor, "n c"]):
    loss = F.binary_cross_entropy_with_logits(x, y)
    return loss


bce_library_backward = bce_stable_backward


def kl_gaussians(
    m1: Float[Tensor, "n d"],
    logvar1: Float[Tensor, "n d"],
    m2: Float[Tensor, "n d"],
    logvar2: Float[Tensor, "n d"],
):
    """Diagonal Gaussians given by the logarithms of their variances."""
    v1 = logvar1.exp()
    v2 = logvar2.exp()
    diff = m1 - m2
    quad = (v1 + diff**2) / v2
    kl = 0.5 * (logvar2 - logvar1 + quad - 1).sum(1, keepdim=True)
    return kl


def kl_gaussians_backward(v1, v2, diff, quad, dkl):
    dm1 = dkl * diff / v2
    dlogvar1 = 0.5 * dkl * (v1 / v2 - 1)
    dlogvar2 = 0.5 * dkl * (1 - quad)
    return dm1, dlogvar1, -dm1, dlogvar2


def kl_deviations(
    m1: Float[Tensor, "n d"],
    s1: Float[Tensor, "n d"],
    m2: Float[Tensor, "n d"],
    s2: Float[Tensor, "n d"],
):
    """The same, given by their standard deviations."""
    v2 = s2**2
    diff = m1 - m2
    quad = (s1**2 + diff**2) / v2
    kl = (torch.log(s2 / s1) + 0.5 * quad - 0.5).sum(1, keepdim=True)
    return kl


def kl_deviations_backward(s1, s2, v2, diff, quad, dkl):
    dm1 = dkl * diff / v2
    ds1 = dkl * (s1 / v2 - 1 / s1)
    ds2 = dkl * (1 - quad) / s2
    return dm1, ds1, -dm1, ds2


def infonce(q: Float[Tensor, "n d"], k: Float[Tensor, "n d"], tau: float = 0.5):
    """Oord et al. 2018, equation 4; the partner of a row is the row of the same number."""
    logits = q @ k.T / tau
    counts = (logits - logits.max(1, keepdim=True).values).exp()
    probs = counts / counts.sum(1, keepdim=True)
    loss = -probs.diagonal().log().mean()
    return loss


def infonce_backward(q, k, tau, probs):
    n = q.shape[0]
    dlogits = (probs - torch.eye(n, dtype=q.dtype)) / (n * tau)
    return dlogits @ k, dlogits.T @ q


def infonce_library(q: Float[Tensor, "n d"], k: Float[Tensor, "n d"], tau: float = 0.5):
    logits = q @ k.T / tau
    loss = F.cross_entropy(logits, torch.arange(q.shape[0]))
    return loss


def infonce_library_backward(q, k, tau, logits):
    n = q.shape[0]
    dlogits = (F.softmax(logits, 1) - torch.eye(n, dtype=q.dtype)) / (n * tau)
    return dlogits @ k, dlogits.T @ q


def linear_cross_entropy(
    x: Float[Tensor, "n d"],
    W: Float[Tensor, "d c"],
    b: Float[Tensor, "c"],
    Yb: Int[Tensor, "n"],
):
    n = x.shape[0]
    logits = x @ W + b
    norm_logits = logits - logits.max(1, keepdim=True).values
    counts = norm_logits.exp()
    probs = counts / counts.sum(1, keepdim=True)
    loss = -probs[range(n), Yb].log().mean()
    return loss


def linear_cross_entropy_backward(x, W, Yb, n, probs):
    dlogits = (probs - F.one_hot(Yb, W.shape[1])) / n
    return dlogits @ W.T, x.T @ dlogits, dlogits.sum(0)


def linear_cross_entropy_library(
    x: Float[Tensor, "n d"],
    W: Float[Tensor, "c d"],
    b: Float[Tensor, "c"],
    Yb: Int[Tensor, "n"],
):
    logits = F.linear(x, W, b)
    loss = F.cross_entropy(logits, Yb)
    return loss


def linear_cross_entropy_library_backward(x, W, Yb, logits):
    dlogits = (F.softmax(logits, 1) - F.one_hot(Yb, W.shape[0])) / x.shape[0]
    return dlogits @ W, dlogits.T @ x, dlogits.sum(0)


BOUNDS = {
    name: {"Yb": "c"}
    for name in (
        "cross_entropy",
        "cross_entropy_library",
        "label_smoothing",
        "label_smoothing_library",
        "focal",
        "focal_library",
        "linear_cross_entropy",
        "linear_cross_entropy_library",
    )
}
DOMAINS = {
    **{name: {"y": (0.0, 1.0)} for name in ("bce", "bce_stable", "bce_library")},
    "kl_deviations": {"s1": (0.5, 2.0), "s2": (0.5, 2.0)},
}
WRT = dict.fromkeys(("bce", "bce_stable", "bce_library"), ("x",))
SIZES = {
    "infonce": (12, 5),
    "infonce_library": (12, 5),
    "linear_cross_entropy": (12, 3, 11),
    "linear_cross_entropy_library": (12, 3, 11),
}
