"""A character-level MLP with BatchNorm: makemore part 4, "Becoming a Backprop Ninja".

The context's letters are embedded, a hidden layer is normalised over the batch and bent by tanh,
an output layer gives a logit for each letter that may come next, and the loss is cross-entropy.
The forward is cut into steps so small that each is answered by one line of the backward, or two
where its result was used twice. Read them side by side, `forward` down, `backward` up:

    every sum in the forward is a broadcast in the backward, along the same axis;
    every broadcast in the forward is a value used many times, and so a sum in the backward.

Sources: Bengio et al., "A Neural Probabilistic Language Model", JMLR 3 (2003), for the network;
Ioffe and Szegedy, "Batch Normalization", ICML 2015, section 3, for BatchNorm.
"""
# ruff: noqa: RET504 - the loss is a line of its own, as every value is

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def parameters(vocab, context, embedding, hidden, generator):
    """Random weights, float32. None is zero: zeros would hide a mistake in a backward pass."""
    fan_in = context * embedding
    C = torch.randn((vocab, embedding), generator=generator)
    W1 = torch.randn((fan_in, hidden), generator=generator) * (5 / 3) / fan_in**0.5
    b1 = torch.randn(hidden, generator=generator) * 0.1  # BatchNorm takes it away again
    W2 = torch.randn((hidden, vocab), generator=generator) * 0.1
    b2 = torch.randn(vocab, generator=generator) * 0.1
    bngain = torch.randn((1, hidden), generator=generator) * 0.1 + 1.0
    bnbias = torch.randn((1, hidden), generator=generator) * 0.1
    return {"C": C, "W1": W1, "b1": b1, "W2": W2, "b2": b2, "bngain": bngain, "bnbias": bnbias}


def check(n, correction: int = 1):
    """What is wrong with a batch of `n`, before the first step; None when nothing is."""
    if n <= correction:
        return f"BatchNorm divides by n - {correction}: a batch of {n} is too small for it"
    return None


def forward(
    C: Float[Tensor, "vocab embedding"],
    W1: Float[Tensor, "context*embedding hidden"],
    b1: Float[Tensor, "hidden"],
    W2: Float[Tensor, "hidden vocab"],
    b2: Float[Tensor, "vocab"],
    bngain: Float[Tensor, "1 hidden"],
    bnbias: Float[Tensor, "1 hidden"],
    Xb: Int[Tensor, "n context"],
    Yb: Int[Tensor, "n"],
    correction: int = 1,
):
    """The mean cross-entropy of a batch, in nats.

    `correction` is what the variance's divisor takes off n: 1 is Bessel's 1/(n-1), unbiased;
    0 is 1/n, which comes out (n-1)/n too small on average.
    """
    n = Xb.shape[0]
    # embed the letters and put them side by side
    emb = C[Xb]  # (n, context, embedding)
    embcat = emb.view(n, -1)  # (n, context*embedding)
    # linear layer 1
    hprebn = embcat @ W1 + b1  # (n, hidden)
    # BatchNorm: each hidden unit to mean 0 and variance 1 over the batch, then a gain and a bias
    bnmeani = 1 / n * hprebn.sum(0, keepdim=True)  # (1, hidden)
    bndiff = hprebn - bnmeani  # (n, hidden)
    bndiff2 = bndiff**2  # (n, hidden)
    bnvar = 1 / (n - correction) * bndiff2.sum(0, keepdim=True)  # (1, hidden)
    bnvar_inv = (bnvar + 1e-5) ** -0.5  # (1, hidden)
    bnraw = bndiff * bnvar_inv  # (n, hidden)
    hpreact = bngain * bnraw + bnbias  # (n, hidden)
    # the bend
    h = torch.tanh(hpreact)  # (n, hidden)
    # linear layer 2
    logits = h @ W2 + b2  # (n, vocab)
    # cross-entropy
    logit_maxes = logits.max(1, keepdim=True).values  # (n, 1)
    norm_logits = logits - logit_maxes  # (n, vocab): exp cannot overflow
    counts = norm_logits.exp()  # (n, vocab)
    counts_sum = counts.sum(1, keepdim=True)  # (n, 1)
    counts_sum_inv = counts_sum**-1  # (n, 1)
    probs = counts * counts_sum_inv  # (n, vocab)
    logprobs = probs.log()  # (n, vocab)
    loss = -logprobs[range(n), Yb].mean()  # ()
    return loss


