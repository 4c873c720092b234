"""A transformer: blocks of attention over the letters so far and of a perceptron.

Source: makemore's `Transformer`, which is GPT-2: Radford et al., "Language Models are Unsupervised
Multitask Learners" (2019), section 2.3, with LayerNorm before each part. Attention is equation 1 of
Vaswani et al., "Attention Is All You Need", NeurIPS 2017; LayerNorm is Ba, Kiros and Hinton (2016),
equation 4; GELU is the form with tanh of Hendrycks and Gimpel (2016), section 2.
"""
# ruff: noqa: RET504 - the loss is a line of its own, as every value is

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def settings():
    """makemore's."""
    return {
        "layers": 4,
        "heads": 4,
        "width": 64,
        "schedule": "constant",
        "optimizer": "adamw",
        "rate": 5e-4,
        "decay": 0.01,
    }


def check(width, heads):
    """What is wrong with these sizes; None when nothing is."""
    if width % heads:
        return f"{heads} heads cannot share a width of {width}: it must be a multiple"
    return None


def parameters(vocab, context, layers, width, generator):
    """Random weights, float32, as PyTorch draws those of its layers; gains 1, their biases 0."""

    def uniform(fan_in, *shape):
        return (torch.rand(shape, generator=generator) * 2 - 1) / fan_in**0.5

    return {
        "C": torch.randn((vocab, width), generator=generator),
        "P": torch.randn((context, width), generator=generator),
        "gain1": torch.ones((layers, width)),
        "bias1": torch.zeros((layers, width)),
        "Wqkv": uniform(width, layers, width, 3 * width),
        "bqkv": uniform(width, layers, 3 * width),
        "Wo": uniform(width, layers, width, width),
        "bo": uniform(width, layers, width),
        "gain2": torch.ones((layers, width)),
        "bias2": torch.zeros((layers, width)),
        "W1": uniform(width, layers, width, 4 * width),
        "b1": uniform(width, layers, 4 * width),
        "W2": uniform(4 * width, layers, 4 * width, width),
        "b2": uniform(4 * width, layers, width),
        "gain3": torch.ones(width),
        "bias3": torch.zeros(width),
        "W3": uniform(width, width, vocab),
    }


