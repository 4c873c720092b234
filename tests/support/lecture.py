"""The lecture's exercise as a notebook has it: cells in the lecture's own variables."""

from __future__ import annotations

from typing import Any

SETUP = """
import torch
import torch.nn.functional as F
n_embd, n_hidden, vocab_size, block_size, batch_size = 10, 64, 27, 3, 32
g = torch.Generator().manual_seed(2147483647)
C  = torch.randn((vocab_size, n_embd), generator=g)
W1 = torch.randn((n_embd * block_size, n_hidden), generator=g) * (5/3)/((n_embd * block_size)**0.5)
b1 = torch.randn(n_hidden, generator=g) * 0.1 # just for fun
W2 = torch.randn((n_hidden, vocab_size), generator=g) * 0.1
b2 = torch.randn(vocab_size, generator=g) * 0.1
bngain = torch.randn((1, n_hidden), generator=g)*0.1 + 1.0
bnbias = torch.randn((1, n_hidden), generator=g)*0.1
parameters = [C, W1, b1, W2, b2, bngain, bnbias]
for p in parameters:
  p.requires_grad = True
n = batch_size
Xb = torch.randint(0, vocab_size, (n, block_size), generator=g)
Yb = torch.randint(0, vocab_size, (n,), generator=g)
"""

FORWARD = """
emb = C[Xb] # embed the characters into vectors
embcat = emb.view(emb.shape[0], -1) # concatenate the vectors
# Linear layer 1
hprebn = embcat @ W1 + b1 # hidden layer pre-activation
# BatchNorm layer
bnmeani = 1/n*hprebn.sum(0, keepdim=True)
bndiff = hprebn - bnmeani
bndiff2 = bndiff**2
bnvar = 1/(n-1)*(bndiff2).sum(0, keepdim=True) # note: Bessel's correction (dividing by n-1, not n)
bnvar_inv = (bnvar + 1e-5)**-0.5
bnraw = bndiff * bnvar_inv
hpreact = bngain * bnraw + bnbias
# Non-linearity
h = torch.tanh(hpreact) # hidden layer
# Linear layer 2
logits = h @ W2 + b2 # output layer
# cross entropy loss (same as F.cross_entropy(logits, Yb))
logit_maxes = logits.max(1, keepdim=True).values
norm_logits = logits - logit_maxes # subtract max for numerical stability
counts = norm_logits.exp()
counts_sum = counts.sum(1, keepdims=True)
counts_sum_inv = counts_sum**-1
probs = counts * counts_sum_inv
logprobs = probs.log()
loss = -logprobs[range(n), Yb].mean()
"""

# What each gradient is written as, in the order of the exercise.
LINES = {
    "logprobs": "dlogprobs = torch.zeros_like(logprobs)\ndlogprobs[range(n), Yb] = -1.0/n",
    "probs": "dprobs = (1.0 / probs) * dlogprobs",
    "counts_sum_inv": "dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)",
    "counts_sum": "dcounts_sum = (-counts_sum**-2) * dcounts_sum_inv",
    "counts": "dcounts = counts_sum_inv * dprobs\ndcounts += torch.ones_like(counts) * dcounts_sum",
    "norm_logits": "dnorm_logits = counts * dcounts",
    "logit_maxes": "dlogit_maxes = (-dnorm_logits).sum(1, keepdim=True)",
    "logits": "dlogits = dnorm_logits.clone()\ndlogits += "
    "F.one_hot(logits.max(1).indices, num_classes=logits.shape[1]) * dlogit_maxes",
    "h": "dh = dlogits @ W2.T",
    "W2": "dW2 = h.T @ dlogits",
    "b2": "db2 = dlogits.sum(0)",
    "hpreact": "dhpreact = (1.0 - h**2) * dh",
    "bngain": "dbngain = (bnraw * dhpreact).sum(0, keepdim=True)",
    "bnbias": "dbnbias = dhpreact.sum(0, keepdim=True)",
    "bnraw": "dbnraw = bngain * dhpreact",
    "bnvar_inv": "dbnvar_inv = (bndiff * dbnraw).sum(0, keepdim=True)",
    "bnvar": "dbnvar = (-0.5*(bnvar + 1e-5)**-1.5) * dbnvar_inv",
    "bndiff2": "dbndiff2 = (1.0/(n-1))*torch.ones_like(bndiff2) * dbnvar",
    "bndiff": "dbndiff = bnvar_inv * dbnraw\ndbndiff += (2*bndiff) * dbndiff2",
    "bnmeani": "dbnmeani = (-dbndiff).sum(0, keepdim=True)",
    "hprebn": "dhprebn = dbndiff.clone()\ndhprebn += 1.0/n * (torch.ones_like(hprebn) * dbnmeani)",
    "embcat": "dembcat = dhprebn @ W1.T",
    "W1": "dW1 = embcat.T @ dhprebn",
    "b1": "db1 = dhprebn.sum(0)",
    "emb": "demb = dembcat.view(emb.shape)",
    "C": "dC = torch.zeros_like(C)\nfor k in range(Xb.shape[0]):\n  for j in range(Xb.shape[1]):\n"
    "    ix = Xb[k,j]\n    dC[ix] += demb[k,j]",
}


def run(cells: list[str]) -> dict[str, Any]:
    """The names after these cells, one below the other."""
    namespace: dict[str, Any] = {}
    for cell in cells:
        exec(cell, namespace)
    return namespace


def exercise(**attempts: str) -> list[str]:
    """The cells of the exercise, one a gradient, with attempts in the place of right lines."""
    return ["", SETUP, FORWARD, *({**LINES, **attempts}).values()]
