"""The smallest GPT: one layer, 16 wide, 4 heads, no biases.

Attention over the letters so far, then a perceptron with ReLU, each on normalised inputs and added
to what it read. It is Karpathy's `microgpt`: GPT-2 (Radford et al., 2019) with RMSNorm (Zhang and
Sennrich, NeurIPS 2019, equation 4, without gains) in place of LayerNorm and ReLU in place of GELU.
Attention is equation 1 of Vaswani et al., "Attention Is All You Need", NeurIPS 2017.
"""
# ruff: noqa: RET504 - the loss is a line of its own, as every value is

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def settings():
    """microgpt's; it takes one word a step, and so a batch's gradient is less noisy than its."""
    return {
        "layers": 1,
        "heads": 4,
        "width": 16,
        "optimizer": "adam",
        "beta1": 0.85,
        "beta2": 0.99,
        "rate": 0.01,
        "schedule": "linear",
    }


def check(width, heads):
    """What is wrong with these sizes; None when nothing is."""
    if width % heads:
        return f"{heads} heads cannot share a width of {width}: it must be a multiple"
    return None


def parameters(vocab, context, layers, width, generator):
    """Random weights, float32, all of standard deviation 0.08."""

    def normal(*shape):
        return torch.randn(shape, generator=generator) * 0.08

    return {
        "C": normal(vocab, width),
        "P": normal(context, width),
        "Wqkv": normal(layers, width, 3 * width),
        "Wo": normal(layers, width, width),
        "W1": normal(layers, width, 4 * width),
        "W2": normal(layers, 4 * width, width),
        "W3": normal(width, vocab),
    }


def forward(
    C: Float[Tensor, "vocab width"],
    P: Float[Tensor, "context width"],
    Wqkv: Float[Tensor, "layers width 3*width"],
    Wo: Float[Tensor, "layers width width"],
    W1: Float[Tensor, "layers width 4*width"],
    W2: Float[Tensor, "layers 4*width width"],
    W3: Float[Tensor, "width vocab"],
    Xb: Int[Tensor, "n context"],
    Yb: Int[Tensor, "n context"],
    heads: int = 1,
):
    """The mean cross-entropy of all letters of a batch of words, in nats."""
    n, length = Xb.shape
    layers, width = Wqkv.shape[:2]
    size = width // heads  # of a head
    future = torch.ones((length, length), dtype=torch.bool).triu(1)  # (length, length)
    # each letter, and its place
    emb = C[Xb]  # (n, length, width)
    x0 = emb + P[:length]  # (n, length, width)
    rms0 = ((x0**2).mean(2, keepdim=True) + 1e-5) ** -0.5  # (n, length, 1)
    x = x0 * rms0  # (n, length, width)
    blocks = []  # what the backward needs of each
    for layer in range(layers):
        # RMSNorm, then queries, keys and values, in heads
        rms1 = ((x**2).mean(2, keepdim=True) + 1e-5) ** -0.5  # (n, length, 1)
        a = x * rms1  # (n, length, width)
        qkv = a @ Wqkv[layer]  # (n, length, 3*width)
        parts = qkv.view(n, length, 3, heads, size).permute(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]  # (n, heads, length, size) each
        # attention: each letter asks those so far
        scores = q @ k.transpose(2, 3) * size**-0.5  # (n, heads, length, length)
        att = scores.masked_fill(future, float("-inf")).softmax(3)  # (n, heads, length, length)
        y = (att @ v).transpose(1, 2).reshape(n, length, width)  # the heads side by side
        m = x + y @ Wo[layer]  # (n, length, width)
        # RMSNorm, then a perceptron
        rms2 = ((m**2).mean(2, keepdim=True) + 1e-5) ** -0.5  # (n, length, 1)
        b = m * rms2  # (n, length, width)
        act = (b @ W1[layer]).relu()  # (n, length, 4*width)
        blocks.append((x, rms1, a, q, k, v, att, y, m, rms2, b, act))
        x = m + act @ W2[layer]  # (n, length, width)
    logits = x @ W3  # (n, length, vocab)
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
    C, P, Wqkv, Wo, W1, W2, W3, Xb,
    n, length, layers, width, size, x0, rms0, blocks, x, inside, letters, logprobs, count,
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
    # logits = x @ W3: the same W3 for all letters of all words, so a sum over them
    dx = dlogits @ W3.T
    dW3 = x.flatten(0, 1).T @ dlogits.flatten(0, 1)
    # the blocks, from the last to the first
    dWqkv, dWo = torch.zeros_like(Wqkv), torch.zeros_like(Wo)
    dW1, dW2 = torch.zeros_like(W1), torch.zeros_like(W2)
    for layer in reversed(range(layers)):
        x, rms1, a, q, k, v, att, y, m, rms2, b, act = blocks[layer]
        # x = m + act @ W2[layer]
        dm = dx.clone()
        dact = dx @ W2[layer].T
        dW2[layer] = act.flatten(0, 1).T @ dx.flatten(0, 1)
        # act = (b @ W1[layer]).relu()
        dbent = dact * (act > 0)
        db = dbent @ W1[layer].T
        dW1[layer] = b.flatten(0, 1).T @ dbent.flatten(0, 1)
        # b = m * rms2: the second use of m
        dm += db * rms2
        drms2 = (db * m).sum(2, keepdim=True)
        # rms2 = ((m**2).mean(2, keepdim=True) + 1e-5) ** -0.5: the third use of m
        dm += -(rms2**3) * drms2 / width * m
        # m = x + y @ Wo[layer]
        dx = dm.clone()
        dy = dm @ Wo[layer].T
        dWo[layer] = y.flatten(0, 1).T @ dm.flatten(0, 1)
        # y = (att @ v).transpose(1, 2).reshape(n, length, width)
        dheads = dy.view(n, length, -1, size).transpose(1, 2)  # (n, heads, length, size)
        datt = dheads @ v.transpose(2, 3)
        dv = att.transpose(2, 3) @ dheads
        # att = scores.masked_fill(future, float("-inf")).softmax(3): 0 where it is masked
        dscores = att * (datt - (att * datt).sum(3, keepdim=True))
        # scores = q @ k.transpose(2, 3) * size**-0.5
        dq = dscores @ k * size**-0.5
        dk = dscores.transpose(2, 3) @ q * size**-0.5
        # parts = qkv.view(n, length, 3, heads, size).permute(2, 0, 3, 1, 4)
        dparts = torch.stack([dq, dk, dv])
        dqkv = dparts.permute(1, 3, 0, 2, 4).reshape(n, length, 3 * width)
        # qkv = a @ Wqkv[layer]
        da = dqkv @ Wqkv[layer].T
        dWqkv[layer] = a.flatten(0, 1).T @ dqkv.flatten(0, 1)
        # a = x * rms1: the second use of x
        dx += da * rms1
        drms1 = (da * x).sum(2, keepdim=True)
        # rms1 = ((x**2).mean(2, keepdim=True) + 1e-5) ** -0.5: the third use of x
        dx += -(rms1**3) * drms1 / width * x
    # x = x0 * rms0
    dx0 = dx * rms0
    drms0 = (dx * x0).sum(2, keepdim=True)
    # rms0 = ((x0**2).mean(2, keepdim=True) + 1e-5) ** -0.5: the second use of x0
    dx0 += -(rms0**3) * drms0 / width * x0
    # x0 = emb + P[:length]
    demb = dx0
    dP = torch.zeros_like(P)
    dP[:length] = dx0.sum(0)
    # emb = C[Xb]: a letter used many times gets the sum over its uses
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return dC, dP, dWqkv, dWo, dW1, dW2, dW3


