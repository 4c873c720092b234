# ruff: noqa: RET504 - written as people write it
"""Softmax and its relatives, and losses."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def softmax_chunked(x: Float[Tensor, "n d"]):
    """Step by step, as the lecture writes it."""
    maxes = x.max(1, keepdim=True).values
    counts = (x - maxes).exp()
    counts_sum = counts.sum(1, keepdim=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv
    return probs


def softmax_chunked_backward(probs, dprobs):
    return probs * (dprobs - (probs * dprobs).sum(1, keepdim=True))


def softmax_library(x: Float[Tensor, "n d"]):
    """One call."""
    probs = F.softmax(x, dim=-1)
    return probs


softmax_library_backward = softmax_chunked_backward


def log_softmax_chunked(x: Float[Tensor, "n d"]):
    """By the logarithm of a sum."""
    shifted = x - x.max(1, keepdim=True).values
    logsum = shifted.exp().sum(1, keepdim=True).log()
    logprobs = shifted - logsum
    return logprobs


def log_softmax_chunked_backward(logprobs, dlogprobs):
    return dlogprobs - logprobs.exp() * dlogprobs.sum(1, keepdim=True)


def log_softmax_library(x: Float[Tensor, "n d"]):
    """One call."""
    logprobs = torch.log_softmax(x, 1)
    return logprobs


log_softmax_library_backward = log_softmax_chunked_backward


def logsumexp_chunked(x: Float[Tensor, "n d"]):
    """With the maximum taken out and put back."""
    maxes = x.max(1, keepdim=True).values
    counts = (x - maxes).exp()
    counts_sum = counts.sum(1, keepdim=True)
    lse = (counts_sum.log() + maxes).squeeze(1)
    return lse


def logsumexp_chunked_backward(counts, counts_sum, dlse):
    return counts * (dlse[:, None] / counts_sum)


def logsumexp_library(x: Float[Tensor, "n d"]):
    """One call."""
    lse = torch.logsumexp(x, dim=1)
    return lse


def logsumexp_library_backward(x, lse, dlse):
    return dlse[:, None] * (x - lse[:, None]).exp()


def cross_entropy_chunked(logits: Float[Tensor, "n vocab"], Yb: Int[Tensor, "n"]):
    """Makemore part 4, exercise 2."""
    n = logits.shape[0]
    logit_maxes = logits.max(1, keepdim=True).values
    norm_logits = logits - logit_maxes
    counts = norm_logits.exp()
    counts_sum = counts.sum(1, keepdims=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv
    logprobs = probs.log()
    loss = -logprobs[range(n), Yb].mean()
    return loss


def cross_entropy_chunked_backward(logits, probs, Yb, n):
    return (probs - F.one_hot(Yb, logits.shape[1])) / n


def cross_entropy_log_softmax(logits: Float[Tensor, "n vocab"], Yb: Int[Tensor, "n"]):
    """In two calls."""
    logprobs = F.log_softmax(logits, dim=1)
    loss = F.nll_loss(logprobs, Yb)
    return loss


def cross_entropy_log_softmax_backward(logits, logprobs, Yb):
    return (logprobs.exp() - F.one_hot(Yb, logits.shape[1])) / logits.shape[0]


def cross_entropy_library(logits: Float[Tensor, "n vocab"], Yb: Int[Tensor, "n"]):
    """One call."""
    loss = F.cross_entropy(logits, Yb)
    return loss


def cross_entropy_library_backward(logits, Yb):
    return (logits.softmax(1) - F.one_hot(Yb, logits.shape[1])) / logits.shape[0]


def linear_cross_entropy(
    h: Float[Tensor, "n d"],
    W: Float[Tensor, "d vocab"],
    b: Float[Tensor, "vocab"],
    Yb: Int[Tensor, "n"],
):
    """The end of every classifier."""
    logits = h @ W + b
    loss = F.cross_entropy(logits, Yb)
    return loss


def linear_cross_entropy_backward(h, W, logits, Yb):
    dlogits = (logits.softmax(1) - F.one_hot(Yb, logits.shape[1])) / logits.shape[0]
    return dlogits @ W.T, h.T @ dlogits, dlogits.sum(0)


def label_smoothing_chunked(logits: Float[Tensor, "n vocab"], Yb: Int[Tensor, "n"]):
    """Szegedy et al. 2016, section 7: a target that is not quite one-hot."""
    vocab = logits.shape[1]
    target = 0.9 * F.one_hot(Yb, vocab).to(logits.dtype) + 0.1 / vocab
    norm_logits = logits - logits.max(1, keepdim=True).values
    counts = norm_logits.exp()
    probs = counts / counts.sum(1, keepdim=True)
    logprobs = probs.log()
    loss = -(target * logprobs).sum(1).mean()
    return loss


def label_smoothing_chunked_backward(probs, target):
    return (probs - target) / probs.shape[0]


def label_smoothing_library(logits: Float[Tensor, "n vocab"], Yb: Int[Tensor, "n"]):
    """One call."""
    loss = F.cross_entropy(logits, Yb, label_smoothing=0.1)
    return loss


def label_smoothing_library_backward(logits, Yb):
    n, vocab = logits.shape
    target = 0.9 * F.one_hot(Yb, vocab).to(logits.dtype) + 0.1 / vocab
    return (logits.softmax(1) - target) / n


def focal(logits: Float[Tensor, "n vocab"], Yb: Int[Tensor, "n"]):
    """Lin et al. 2017 with gamma 2, over classes: what is already right counts little."""
    n = logits.shape[0]
    counts = (logits - logits.max(1, keepdim=True).values).exp()
    probs = counts / counts.sum(1, keepdim=True)
    p = probs[range(n), Yb]
    loss = -((1 - p) ** 2 * p.log()).mean()
    return loss


def focal_backward(logits, probs, p, Yb, n):
    slope = (2 * p * (1 - p) * p.log() - (1 - p) ** 2) / n
    return slope[:, None] * (F.one_hot(Yb, logits.shape[1]) - probs)


def focal_library(logits: Float[Tensor, "n vocab"], Yb: Int[Tensor, "n"]):
    """The same on top of the library's cross-entropy."""
    ce = F.cross_entropy(logits, Yb, reduction="none")
    p = torch.exp(-ce)
    loss = ((1 - p) ** 2 * ce).mean()
    return loss


