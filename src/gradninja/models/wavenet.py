"""A tree of layers: two neighbours become one, level by level, until one is left: makemore part 5.

Each level is linear, BatchNorm, tanh; a context of 8 letters has three. Source: van den Oord et
al., "WaveNet" (2016), section 2.1, whose dilated causal convolutions these are, for the last place
alone; Ioffe and Szegedy, "Batch Normalization", ICML 2015, section 3, for BatchNorm.
"""
# ruff: noqa: RET504 - the loss is a line of its own, as every value is

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def settings():
    """The lecture's."""
    return {"context": 8, "embedding": 24, "hidden": 128}


def check(n, context, correction: int = 1):
    """What is wrong with these sizes, before the first step; None when nothing is."""
    if context < 4 or context & (context - 1):
        return f"a context of {context} is not halved to one: it must be 4, 8, 16, ..."
    if n <= correction:
        return f"BatchNorm divides by n - {correction}: a batch of {n} is too small for it"
    return None


def inputs():
    """Values for `gradninja check` and its like: their axes hang together in ways of their own."""
    generator = torch.Generator().manual_seed(1)
    drawn = parameters(vocab=5, context=4, embedding=3, hidden=6, generator=generator)
    Xb = torch.randint(0, 5, (7, 4), generator=generator)
    return {**drawn, "Xb": Xb, "Yb": torch.randint(0, 5, (7,), generator=generator)}


def parameters(vocab, context, embedding, hidden, generator):
    """Random weights, float32; the output layer small, so that training starts from even odds."""

    def normal(fan_in, *shape):
        return torch.randn(shape, generator=generator) / fan_in**0.5

    levels = context.bit_length() - 1
    return {
        "C": torch.randn((vocab, embedding), generator=generator),
        "W1": normal(2 * embedding, 2 * embedding, hidden),
        "W": normal(2 * hidden, levels - 1, 2 * hidden, hidden),
        "bngain": torch.ones((levels, hidden)),
        "bnbias": torch.zeros((levels, hidden)),
        "W2": normal(hidden, hidden, vocab) * 0.1,
        "b2": torch.zeros(vocab),
    }


def forward(
    C: Float[Tensor, "vocab embedding"],
    W1: Float[Tensor, "2*embedding hidden"],
    W: Float[Tensor, "levels-1 2*hidden hidden"],
    bngain: Float[Tensor, "levels hidden"],
    bnbias: Float[Tensor, "levels hidden"],
    W2: Float[Tensor, "hidden vocab"],
    b2: Float[Tensor, "vocab"],
    Xb: Int[Tensor, "n context"],
    Yb: Int[Tensor, "n"],
    correction: int = 1,
):
    """The mean cross-entropy of a batch, in nats.

    `correction` is what the variance's divisor takes off: 1 is Bessel's, unbiased; 0 is none.
    """
    n = Xb.shape[0]
    levels = bngain.shape[0]
    emb = C[Xb]  # (n, context, embedding)
    x = emb.flatten(1)  # (n, context*embedding)
    tree = []  # what the backward needs of each level
    for level in range(levels):
        # two neighbours side by side, as rows: n times how many are left
        weight = W1 if level == 0 else W[level - 1]  # (2*wide, hidden)
        pairs = x.reshape(-1, weight.shape[0])  # (rows, 2*wide)
        rows = pairs.shape[0]
        hprebn = pairs @ weight  # (rows, hidden)
        # BatchNorm: each hidden unit to mean 0 and variance 1 over all rows
        bndiff = hprebn - hprebn.mean(0, keepdim=True)  # (rows, hidden)
        bnvar = (bndiff**2).sum(0, keepdim=True) / (rows - correction)  # (1, hidden)
        bnvar_inv = (bnvar + 1e-5) ** -0.5  # (1, hidden)
        bnraw = bndiff * bnvar_inv  # (rows, hidden)
        bent = torch.tanh(bngain[level] * bnraw + bnbias[level])  # (rows, hidden)
        tree.append((weight, pairs, rows, bndiff, bnvar, bnvar_inv, bnraw, bent))
        x = bent.view(n, -1)  # (n, left*hidden)
    h = x  # (n, hidden): one is left
    logits = h @ W2 + b2  # (n, vocab)
    logsum = logits.logsumexp(1, keepdim=True)  # (n, 1)
    logprobs = logits - logsum  # (n, vocab): log-softmax
    loss = -logprobs[range(n), Yb].mean()  # ()
    return loss