def backward_fused(
    C, P, Wqkv, Wo, W1, W2, W3, Xb,
    n, length, layers, width, size, rms0, blocks, x, inside, letters, logprobs, count,
):  # fmt: skip
    """The same gradients: cross-entropy in one go, and each RMSNorm in one go."""
    guess = logprobs.exp() - F.one_hot(letters, logprobs.shape[2])  # less what came
    dlogits = guess * (inside / count).unsqueeze(2)
    dx = dlogits @ W3.T
    dW3 = x.flatten(0, 1).T @ dlogits.flatten(0, 1)
    dWqkv, dWo = torch.zeros_like(Wqkv), torch.zeros_like(Wo)
    dW1, dW2 = torch.zeros_like(W1), torch.zeros_like(W2)
    for layer in reversed(range(layers)):
        x, rms1, a, q, k, v, att, y, _, rms2, b, act = blocks[layer]
        # the perceptron; RMSNorm: db less its part along b, scaled back
        dW2[layer] = act.flatten(0, 1).T @ dx.flatten(0, 1)
        dbent = (dx @ W2[layer].T) * (act > 0)
        dW1[layer] = b.flatten(0, 1).T @ dbent.flatten(0, 1)
        db = dbent @ W1[layer].T
        dm = dx + rms2 * (db - b * (b * db).mean(2, keepdim=True))
        # attention
        dWo[layer] = y.flatten(0, 1).T @ dm.flatten(0, 1)
        dheads = (dm @ Wo[layer].T).view(n, length, -1, size).transpose(1, 2)
        datt = dheads @ v.transpose(2, 3)
        dqk = att * (datt - (att * datt).sum(3, keepdim=True)) * size**-0.5
        dparts = torch.stack([dqk @ k, dqk.transpose(2, 3) @ q, att.transpose(2, 3) @ dheads])
        dqkv = dparts.permute(1, 3, 0, 2, 4).reshape(n, length, 3 * width)
        dWqkv[layer] = a.flatten(0, 1).T @ dqkv.flatten(0, 1)
        da = dqkv @ Wqkv[layer].T
        dx = dm + rms1 * (da - a * (a * da).mean(2, keepdim=True))
    x = blocks[0][0]
    demb = rms0 * (dx - x * (x * dx).mean(2, keepdim=True))
    dP = torch.zeros_like(P)
    dP[:length] = demb.sum(0)
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return dC, dP, dWqkv, dWo, dW1, dW2, dW3
