# ruff: noqa: RET504 - written as people write it
"""The lecture's network (makemore part 4): in small steps, in pieces, and in library calls."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def bigram(W: Float[Tensor, "vocab vocab"], Xb: Int[Tensor, "n"], Yb: Int[Tensor, "n"]):
    """Makemore part 1: one table of logits, with the penalty that smooths it."""
    n = Xb.shape[0]
    xenc = F.one_hot(Xb, num_classes=W.shape[0]).to(W.dtype)
    logits = xenc @ W
    counts = logits.exp()
    probs = counts / counts.sum(1, keepdims=True)
    loss = -probs[torch.arange(n), Yb].log().mean() + 0.01 * (W**2).mean()
    return loss


def mlp(
    C: Float[Tensor, "vocab embedding"],
    W1: Float[Tensor, "context*embedding hidden"],
    b1: Float[Tensor, "hidden"],
    W2: Float[Tensor, "hidden vocab"],
    b2: Float[Tensor, "vocab"],
    Xb: Int[Tensor, "n context"],
    Yb: Int[Tensor, "n"],
):
    """Makemore part 2: the MLP of Bengio et al. 2003."""
    emb = C[Xb]
    h = torch.tanh(emb.view(-1, W1.shape[0]) @ W1 + b1)
    logits = h @ W2 + b2
    loss = F.cross_entropy(logits, Yb)
    return loss


def mlp_batchnorm(
    C: Float[Tensor, "vocab embedding"],
    W1: Float[Tensor, "context*embedding hidden"],
    b1: Float[Tensor, "hidden"],
    W2: Float[Tensor, "hidden vocab"],
    b2: Float[Tensor, "vocab"],
    bngain: Float[Tensor, "1 hidden"],
    bnbias: Float[Tensor, "1 hidden"],
    Xb: Int[Tensor, "n context"],
    Yb: Int[Tensor, "n"],
):
    """Makemore part 4: the whole forward in small steps."""
    n = Xb.shape[0]
    emb = C[Xb]
    embcat = emb.view(emb.shape[0], -1)
    # Linear layer 1
    hprebn = embcat @ W1 + b1
    # BatchNorm layer
    bnmeani = 1/n*hprebn.sum(0, keepdim=True)  # fmt: skip
    bndiff = hprebn - bnmeani
    bndiff2 = bndiff**2
    bnvar = 1/(n-1)*(bndiff2).sum(0, keepdim=True)  # fmt: skip
    bnvar_inv = (bnvar + 1e-5)**-0.5  # fmt: skip
    bnraw = bndiff * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    # Non-linearity
    h = torch.tanh(hpreact)
    # Linear layer 2
    logits = h @ W2 + b2
    # Cross-entropy loss
    logit_maxes = logits.max(1, keepdim=True).values
    norm_logits = logits - logit_maxes
    counts = norm_logits.exp()
    counts_sum = counts.sum(1, keepdims=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv
    logprobs = probs.log()
    loss = -logprobs[range(n), Yb].mean()
    return loss


def mlp_batchnorm_fast(
    C: Float[Tensor, "vocab embedding"],
    W1: Float[Tensor, "context*embedding hidden"],
    W2: Float[Tensor, "hidden vocab"],
    b2: Float[Tensor, "vocab"],
    bngain: Float[Tensor, "1 hidden"],
    bnbias: Float[Tensor, "1 hidden"],
    Xb: Int[Tensor, "n context"],
    Yb: Int[Tensor, "n"],
):
    """Makemore part 4, exercise 4: the same network in library calls."""
    emb = F.embedding(Xb, C)
    embcat = emb.flatten(1)
    hprebn = embcat @ W1
    bnmean = hprebn.mean(0, keepdim=True)
    bnvar = hprebn.var(0, keepdim=True, unbiased=True)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = (hprebn - bnmean) * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    h = torch.tanh(hpreact)
    logits = h @ W2 + b2
    return F.cross_entropy(logits, Yb)


def cross_entropy_in_steps(logits: Float[Tensor, "n vocab"], Yb: Int[Tensor, "n"]):
    """Makemore part 4, exercise 2: before."""
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


def cross_entropy_fast(logits: Float[Tensor, "n vocab"], Yb: Int[Tensor, "n"]):
    """Makemore part 4, exercise 2: after."""
    loss_fast = F.cross_entropy(logits, Yb)
    return loss_fast


def batchnorm_in_steps(
    hprebn: Float[Tensor, "n hidden"],
    bngain: Float[Tensor, "1 hidden"],
    bnbias: Float[Tensor, "1 hidden"],
):
    """Makemore part 4, exercise 3: before; the output is a matrix, so a cotangent is given."""
    n = hprebn.shape[0]
    bnmeani = 1 / n * hprebn.sum(0, keepdim=True)
    bndiff = hprebn - bnmeani
    bndiff2 = bndiff**2
    bnvar = 1 / (n - 1) * (bndiff2).sum(0, keepdim=True)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = bndiff * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    return hpreact


def batchnorm_fast(
    hprebn: Float[Tensor, "n hidden"],
    bngain: Float[Tensor, "1 hidden"],
    bnbias: Float[Tensor, "1 hidden"],
):
    """Makemore part 4, exercise 3: after, on one line."""
    return (
        bngain
        * (hprebn - hprebn.mean(0, keepdim=True))
        / torch.sqrt(hprebn.var(0, keepdim=True, unbiased=True) + 1e-5)
        + bnbias
    )


def seed_notes(
    bndiff: Float[Tensor, "n hidden"],
    bnvar_inv: Float[Tensor, "1 hidden"],
    bngain: Float[Tensor, "1 hidden"],
    bnbias: Float[Tensor, "1 hidden"],
):
    """The two lines that the lecture's notes work out by hand."""
    bnraw = bndiff * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    return hpreact


def wavenet_layer(
    x: Float[Tensor, "n 2*half channels"],
    W: Float[Tensor, "2*channels hidden"],
    gamma: Float[Tensor, "hidden"],
    beta: Float[Tensor, "hidden"],
):
    """Makemore part 5: pairs of positions are joined; BatchNorm over two axes."""
    B, T, C = x.shape
    x = x.view(B, T // 2, C * 2)
    x = x @ W
    xmean = x.mean((0, 1), keepdim=True)
    xvar = x.var((0, 1), keepdim=True)
    xhat = (x - xmean) / torch.sqrt(xvar + 1e-5)
    return torch.tanh(gamma * xhat + beta)


BOUNDS = {
    "bigram": {"Xb": "vocab", "Yb": "vocab"},
    "mlp": {"Xb": "vocab", "Yb": "vocab"},
    "mlp_batchnorm": {"Xb": "vocab", "Yb": "vocab"},
    "mlp_batchnorm_fast": {"Xb": "vocab", "Yb": "vocab"},
    "cross_entropy_in_steps": {"Yb": "vocab"},
    "cross_entropy_fast": {"Yb": "vocab"},
}