def focal_library_backward(logits, ce, p, Yb):
    n, vocab = logits.shape
    slope = ((1 - p) ** 2 + 2 * p * (1 - p) * ce) / n
    return slope[:, None] * (logits.softmax(1) - F.one_hot(Yb, vocab))


def bce_chunked(x: Float[Tensor, "n d"], target: Float[Tensor, "n d"]):
    """Cross-entropy of yes and no, of a sigmoid."""
    p = torch.sigmoid(x)
    loss = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    return loss


def bce_chunked_backward(x, p, target):
    return (p - target) / x.numel(), ((1 - p).log() - p.log()) / x.numel()


def bce_stable(x: Float[Tensor, "n d"], target: Float[Tensor, "n d"]):
    """The form without overflow that libraries document."""
    loss = (x.clamp(min=0) - x * target + torch.log1p(torch.exp(-x.abs()))).mean()
    return loss


def bce_stable_backward(x, target):
    return (torch.sigmoid(x) - target) / x.numel(), x / -x.numel()


def bce_library(x: Float[Tensor, "n d"], target: Float[Tensor, "n d"]):
    """One call."""
    loss = F.binary_cross_entropy_with_logits(x, target)
    return loss


bce_library_backward = bce_stable_backward


def gaussian_kl(
    mu1: Float[Tensor, "n d"],
    logvar1: Float[Tensor, "n d"],
    mu2: Float[Tensor, "n d"],
    logvar2: Float[Tensor, "n d"],
):
    """The divergence of two Gaussians without covariance, from their logarithms of variance."""
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
    return dmu1, dlogvar1, -dmu1, -dlogvar1 - 0.5 * diff * dmu1


def vae_kl(mu: Float[Tensor, "n d"], logvar: Float[Tensor, "n d"]):
    """Kingma and Welling 2014, appendix B: against the standard normal."""
    loss = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1).mean()
    return loss


def vae_kl_backward(mu, logvar):
    n = mu.shape[0]
    return mu / n, (logvar.exp() - 1) * (0.5 / n)


def infonce_chunked(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]):
    """Van den Oord et al. 2018: which of all b belongs to which a."""
    n = a.shape[0]
    sims = a @ b.T / 0.1
    counts = (sims - sims.max(1, keepdim=True).values).exp()
    probs = counts / counts.sum(1, keepdim=True)
    logprobs = probs.log()
    loss = -logprobs[range(n), range(n)].mean()
    return loss


def infonce_chunked_backward(a, b, probs, n):
    dsims = (probs - torch.eye(n, dtype=probs.dtype)) / (0.1 * n)
    return dsims @ b, dsims.T @ a


def infonce_library(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]):
    """On the unit sphere, and in calls (SimCLR, CLIP)."""
    ua, ub = F.normalize(a, dim=1), F.normalize(b, dim=1)
    sims = ua @ ub.T / 0.1
    loss = F.cross_entropy(sims, torch.arange(a.shape[0]))
    return loss


def infonce_library_backward(a, b, ua, ub, sims):
    n = a.shape[0]
    dsims = (sims.softmax(1) - torch.eye(n, dtype=a.dtype)) / (0.1 * n)
    dua, dub = dsims @ ub, dsims.T @ ua
    da = (dua - ua * (ua * dua).sum(1, keepdim=True)) / a.norm(dim=1, keepdim=True)
    db = (dub - ub * (ub * dub).sum(1, keepdim=True)) / b.norm(dim=1, keepdim=True)
    return da, db


BOUNDS = {
    name: {"Yb": "vocab"}
    for name in (
        "cross_entropy_chunked cross_entropy_log_softmax cross_entropy_library focal focal_library "
        "linear_cross_entropy label_smoothing_chunked label_smoothing_library"
    ).split()
}
DOMAINS = {name: {"target": (0.1, 0.9)} for name in ("bce_chunked", "bce_stable", "bce_library")}
