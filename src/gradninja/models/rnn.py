"""A recurrent network: a state that is carried from letter to letter and bent by tanh at each.

Source: Elman, "Finding Structure in Time", Cognitive Science 14 (1990); as a language model
Mikolov et al., "Recurrent neural network based language model", Interspeech 2010, equations 1 to 3;
with embedded letters and a trained first state it is makemore's `RNN`. The backward is
backpropagation through time: the loop again, from the last letter to the first.
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
        "W1": uniform(both, both, hidden),
        "b1": uniform(both, hidden),
        "W2": uniform(hidden, hidden, vocab),
        "b2": uniform(hidden, vocab),
    }


def forward(
    C: Float[Tensor, "vocab embedding"],
    start: Float[Tensor, "1 hidden"],
    W1: Float[Tensor, "embedding+hidden hidden"],
    b1: Float[Tensor, "hidden"],
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
    inputs = []  # (n, embedding+hidden) each
    for t in range(length):
        inputs.append(torch.cat([emb[:, t], states[t]], 1))
        states.append(torch.tanh(inputs[t] @ W1 + b1))
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
    C, W1, W2, Xb, length, emb, states, inputs, h, inside, letters, logprobs, count
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
    demb = torch.zeros_like(emb)
    dW1 = torch.zeros_like(W1)
    db1 = torch.zeros_like(W1[0])
    dlater = torch.zeros_like(states[0])
    for t in reversed(range(length)):
        dstate = dh[:, t] + dlater
        # states[t + 1] = torch.tanh(inputs[t] @ W1 + b1)
        dbent = (1 - states[t + 1] ** 2) * dstate
        dinput = dbent @ W1.T
        dW1 += inputs[t].T @ dbent
        db1 += dbent.sum(0)
        # inputs[t] = torch.cat([emb[:, t], states[t]], 1)
        demb[:, t] = dinput[:, : emb.shape[2]]
        dlater = dinput[:, emb.shape[2] :]
    # states[0] = start.expand(n, -1): a broadcast, so a sum
    dstart = dlater.sum(0, keepdim=True)
    # emb = C[Xb]: a letter used many times gets the sum over its uses
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return dC, dstart, dW1, db1, dW2, db2


def backward_fused(
    C, W1, W2, Xb, length, emb, states, inputs, h, inside, letters, logprobs, count
):  # fmt: skip
    """The same gradients: cross-entropy in one go, and the loop's weights in one product."""
    guess = logprobs.exp() - F.one_hot(letters, logprobs.shape[2])  # less what came
    dlogits = guess * (inside / count).unsqueeze(2)
    dh = dlogits @ W2.T
    dW2 = h.flatten(0, 1).T @ dlogits.flatten(0, 1)
    db2 = dlogits.sum((0, 1))
    # only what one letter hands to the one before it has to wait for its turn
    slope = 1 - h**2
    size = emb.shape[2]
    dlater = torch.zeros_like(states[0])
    dbents = []
    for t in reversed(range(length)):
        dbent = slope[:, t] * (dh[:, t] + dlater)
        dlater = dbent @ W1[size:].T
        dbents.insert(0, dbent)
    dbents = torch.stack(dbents, 1)  # (n, length, hidden)
    dW1 = torch.stack(inputs, 1).flatten(0, 1).T @ dbents.flatten(0, 1)
    db1 = dbents.sum((0, 1))
    dstart = dlater.sum(0, keepdim=True)
    demb = dbents @ W1[:size].T
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return dC, dstart, dW1, db1, dW2, db2
