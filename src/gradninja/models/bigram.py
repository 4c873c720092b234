"""A bigram model: each letter is guessed from the one before it, by a table of logits.

The table can be learnt by gradient, or found at once by counting pairs: the softmax of the
logarithm of the counts is the counts' shares, and those are what the gradient steps tend to.
"""
# ruff: noqa: RET504 - the loss is a line of its own, as every value is

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def parameters(vocab, generator):
    """A random table, float32."""
    return {"W": torch.randn((vocab, vocab), generator=generator)}


def forward(
    W: Float[Tensor, "vocab vocab"],
    Xb: Int[Tensor, "n context"],
    Yb: Int[Tensor, "n"],
):
    """The mean cross-entropy of a batch, in nats."""
    n = Xb.shape[0]
    last = Xb[:, -1]  # (n,): the letter before
    logits = W[last]  # (n, vocab)
    logsum = logits.logsumexp(1, keepdim=True)  # (n, 1)
    logprobs = logits - logsum  # (n, vocab): log-softmax
    loss = -logprobs[range(n), Yb].mean()  # ()
    return loss


def backward(W, Yb, n, last, logprobs):
    """Every gradient, one variable at a time: the forward's lines from the last to the first."""
    # loss = -logprobs[range(n), Yb].mean()
    dlogprobs = torch.zeros_like(logprobs)
    dlogprobs[range(n), Yb] = -1 / n
    # logprobs = logits - logsum: logsum was broadcast over the letters, so a sum
    dlogits = dlogprobs.clone()
    dlogsum = -dlogprobs.sum(1, keepdim=True)
    # logsum = logits.logsumexp(1, keepdim=True): its slope is softmax; the second use of logits
    dlogits += logprobs.exp() * dlogsum
    # logits = W[last]: a letter used many times gets the sum over its uses
    dW = torch.zeros_like(W)
    dW.index_put_((last,), dlogits, accumulate=True)
    return dW


def backward_fused(W, Yb, n, last, logprobs):
    """The same gradient with softmax and cross-entropy in one go."""
    dlogits = (logprobs.exp() - F.one_hot(Yb, logprobs.shape[1])) / n  # the guess less what came
    dW = torch.zeros_like(W)
    dW.index_put_((last,), dlogits, accumulate=True)
    return dW


def predict(W, Xb):
    """The logits (n, vocab)."""
    return W[Xb[:, -1]]


def fit(batches, vocab, smoothing: float = 1.0):
    """The table that counting gives: `batches` are blocks (Xb, Yb) over the whole training set.

    `smoothing` is added to every pair's count, so that no pair is impossible (Laplace). Without
    it the table is the maximum-likelihood one, with minus infinity for pairs that never came; a
    letter that nothing ever followed gets even odds.
    """
    counts = torch.full((vocab, vocab), smoothing, dtype=torch.float64)
    for Xb, Yb in batches:
        pairs = Xb[:, -1] * vocab + Yb
        counts += torch.bincount(pairs, minlength=vocab * vocab).view(vocab, vocab)
    counts[counts.sum(1) == 0] = 1
    probs = counts / counts.sum(1, keepdim=True)
    return {"W": probs.log().float()}
