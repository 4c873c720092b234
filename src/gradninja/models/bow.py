"""A bag of words: each letter is guessed from the mean of the letters before it.

Source: makemore's `BoW`: attention whose weights are all equal, a perceptron on top, both added to
what they read. Zhang et al., "Dive into Deep Learning" (2021), section 11.1, call it average
pooling; as attention it is equation 1 of Vaswani et al., NeurIPS 2017, with QK^T = 0.
"""
# ruff: noqa: RET504 - the loss is a line of its own, as every value is

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def settings():
    """makemore's."""
    return {
        "embedding": 64,
        "hidden": 64,
        "optimizer": "adamw",
        "rate": 5e-4,
        "decay": 0.01,
        "schedule": "constant",
    }


def parameters(vocab, context, embedding, hidden, generator):
    """Random weights, float32, as PyTorch draws those of its layers."""

    def uniform(fan_in, *shape):
        return (torch.rand(shape, generator=generator) * 2 - 1) / fan_in**0.5

    return {
        "C": torch.randn((vocab, embedding), generator=generator),
        "P": torch.randn((context, embedding), generator=generator),
        "W1": uniform(embedding, embedding, hidden),
        "b1": uniform(embedding, hidden),
        "W2": uniform(hidden, hidden, embedding),
        "b2": uniform(hidden, embedding),
        "W3": uniform(embedding, embedding, vocab),
        "b3": uniform(embedding, vocab),
    }


def forward(
    C: Float[Tensor, "vocab embedding"],
    P: Float[Tensor, "context embedding"],
    W1: Float[Tensor, "embedding hidden"],
    b1: Float[Tensor, "hidden"],
    W2: Float[Tensor, "hidden embedding"],
    b2: Float[Tensor, "embedding"],
    W3: Float[Tensor, "embedding vocab"],
    b3: Float[Tensor, "vocab"],
    Xb: Int[Tensor, "n context"],
    Yb: Int[Tensor, "n context"],
):
    """The mean cross-entropy of all letters of a batch of words, in nats."""
    length = Xb.shape[1]
    # each letter, and its place
    emb = C[Xb]  # (n, length, embedding)
    x = emb + P[:length]  # (n, length, embedding)
    # the mean of all letters so far, added
    before = torch.ones((length, length), dtype=x.dtype).tril()  # (length, length)
    share = before / before.sum(1, keepdim=True)  # (length, length): even weights
    mean = share @ x  # (n, length, embedding)
    mixed = x + mean  # (n, length, embedding)
    # a perceptron, added
    hpreact = mixed @ W1 + b1  # (n, length, hidden)
    h = torch.tanh(hpreact)  # (n, length, hidden)
    out = mixed + (h @ W2 + b2)  # (n, length, embedding)
    logits = out @ W3 + b3  # (n, length, vocab)
    # cross-entropy over the letters; after a word's end Yb is -1
    inside = (Yb >= 0).to(logits.dtype)  # (n, length)
    letters = Yb.clamp(min=0)  # (n, length)
    logsum = logits.logsumexp(2, keepdim=True)  # (n, length, 1)
    logprobs = logits - logsum  # (n, length, vocab): log-softmax
    picked = logprobs.gather(2, letters.unsqueeze(2)).squeeze(2)  # (n, length)
    count = inside.sum()  # ()
    loss = -(inside * picked).sum() / count  # ()
    return loss


def backward(
    C, P, W1, W2, W3, Xb, length, share, mixed, h, out, inside, letters, logprobs, count
):  # fmt: skip
    """Every gradient, one variable at a time: the forward's lines from the last to the first."""
    # loss = -(inside * picked).sum() / count
    dpicked = -inside / count
    # picked = logprobs.gather(2, letters.unsqueeze(2)).squeeze(2)
    dlogprobs = torch.zeros_like(logprobs)
    dlogprobs.scatter_(2, letters.unsqueeze(2), dpicked.unsqueeze(2))
    # logprobs = logits - logsum: logsum was broadcast over the letters, so a sum
    dlogits = dlogprobs.clone()
    dlogsum = -dlogprobs.sum(2, keepdim=True)
    # logsum = logits.logsumexp(2, keepdim=True): its slope is softmax; the second use of logits
    dlogits += logprobs.exp() * dlogsum
    # logits = out @ W3 + b3: the same W3 for all letters of all words, so a sum over them
    dout = dlogits @ W3.T
    dW3 = out.flatten(0, 1).T @ dlogits.flatten(0, 1)
    db3 = dlogits.sum((0, 1))
    # out = mixed + (h @ W2 + b2)
    dmixed = dout.clone()
    dh = dout @ W2.T
    dW2 = h.flatten(0, 1).T @ dout.flatten(0, 1)
    db2 = dout.sum((0, 1))
    # h = torch.tanh(hpreact)
    dhpreact = (1 - h**2) * dh
    # hpreact = mixed @ W1 + b1: the second use of mixed
    dmixed += dhpreact @ W1.T
    dW1 = mixed.flatten(0, 1).T @ dhpreact.flatten(0, 1)
    db1 = dhpreact.sum((0, 1))
    # mixed = x + mean
    dx = dmixed.clone()
    dmean = dmixed
    # mean = share @ x: the second use of x
    dx += share.T @ dmean
    # x = emb + P[:length]
    demb = dx
    dP = torch.zeros_like(P)
    dP[:length] = dx.sum(0)
    # emb = C[Xb]: a letter used many times gets the sum over its uses
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return dC, dP, dW1, db1, dW2, db2, dW3, db3


def backward_fused(
    C, P, W1, W2, W3, Xb, length, share, mixed, h, out, inside, letters, logprobs, count
):  # fmt: skip
    """The same gradients with softmax and cross-entropy in one go."""
    guess = logprobs.exp() - F.one_hot(letters, logprobs.shape[2])  # less what came
    dlogits = guess * (inside / count).unsqueeze(2)
    dout = dlogits @ W3.T
    dW3 = out.flatten(0, 1).T @ dlogits.flatten(0, 1)
    db3 = dlogits.sum((0, 1))
    dW2 = h.flatten(0, 1).T @ dout.flatten(0, 1)
    db2 = dout.sum((0, 1))
    dhpreact = (1 - h**2) * (dout @ W2.T)
    dW1 = mixed.flatten(0, 1).T @ dhpreact.flatten(0, 1)
    db1 = dhpreact.sum((0, 1))
    dmixed = dout + dhpreact @ W1.T
    demb = dmixed + share.T @ dmixed
    dP = torch.zeros_like(P)
    dP[:length] = demb.sum(0)
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return dC, dP, dW1, db1, dW2, db2, dW3, db3