def forward(
    C: Float[Tensor, "vocab width"],
    P: Float[Tensor, "context width"],
    gain1: Float[Tensor, "layers width"],
    bias1: Float[Tensor, "layers width"],
    Wqkv: Float[Tensor, "layers width 3*width"],
    bqkv: Float[Tensor, "layers 3*width"],
    Wo: Float[Tensor, "layers width width"],
    bo: Float[Tensor, "layers width"],
    gain2: Float[Tensor, "layers width"],
    bias2: Float[Tensor, "layers width"],
    W1: Float[Tensor, "layers width 4*width"],
    b1: Float[Tensor, "layers 4*width"],
    W2: Float[Tensor, "layers 4*width width"],
    b2: Float[Tensor, "layers width"],
    gain3: Float[Tensor, "width"],
    bias3: Float[Tensor, "width"],
    W3: Float[Tensor, "width vocab"],
    Xb: Int[Tensor, "n context"],
    Yb: Int[Tensor, "n context"],
    heads: int = 1,
):
    """The mean cross-entropy of all letters of a batch of words, in nats."""
    n, length = Xb.shape
    layers, width = gain1.shape
    size = width // heads  # of a head
    slope = math.sqrt(2 / math.pi)  # of GELU
    future = torch.ones((length, length), dtype=torch.bool).triu(1)  # (length, length)
    # each letter, and its place
    emb = C[Xb]  # (n, length, width)
    x = emb + P[:length]  # (n, length, width)
    blocks = []  # what the backward needs of each
    for layer in range(layers):
        # LayerNorm, then queries, keys and values, in heads
        diff1 = x - x.mean(2, keepdim=True)  # (n, length, width)
        inv1 = ((diff1**2).mean(2, keepdim=True) + 1e-5) ** -0.5  # (n, length, 1)
        hat1 = diff1 * inv1  # (n, length, width)
        a = hat1 * gain1[layer] + bias1[layer]  # (n, length, width)
        qkv = a @ Wqkv[layer] + bqkv[layer]  # (n, length, 3*width)
        parts = qkv.view(n, length, 3, heads, size).permute(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]  # (n, heads, length, size) each
        # attention: each letter asks those so far
        scores = q @ k.transpose(2, 3) * size**-0.5  # (n, heads, length, length)
        att = scores.masked_fill(future, float("-inf")).softmax(3)  # (n, heads, length, length)
        y = (att @ v).transpose(1, 2).reshape(n, length, width)  # the heads side by side
        m = x + (y @ Wo[layer] + bo[layer])  # (n, length, width)
        # LayerNorm, then a perceptron with GELU
        diff2 = m - m.mean(2, keepdim=True)  # (n, length, width)
        inv2 = ((diff2**2).mean(2, keepdim=True) + 1e-5) ** -0.5  # (n, length, 1)
        hat2 = diff2 * inv2  # (n, length, width)
        b = hat2 * gain2[layer] + bias2[layer]  # (n, length, width)
        u = b @ W1[layer] + b1[layer]  # (n, length, 4*width)
        bend = torch.tanh(slope * (u + 0.044715 * u**3))  # (n, length, 4*width)
        act = 0.5 * u * (1 + bend)  # (n, length, 4*width)
        blocks.append((diff1, inv1, hat1, a, q, k, v, att, y, diff2, inv2, hat2, b, u, bend, act))
        x = m + (act @ W2[layer] + b2[layer])  # (n, length, width)
    # LayerNorm, then a logit for each letter
    diff3 = x - x.mean(2, keepdim=True)  # (n, length, width)
    inv3 = ((diff3**2).mean(2, keepdim=True) + 1e-5) ** -0.5  # (n, length, 1)
    hat3 = diff3 * inv3  # (n, length, width)
    c = hat3 * gain3 + bias3  # (n, length, width)
    logits = c @ W3  # (n, length, vocab)
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
    C, P, gain1, Wqkv, bqkv, Wo, bo, gain2, W1, b1, W2, b2, gain3, W3, Xb,
    n, length, layers, width, size, slope, blocks, diff3, inv3, hat3, c,
    inside, letters, logprobs, count,
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
    # logits = c @ W3: the same W3 for all letters of all words, so a sum over them
    dc = dlogits @ W3.T
    dW3 = c.flatten(0, 1).T @ dlogits.flatten(0, 1)
    # c = hat3 * gain3 + bias3: each was broadcast over all letters
    dhat3 = dc * gain3
    dgain3 = (dc * hat3).sum((0, 1))
    dbias3 = dc.sum((0, 1))
    # hat3 = diff3 * inv3
    ddiff3 = dhat3 * inv3
    dinv3 = (dhat3 * diff3).sum(2, keepdim=True)
    # inv3 = ((diff3**2).mean(2, keepdim=True) + 1e-5) ** -0.5: the second use of diff3
    ddiff3 += -(inv3**3) * dinv3 / width * diff3
    # diff3 = x - x.mean(2, keepdim=True)
    dx = ddiff3 - ddiff3.mean(2, keepdim=True)
    # the blocks, from the last to the first
    dgain1, dbias1 = torch.zeros_like(gain1), torch.zeros_like(gain1)
    dWqkv, dbqkv = torch.zeros_like(Wqkv), torch.zeros_like(bqkv)
    dWo, dbo = torch.zeros_like(Wo), torch.zeros_like(bo)
    dgain2, dbias2 = torch.zeros_like(gain2), torch.zeros_like(gain2)
    dW1, db1 = torch.zeros_like(W1), torch.zeros_like(b1)
    dW2, db2 = torch.zeros_like(W2), torch.zeros_like(b2)
    for layer in reversed(range(layers)):
        diff1, inv1, hat1, a, q, k, v, att, y, diff2, inv2, hat2, b, u, bend, act = blocks[layer]
        # x = m + (act @ W2[layer] + b2[layer])
        dm = dx.clone()
        dact = dx @ W2[layer].T
        dW2[layer] = act.flatten(0, 1).T @ dx.flatten(0, 1)
        db2[layer] = dx.sum((0, 1))
        # act = 0.5 * u * (1 + bend)
        du = 0.5 * (1 + bend) * dact
        dbend = 0.5 * u * dact
        # bend = torch.tanh(slope * (u + 0.044715 * u**3)): the second use of u
        du += (1 - bend**2) * slope * (1 + 3 * 0.044715 * u**2) * dbend
        # u = b @ W1[layer] + b1[layer]
        db = du @ W1[layer].T
        dW1[layer] = b.flatten(0, 1).T @ du.flatten(0, 1)
        db1[layer] = du.sum((0, 1))
        # b = hat2 * gain2[layer] + bias2[layer]
        dhat2 = db * gain2[layer]
        dgain2[layer] = (db * hat2).sum((0, 1))
        dbias2[layer] = db.sum((0, 1))
        # hat2 = diff2 * inv2
        ddiff2 = dhat2 * inv2
        dinv2 = (dhat2 * diff2).sum(2, keepdim=True)
        # inv2 = ((diff2**2).mean(2, keepdim=True) + 1e-5) ** -0.5: the second use of diff2
        ddiff2 += -(inv2**3) * dinv2 / width * diff2
        # diff2 = m - m.mean(2, keepdim=True): the second use of m
        dm += ddiff2 - ddiff2.mean(2, keepdim=True)
        # m = x + (y @ Wo[layer] + bo[layer])
        dx = dm.clone()
        dy = dm @ Wo[layer].T
        dWo[layer] = y.flatten(0, 1).T @ dm.flatten(0, 1)
        dbo[layer] = dm.sum((0, 1))
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
        # qkv = a @ Wqkv[layer] + bqkv[layer]
        da = dqkv @ Wqkv[layer].T
        dWqkv[layer] = a.flatten(0, 1).T @ dqkv.flatten(0, 1)
        dbqkv[layer] = dqkv.sum((0, 1))
        # a = hat1 * gain1[layer] + bias1[layer]
        dhat1 = da * gain1[layer]
        dgain1[layer] = (da * hat1).sum((0, 1))
        dbias1[layer] = da.sum((0, 1))
        # hat1 = diff1 * inv1
        ddiff1 = dhat1 * inv1
        dinv1 = (dhat1 * diff1).sum(2, keepdim=True)
        # inv1 = ((diff1**2).mean(2, keepdim=True) + 1e-5) ** -0.5: the second use of diff1
        ddiff1 += -(inv1**3) * dinv1 / width * diff1
        # diff1 = x - x.mean(2, keepdim=True): the second use of x
        dx += ddiff1 - ddiff1.mean(2, keepdim=True)
    # x = emb + P[:length]
    demb = dx
    dP = torch.zeros_like(P)
    dP[:length] = dx.sum(0)
    # emb = C[Xb]: a letter used many times gets the sum over its uses
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return (
        dC, dP, dgain1, dbias1, dWqkv, dbqkv, dWo, dbo, dgain2, dbias2, dW1, db1, dW2, db2,
        dgain3, dbias3, dW3,
    )  # fmt: skip