def backward(
    C, W1, W2, bngain, Xb, Yb, correction,
    n, emb, embcat, hprebn, bndiff, bndiff2, bnvar, bnvar_inv, bnraw, hpreact, h,
    logits, counts, counts_sum, counts_sum_inv, probs, logprobs,
):  # fmt: skip
    """Every gradient, one variable at a time: the forward's lines from the last to the first."""
    # loss = -logprobs[range(n), Yb].mean()
    dlogprobs = torch.zeros_like(logprobs)
    dlogprobs[range(n), Yb] = -1 / n
    # logprobs = probs.log()
    dprobs = dlogprobs / probs
    # probs = counts * counts_sum_inv: counts_sum_inv was broadcast over the letters, so a sum
    dcounts = counts_sum_inv * dprobs
    dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)
    # counts_sum_inv = counts_sum**-1
    dcounts_sum = -(counts_sum**-2) * dcounts_sum_inv
    # counts_sum = counts.sum(1, keepdim=True): a sum, so a broadcast; the second use of counts
    dcounts += dcounts_sum
    # counts = norm_logits.exp()
    dnorm_logits = counts * dcounts
    # norm_logits = logits - logit_maxes
    dlogits = dnorm_logits.clone()
    dlogit_maxes = -dnorm_logits.sum(1, keepdim=True)  # 0 but for rounding: the shift cancels
    # logit_maxes = logits.max(1, keepdim=True).values: to the one largest; the second use of logits
    dlogits.scatter_add_(1, logits.max(1, keepdim=True).indices, dlogit_maxes)
    # logits = h @ W2 + b2
    dh = dlogits @ W2.T
    dW2 = h.T @ dlogits
    db2 = dlogits.sum(0)
    # h = torch.tanh(hpreact)
    dhpreact = (1 - h**2) * dh
    # hpreact = bngain * bnraw + bnbias
    dbngain = (bnraw * dhpreact).sum(0, keepdim=True)
    dbnraw = bngain * dhpreact
    dbnbias = dhpreact.sum(0, keepdim=True)
    # bnraw = bndiff * bnvar_inv
    dbndiff = bnvar_inv * dbnraw
    dbnvar_inv = (bndiff * dbnraw).sum(0, keepdim=True)
    # bnvar_inv = (bnvar + 1e-5) ** -0.5
    dbnvar = -0.5 * (bnvar + 1e-5) ** -1.5 * dbnvar_inv
    # bnvar = 1 / (n - correction) * bndiff2.sum(0, keepdim=True)
    dbndiff2 = (1 / (n - correction) * dbnvar).expand_as(bndiff2)
    # bndiff2 = bndiff**2: the second use of bndiff
    dbndiff += 2 * bndiff * dbndiff2
    # bndiff = hprebn - bnmeani
    dhprebn = dbndiff.clone()
    dbnmeani = -dbndiff.sum(0, keepdim=True)
    # bnmeani = 1 / n * hprebn.sum(0, keepdim=True): the second use of hprebn
    dhprebn += 1 / n * dbnmeani
    # hprebn = embcat @ W1 + b1
    dembcat = dhprebn @ W1.T
    dW1 = embcat.T @ dhprebn
    db1 = dhprebn.sum(0)  # 0 but for rounding: BatchNorm takes b1 away
    # embcat = emb.view(n, -1)
    demb = dembcat.view(emb.shape)
    # emb = C[Xb]: a letter used many times gets the sum over its uses
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return dC, dW1, db1, dW2, db2, dbngain, dbnbias


def backward_fused(
    C, W1, W2, bngain, Xb, Yb, correction, n, emb, embcat, bnvar_inv, bnraw, h, probs
):  # fmt: skip
    """The same gradients with cross-entropy in one go and BatchNorm in one go."""
    # cross-entropy: the guess less what came
    dlogits = (probs - F.one_hot(Yb, probs.shape[1])) / n
    # linear layer 2 and the bend
    dh = dlogits @ W2.T
    dW2 = h.T @ dlogits
    db2 = dlogits.sum(0)
    dhpreact = (1 - h**2) * dh
    # BatchNorm: dhpreact less its mean, less its part along bnraw, scaled back
    dbngain = (bnraw * dhpreact).sum(0, keepdim=True)
    dbnbias = dhpreact.sum(0, keepdim=True)
    dhprebn = bngain * bnvar_inv * (dhpreact - dbnbias / n - bnraw * dbngain / (n - correction))
    # linear layer 1 and the embedding
    dembcat = dhprebn @ W1.T
    dW1 = embcat.T @ dhprebn
    db1 = dhprebn.sum(0)
    demb = dembcat.view(emb.shape)
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return dC, dW1, db1, dW2, db2, dbngain, dbnbias


def calibrate(batches, C, W1, b1, correction: int = 1):
    """BatchNorm's mean and variance over all of `batches`, blocks of contexts (n, context).

    Streaming, in float64, so that no block is too long: Chan, Golub and LeVeque, "Updating
    Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979), equation 2.1.
    """
    count, mean, scatter = 0, 0.0, 0.0  # scatter: the sum of squared distances from the mean
    for Xb in batches:
        n = Xb.shape[0]
        hprebn = (C[Xb].view(n, -1) @ W1 + b1).double()
        block_mean = hprebn.mean(0, keepdim=True)
        shift = block_mean - mean
        scatter = scatter + ((hprebn - block_mean) ** 2).sum(0, keepdim=True)
        scatter = scatter + shift**2 * (count * n / (count + n))
        mean = mean + shift * (n / (count + n))
        count += n
    variance = scatter / (count - correction)
    return {"bnmean": mean.to(b1.dtype), "bnvar": variance.to(b1.dtype)}  # (1, hidden) each


def predict(C, W1, b1, W2, b2, bngain, bnbias, Xb, bnmean, bnvar):
    """The logits (n, vocab) at test time: each row alone, normalised by the training set."""
    embcat = C[Xb].view(Xb.shape[0], -1)
    hprebn = embcat @ W1 + b1
    hpreact = bngain * (hprebn - bnmean) * (bnvar + 1e-5) ** -0.5 + bnbias
    return torch.tanh(hpreact) @ W2 + b2
