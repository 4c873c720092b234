"""Long short-term memory: beside its state a cell that is added to, and so keeps gradients alive.

Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9 (1997), with the
forget gate of Gers et al. (2000); the equations are 7 to 11 of Graves, "Generating Sequences With
Recurrent Neural Networks" (2013), without the gates' view of the cell. The four products are one.
"""
# ruff: noqa: RET504 - the loss is a line of its own, as every value is

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def settings():
    """Those of makemore's other recurrent networks."""
    return {
        "embedding": 64,
        "hidden": 64,
        "optimizer": "adamw",
        "rate": 5e-4,
        "decay": 0.01,
        "schedule": "constant",
    }


def parameters(vocab, embedding, hidden, generator):
    """Random weights, float32, as PyTorch draws those of its layers; state and cell start at 0."""

    def uniform(fan_in, *shape):
        return (torch.rand(shape, generator=generator) * 2 - 1) / fan_in**0.5

    both = embedding + hidden
    return {
        "C": torch.randn((vocab, embedding), generator=generator),
        "start": torch.zeros((1, hidden)),
        "W1": uniform(both, both, 4 * hidden),
        "b1": uniform(both, 4 * hidden),
        "W2": uniform(hidden, hidden, vocab),
        "b2": uniform(hidden, vocab),
    }


def forward(
    C: Float[Tensor, "vocab embedding"],
    start: Float[Tensor, "1 hidden"],
    W1: Float[Tensor, "embedding+hidden 4*hidden"],
    b1: Float[Tensor, "4*hidden"],
    W2: Float[Tensor, "hidden vocab"],
    b2: Float[Tensor, "vocab"],
    Xb: Int[Tensor, "n context"],
    Yb: Int[Tensor, "n context"],
):
    """The mean cross-entropy of all letters of a batch of words, in nats."""
    n, length = Xb.shape
    emb = C[Xb]  # (n, length, embedding)
    # letter by letter: state and cell before it and the letter give those after it
    states = [start.expand(n, -1)]  # (n, hidden) each
    cells = [torch.zeros_like(states[0])]  # (n, hidden) each
    steps = []  # what the backward needs of each
    for t in range(length):
        both = torch.cat([emb[:, t], states[t]], 1)  # (n, embedding+hidden)
        gates = both @ W1 + b1  # (n, 4*hidden)
        ibend, fbend, obend, gbend = gates.chunk(4, 1)  # (n, hidden) each
        i = torch.sigmoid(ibend)  # what is let in
        f = torch.sigmoid(fbend)  # what is kept
        o = torch.sigmoid(obend)  # what is shown
        g = torch.tanh(gbend)  # what there is to let in
        cells.append(f * cells[t] + i * g)
        shown = torch.tanh(cells[t + 1])  # (n, hidden)
        states.append(o * shown)
        steps.append((both, i, f, o, g, shown))
    h = torch.stack(states[1:], 1)  # (n, length, hidden)
    logits = h @ W2 + b2  # (n, length, vocab)
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
    C, W1, b1, W2, Xb, length, emb, states, cells, steps, h, inside, letters, logprobs, count
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
    # logits = h @ W2 + b2: the same W2 for all letters of all words, so a sum over them
    dh = dlogits @ W2.T
    dW2 = h.flatten(0, 1).T @ dlogits.flatten(0, 1)
    db2 = dlogits.sum((0, 1))
    # the loop, backwards: a state is used by its own logits and by the state after it
    size = emb.shape[2]
    demb = torch.zeros_like(emb)
    dW1 = torch.zeros_like(W1)
    db1 = torch.zeros_like(b1)
    dlater = torch.zeros_like(states[0])
    dcell = torch.zeros_like(cells[0])
    for t in reversed(range(length)):
        both, i, f, o, g, shown = steps[t]
        dstate = dh[:, t] + dlater
        # states[t + 1] = o * shown
        do = shown * dstate
        dshown = o * dstate
        # shown = torch.tanh(cells[t + 1]): the second use of the cell, after the cell that follows
        dcell = dcell + (1 - shown**2) * dshown
        # cells[t + 1] = f * cells[t] + i * g
        df = cells[t] * dcell
        di = g * dcell
        dg = i * dcell
        dcell = f * dcell
        # the bends
        dibend = i * (1 - i) * di
        dfbend = f * (1 - f) * df
        dobend = o * (1 - o) * do
        dgbend = (1 - g**2) * dg
        # ibend, fbend, obend, gbend = gates.chunk(4, 1)
        dgates = torch.cat([dibend, dfbend, dobend, dgbend], 1)
        # gates = both @ W1 + b1
        dboth = dgates @ W1.T
        dW1 += both.T @ dgates
        db1 += dgates.sum(0)
        # both = torch.cat([emb[:, t], states[t]], 1)
        demb[:, t] = dboth[:, :size]
        dlater = dboth[:, size:]
    # states[0] = start.expand(n, -1): a broadcast, so a sum
    dstart = dlater.sum(0, keepdim=True)
    # emb = C[Xb]: a letter used many times gets the sum over its uses
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return dC, dstart, dW1, db1, dW2, db2


def backward_fused(
    C, W1, W2, Xb, length, emb, states, cells, steps, h, inside, letters, logprobs, count
):  # fmt: skip
    """The same gradients: cross-entropy in one go, and the loop's weights in one product."""
    guess = logprobs.exp() - F.one_hot(letters, logprobs.shape[2])  # less what came
    dlogits = guess * (inside / count).unsqueeze(2)
    dh = dlogits @ W2.T
    dW2 = h.flatten(0, 1).T @ dlogits.flatten(0, 1)
    db2 = dlogits.sum((0, 1))
    # only what one letter hands to the one before it has to wait for its turn
    size = emb.shape[2]
    dlater = torch.zeros_like(states[0])
    dcell = torch.zeros_like(cells[0])
    boths, bends = [], []
    for t in reversed(range(length)):
        both, i, f, o, g, shown = steps[t]
        dstate = dh[:, t] + dlater
        dcell = dcell + (1 - shown**2) * o * dstate
        dibend = i * (1 - i) * g * dcell
        dfbend = f * (1 - f) * cells[t] * dcell
        dobend = o * (1 - o) * shown * dstate
        dgbend = (1 - g**2) * i * dcell
        dbend = torch.cat([dibend, dfbend, dobend, dgbend], 1)
        dlater = dbend @ W1[size:].T
        dcell = f * dcell
        boths.insert(0, both)
        bends.insert(0, dbend)
    inputs = torch.stack(boths, 1).flatten(0, 1)  # (n*length, embedding+hidden)
    dbends = torch.stack(bends, 1).flatten(0, 1)  # (n*length, 4*hidden)
    dW1 = inputs.T @ dbends
    db1 = dbends.sum(0)
    demb = (dbends @ W1[:size].T).view(emb.shape)
    dstart = dlater.sum(0, keepdim=True)
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return dC, dstart, dW1, db1, dW2, db2
