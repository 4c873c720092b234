"""A character-level MLP: the context's letters embedded, one tanh layer, softmax.

Source: Bengio et al., "A Neural Probabilistic Language Model", JMLR 3 (2003), section 2, without
the direct connections (their matrix W is 0); with characters for words it is makemore part 2.
"""
# ruff: noqa: RET504 - the loss is a line of its own, as every value is

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def parameters(vocab, context, embedding, hidden, generator):
    """Random weights, float32; the output layer small, so that training starts from even odds."""
    fan_in = context * embedding
    C = torch.randn((vocab, embedding), generator=generator)
    W1 = torch.randn((fan_in, hidden), generator=generator) * (5 / 3) / fan_in**0.5
    b1 = torch.randn(hidden, generator=generator) * 0.01
    W2 = torch.randn((hidden, vocab), generator=generator) * 0.01
    b2 = torch.zeros(vocab)
    return {"C": C, "W1": W1, "b1": b1, "W2": W2, "b2": b2}


def forward(
    C: Float[Tensor, "vocab embedding"],
    W1: Float[Tensor, "context*embedding hidden"],
    b1: Float[Tensor, "hidden"],
    W2: Float[Tensor, "hidden vocab"],
    b2: Float[Tensor, "vocab"],
    Xb: Int[Tensor, "n context"],
    Yb: Int[Tensor, "n"],
):
    """The mean cross-entropy of a batch, in nats."""
    n = Xb.shape[0]
    emb = C[Xb]  # (n, context, embedding)
    embcat = emb.view(n, -1)  # (n, context*embedding)
    hpreact = embcat @ W1 + b1  # (n, hidden)
    h = torch.tanh(hpreact)  # (n, hidden)
    logits = h @ W2 + b2  # (n, vocab)
    logsum = logits.logsumexp(1, keepdim=True)  # (n, 1)
    logprobs = logits - logsum  # (n, vocab): log-softmax
    loss = -logprobs[range(n), Yb].mean()  # ()
    return loss


def backward(C, W1, W2, Xb, Yb, n, emb, embcat, h, logprobs):
    """Every gradient, one variable at a time: the forward's lines from the last to the first."""
    # loss = -logprobs[range(n), Yb].mean()
    dlogprobs = torch.zeros_like(logprobs)
    dlogprobs[range(n), Yb] = -1 / n
    # logprobs = logits - logsum: logsum was broadcast over the letters, so a sum
    dlogits = dlogprobs.clone()
    dlogsum = -dlogprobs.sum(1, keepdim=True)
    # logsum = logits.logsumexp(1, keepdim=True): its slope is softmax; the second use of logits
    dlogits += logprobs.exp() * dlogsum
    # logits = h @ W2 + b2
    dh = dlogits @ W2.T
    dW2 = h.T @ dlogits
    db2 = dlogits.sum(0)
    # h = torch.tanh(hpreact)
    dhpreact = (1 - h**2) * dh
    # hpreact = embcat @ W1 + b1
    dembcat = dhpreact @ W1.T
    dW1 = embcat.T @ dhpreact
    db1 = dhpreact.sum(0)
    # embcat = emb.view(n, -1)
    demb = dembcat.view(emb.shape)
    # emb = C[Xb]: a letter used many times gets the sum over its uses
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return dC, dW1, db1, dW2, db2


def backward_fused(C, W1, W2, Xb, Yb, n, emb, embcat, h, logprobs):
    """The same gradients with softmax and cross-entropy in one go."""
    dlogits = (logprobs.exp() - F.one_hot(Yb, logprobs.shape[1])) / n  # the guess less what came
    dW2 = h.T @ dlogits
    db2 = dlogits.sum(0)
    dhpreact = (1 - h**2) * (dlogits @ W2.T)
    dW1 = embcat.T @ dhpreact
    db1 = dhpreact.sum(0)
    demb = (dhpreact @ W1.T).view(emb.shape)
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return dC, dW1, db1, dW2, db2


def predict(C, W1, b1, W2, b2, Xb):
    """The logits (n, vocab)."""
    embcat = C[Xb].view(Xb.shape[0], -1)
    h = torch.tanh(embcat @ W1 + b1)
    return h @ W2 + b2