def backward(
    C, W, bngain, bnbias, W1, W2, Xb, Yb, correction, n, levels, emb, tree, h, logprobs
):  # fmt: skip
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
    # h = x
    dx = dh
    # the tree, from its root down
    dW = torch.zeros_like(W)
    dW1 = torch.zeros_like(W1)
    dbngain, dbnbias = torch.zeros_like(bngain), torch.zeros_like(bnbias)
    for level in reversed(range(levels)):
        weight, pairs, rows, bndiff, bnvar, bnvar_inv, bnraw, bent = tree[level]
        # x = bent.view(n, -1)
        dbent = dx.reshape(bent.shape)
        # bent = torch.tanh(bngain[level] * bnraw + bnbias[level])
        dbend = (1 - bent**2) * dbent
        dbngain[level] = (bnraw * dbend).sum(0)
        dbnbias[level] = dbend.sum(0)
        dbnraw = bngain[level] * dbend
        # bnraw = bndiff * bnvar_inv
        dbndiff = bnvar_inv * dbnraw
        dbnvar_inv = (bndiff * dbnraw).sum(0, keepdim=True)
        # bnvar_inv = (bnvar + 1e-5) ** -0.5
        dbnvar = -0.5 * (bnvar + 1e-5) ** -1.5 * dbnvar_inv
        # bnvar = (bndiff**2).sum(0, keepdim=True) / (rows - correction): the second use of bndiff
        dbndiff += 2 * bndiff * dbnvar / (rows - correction)
        # bndiff = hprebn - hprebn.mean(0, keepdim=True)
        dhprebn = dbndiff - dbndiff.mean(0, keepdim=True)
        # hprebn = pairs @ weight
        dpairs = dhprebn @ weight.T
        dweight = pairs.T @ dhprebn
        if level == 0:
            dW1 = dweight
        else:
            dW[level - 1] = dweight
        # pairs = x.reshape(-1, weight.shape[0])
        dx = dpairs.view(n, -1)
    # x = emb.flatten(1)
    demb = dx.view(emb.shape)
    # emb = C[Xb]: a letter used many times gets the sum over its uses
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return dC, dW1, dW, dbngain, dbnbias, dW2, db2


def backward_fused(
    C, W, bngain, bnbias, W1, W2, Xb, Yb, correction, n, levels, emb, tree, h, logprobs
):  # fmt: skip
    """The same gradients with cross-entropy in one go and each BatchNorm in one go."""
    dlogits = (logprobs.exp() - F.one_hot(Yb, logprobs.shape[1])) / n  # the guess less what came
    dx = dlogits @ W2.T
    dW2 = h.T @ dlogits
    db2 = dlogits.sum(0)
    dW = torch.zeros_like(W)
    dW1 = torch.zeros_like(W1)
    dbngain, dbnbias = torch.zeros_like(bngain), torch.zeros_like(bnbias)
    for level in reversed(range(levels)):
        weight, pairs, rows, _, _, bnvar_inv, bnraw, bent = tree[level]
        dbend = (1 - bent**2) * dx.reshape(bent.shape)
        # BatchNorm: dbend less its mean, less its part along bnraw, scaled back
        along = (bnraw * dbend).sum(0)
        total = dbend.sum(0)
        dbngain[level] = along
        dbnbias[level] = total
        spread = dbend - total / rows - bnraw * along / (rows - correction)
        dhprebn = bngain[level] * bnvar_inv * spread
        if level == 0:
            dW1 = pairs.T @ dhprebn
        else:
            dW[level - 1] = pairs.T @ dhprebn
        dx = (dhprebn @ weight.T).view(n, -1)
    demb = dx.view(emb.shape)
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return dC, dW1, dW, dbngain, dbnbias, dW2, db2


def calibrate(batches, C, W1, W, bngain, bnbias, correction: int = 1):
    """Every BatchNorm's mean and variance over all of `batches`, blocks of contexts (n, context).

    One level after the other, because a level sees what those below it make of their statistics;
    streaming, in float64: Chan, Golub and LeVeque (1979), equation 2.1.
    """
    levels = bngain.shape[0]
    means, variances = torch.zeros_like(bngain), torch.zeros_like(bngain)
    for level in range(levels):
        count, mean, scatter = 0, 0.0, 0.0  # scatter: the sum of squared distances from the mean
        for Xb in batches:
            x = C[Xb].flatten(1)
            for below in range(level + 1):
                weight = W1 if below == 0 else W[below - 1]
                hprebn = x.reshape(-1, weight.shape[0]) @ weight
                bnraw = (hprebn - means[below]) * (variances[below] + 1e-5) ** -0.5
                x = torch.tanh(bngain[below] * bnraw + bnbias[below]).view(len(Xb), -1)
            rows = hprebn.shape[0]
            block_mean = hprebn.double().mean(0)
            shift = block_mean - mean
            scatter = scatter + ((hprebn.double() - block_mean) ** 2).sum(0)
            scatter = scatter + shift**2 * (count * rows / (count + rows))
            mean = mean + shift * (rows / (count + rows))
            count += rows
        means[level] = mean
        variances[level] = scatter / (count - correction)
    return {"bnmean": means, "bnvar": variances}  # (levels, hidden) each


def predict(C, W1, W, bngain, bnbias, W2, b2, Xb, bnmean, bnvar):
    """The logits (n, vocab) at test time: each row alone, normalised by the training set."""
    x = C[Xb].flatten(1)
    for level in range(bngain.shape[0]):
        weight = W1 if level == 0 else W[level - 1]
        hprebn = x.reshape(-1, weight.shape[0]) @ weight
        bnraw = (hprebn - bnmean[level]) * (bnvar[level] + 1e-5) ** -0.5
        x = torch.tanh(bngain[level] * bnraw + bnbias[level]).view(Xb.shape[0], -1)
    return x @ W2 + b2