def backward_fused(
    C, P, gain1, Wqkv, bqkv, Wo, bo, gain2, W1, b1, W2, b2, gain3, W3, Xb,
    n, length, layers, width, size, slope, blocks, inv3, hat3, c, inside, letters, logprobs, count,
):  # fmt: skip
    """The same gradients: cross-entropy, each LayerNorm and each GELU in one go."""
    guess = logprobs.exp() - F.one_hot(letters, logprobs.shape[2])  # less what came
    dlogits = guess * (inside / count).unsqueeze(2)
    dW3 = c.flatten(0, 1).T @ dlogits.flatten(0, 1)
    # LayerNorm: dhat3 less its mean, less its part along hat3, scaled back
    dc = dlogits @ W3.T
    dgain3 = (dc * hat3).sum((0, 1))
    dbias3 = dc.sum((0, 1))
    dhat3 = dc * gain3
    spread = dhat3 - dhat3.mean(2, keepdim=True) - hat3 * (dhat3 * hat3).mean(2, keepdim=True)
    dx = inv3 * spread
    dgain1, dbias1 = torch.zeros_like(gain1), torch.zeros_like(gain1)
    dWqkv, dbqkv = torch.zeros_like(Wqkv), torch.zeros_like(bqkv)
    dWo, dbo = torch.zeros_like(Wo), torch.zeros_like(bo)
    dgain2, dbias2 = torch.zeros_like(gain2), torch.zeros_like(gain2)
    dW1, db1 = torch.zeros_like(W1), torch.zeros_like(b1)
    dW2, db2 = torch.zeros_like(W2), torch.zeros_like(b2)
    for layer in reversed(range(layers)):
        _, inv1, hat1, a, q, k, v, att, y, _, inv2, hat2, b, u, bend, act = blocks[layer]
        # the perceptron
        dW2[layer] = act.flatten(0, 1).T @ dx.flatten(0, 1)
        db2[layer] = dx.sum((0, 1))
        inner = slope * (1 + 3 * 0.044715 * u**2)
        du = 0.5 * (1 + bend + u * (1 - bend**2) * inner) * (dx @ W2[layer].T)
        dW1[layer] = b.flatten(0, 1).T @ du.flatten(0, 1)
        db1[layer] = du.sum((0, 1))
        db = du @ W1[layer].T
        dgain2[layer] = (db * hat2).sum((0, 1))
        dbias2[layer] = db.sum((0, 1))
        dhat2 = db * gain2[layer]
        spread = dhat2 - dhat2.mean(2, keepdim=True) - hat2 * (dhat2 * hat2).mean(2, keepdim=True)
        dm = dx + inv2 * spread
        # attention
        dWo[layer] = y.flatten(0, 1).T @ dm.flatten(0, 1)
        dbo[layer] = dm.sum((0, 1))
        dheads = (dm @ Wo[layer].T).view(n, length, -1, size).transpose(1, 2)
        datt = dheads @ v.transpose(2, 3)
        dqk = att * (datt - (att * datt).sum(3, keepdim=True)) * size**-0.5
        dparts = torch.stack([dqk @ k, dqk.transpose(2, 3) @ q, att.transpose(2, 3) @ dheads])
        dqkv = dparts.permute(1, 3, 0, 2, 4).reshape(n, length, 3 * width)
        dWqkv[layer] = a.flatten(0, 1).T @ dqkv.flatten(0, 1)
        dbqkv[layer] = dqkv.sum((0, 1))
        da = dqkv @ Wqkv[layer].T
        dgain1[layer] = (da * hat1).sum((0, 1))
        dbias1[layer] = da.sum((0, 1))
        dhat1 = da * gain1[layer]
        spread = dhat1 - dhat1.mean(2, keepdim=True) - hat1 * (dhat1 * hat1).mean(2, keepdim=True)
        dx = dm + inv1 * spread
    demb = dx
    dP = torch.zeros_like(P)
    dP[:length] = demb.sum(0)
    dC = torch.zeros_like(C)
    dC.index_put_((Xb,), demb, accumulate=True)
    return (
        dC, dP, dgain1, dbias1, dWqkv, dbqkv, dWo, dbo, dgain2, dbias2, dW1, db1, dW2, db2,
        dgain3, dbias3, dW3,
    )  # fmt: skip
