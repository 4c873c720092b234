"""A gated recurrent unit: a state that is only changed as far as a gate opens.

Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014,
equations 5 to 8, with biases, and z and 1 - z the other way round; it is makemore's `GRUCell`.
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


def parameters(vocab, embedding, hidden, generator):
    """Random weights, float32, as PyTorch draws those of its layers; the first state is 0."""

    def uniform(fan_in, *shape):
        return (torch.rand(shape, generator=generator) * 2 - 1) / fan_in**0.5

    both = embedding + hidden
    return {
        "C": torch.randn((vocab, embedding), generator=generator),
        "start": torch.zeros((1, hidden)),
        "Wz": uniform(both, both, hidden),
        "bz": uniform(both, hidden),
        "Wr": uniform(both, both, hidden),
        "br": uniform(both, hidden),
        "Wh": uniform(both, both, hidden),
        "bh": uniform(both, hidden),
        "W2": uniform(hidden, hidden, vocab),
        "b2": uniform(hidden, vocab),
    }


def forward(
    C: Float[Tensor, "vocab embedding"],
    start: Float[Tensor, "1 hidden"],
    Wz: Float[Tensor, "embedding+hidden hidden"],
    bz: Float[Tensor, "hidden"],
    Wr: Float[Tensor, "embedding+hidden hidden"],
    br: Float[Tensor, "hidden"],
    Wh: Float[Tensor, "embedding+hidden hidden"],
    bh: Float[Tensor, "hidden"],
    W2: Float[Tensor, "hidden vocab"],
    b2: Float[Tensor, "vocab"],
    Xb: Int[Tensor, "n context"],
    Yb: Int[Tensor, "n context"],
):
    """The mean cross-entropy of all letters of a batch of words, in nats."""
    n, length = Xb.shape
    emb = C[Xb]  # (n, length, embedding)
    # letter by letter: the state before it and the letter give the state after it
    states = [start.expand(n, -1)]  # (n, hidden) each
    steps = []  # what the backward needs of each
    for t in range(length):
        both = torch.cat([emb[:, t], states[t]], 1)  # (n, embedding+hidden)
        r = torch.sigmoid(both @ Wr + br)  # (n, hidden): the reset gate wipes some of the state
        wiped = torch.cat([emb[:, t], r * states[t]], 1)  # (n, embedding+hidden)
        new = torch.tanh(wiped @ Wh + bh)  # (n, hidden): the candidate
        z = torch.sigmoid(both @ Wz + bz)  # (n, hidden): the gate that blends
        states.append((1 - z) * states[t] + z * new)
        steps.append((both, r, wiped, new, z))
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
    C, Wz, bz, Wr, br, Wh, bh, W2, Xb,
    length, emb, states, steps, h, inside, letters, logprobs, count,
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
    dWz, dbz = torch.zeros_like(Wz), torch.zeros_like(bz)
    dWr, dbr = torch.zeros_like(Wr), torch.zeros_like(br)
    dWh, dbh = torch.zeros_like(Wh), torch.zeros_like(bh)
    dlater = torch.zeros_like(states[0])
    for t in reversed(range(length)):
        both, r, wiped, new, z = steps[t]
        dstate = dh[:, t] + dlater
        # states[t + 1] = (1 - z) * states[t] + z * new
        dz = (new - states[t]) * dstate
        dnew = z * dstate
        dlater = (1 - z) * dstate
        # z = torch.sigmoid(both @ Wz + bz)
        dbend = z * (1 - z) * dz
        dboth = dbend @ Wz.T
        dWz += both.T @ dbend
        dbz += dbend.sum(0)
        # new = torch.tanh(wiped @ Wh + bh)
        dbend = (1 - new**2) * dnew
        dwiped = dbend @ Wh.T
        dWh += wiped.T @ dbend
        dbh += dbend.sum(0)
        # wiped = torch.cat([emb[:, t], r * states[t]], 1): the second use of states[t]
        demb[:, t] = dwiped[:, :size]
        dr = states[t] * dwiped[:, size:]
        dlater += r * dwiped[:, size:]
        # r = torch.sigmoid(both @ Wr + br): the second use of both
        dbend = r * (1 - r) * dr
        dboth += dbend @ Wr.T
        dWr += both.T @ dbend
        dbr += dbend.sum(0)
        # both = torch.cat([emb[:, t], states[t]], 1): the third use of states[t]
        demb[:, t] += dboth[:, :size]
        dlater += dboth[:, size:]
    # states[0] = start.expand(n, -1): a broadcast, so a sum
    dstart = dlater.sum(0, keepdim=True)
    # emb = C[Xb]: a letter used many times gets the sum over its uses
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return dC, dstart, dWz, dbz, dWr, dbr, dWh, dbh, dW2, db2


def backward_fused(
    C, Wz, Wr, Wh, W2, Xb,
    length, emb, states, steps, h, inside, letters, logprobs, count,
):  # fmt: skip
    """The same gradients: cross-entropy in one go, and the loop's weights in one product each."""
    guess = logprobs.exp() - F.one_hot(letters, logprobs.shape[2])  # less what came
    dlogits = guess * (inside / count).unsqueeze(2)
    dh = dlogits @ W2.T
    dW2 = h.flatten(0, 1).T @ dlogits.flatten(0, 1)
    db2 = dlogits.sum((0, 1))
    # only what one letter hands to the one before it has to wait for its turn
    size = emb.shape[2]
    dlater = torch.zeros_like(states[0])
    ats, bends = [], []  # what was read, and the gradients before the bends
    for t in reversed(range(length)):
        both, r, wiped, new, z = steps[t]
        dstate = dh[:, t] + dlater
        dzbend = z * (1 - z) * (new - states[t]) * dstate
        dnewbend = (1 - new**2) * z * dstate
        dkept = dnewbend @ Wh[size:].T
        drbend = r * (1 - r) * states[t] * dkept
        dlater = (1 - z) * dstate + r * dkept + dzbend @ Wz[size:].T + drbend @ Wr[size:].T
        ats.insert(0, (both, wiped))
        bends.insert(0, (dzbend, drbend, dnewbend))
    boths = torch.stack([both for both, _ in ats], 1).flatten(0, 1)  # (n*length, ...) each
    wipeds = torch.stack([wiped for _, wiped in ats], 1).flatten(0, 1)
    dzbends = torch.stack([dz for dz, _, _ in bends], 1).flatten(0, 1)
    drbends = torch.stack([dr for _, dr, _ in bends], 1).flatten(0, 1)
    dnewbends = torch.stack([dnew for _, _, dnew in bends], 1).flatten(0, 1)
    dWz, dbz = boths.T @ dzbends, dzbends.sum(0)
    dWr, dbr = boths.T @ drbends, drbends.sum(0)
    dWh, dbh = wipeds.T @ dnewbends, dnewbends.sum(0)
    dread = dzbends @ Wz[:size].T + drbends @ Wr[:size].T + dnewbends @ Wh[:size].T
    demb = dread.view(emb.shape)
    dstart = dlater.sum(0, keepdim=True)
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return dC, dstart, dWz, dbz, dWr, dbr, dWh, dbh, dW2, db2
