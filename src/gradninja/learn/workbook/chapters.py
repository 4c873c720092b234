"""The chapters: forwards in cells as a notebook has them, and the gradients that are asked for."""

from __future__ import annotations

from dataclasses import dataclass

from gradninja.learn.workbook.endless import LEVELS, program


@dataclass(frozen=True)
class Chapter:
    """`setup` binds what is given, `forward` leads to the scalar `loss`.

    `asked`: the variables whose gradients are asked for, in this order; all of them, in the order
    of the way back, where it is empty. `trained`: the parameters that are trained with the
    learner's own lines once all are right; then nothing is at hand but what is written above.
    `fixed`: what is taken over many examples, not over the batch, when names are sampled.
    """

    name: str
    title: str
    intro: str
    setup: str
    forward: str
    asked: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()


SEED = "import torch\nimport torch.nn.functional as F\ng = torch.Generator().manual_seed({seed})\n"

NEURON = Chapter(
    "neuron",
    "One neuron, a sum and a broadcast",
    "Two rules carry all that follows. A sum in the forward is a broadcast in the backward: each "
    "element that went into it moves it alike. A broadcast in the forward is a sum in the "
    "backward: one value that was used many times gets the gradients of all its uses, added up.",
    SEED.format(seed=1) + "x = torch.randn(4, 3, generator=g)\n"
    "w = torch.randn(1, 3, generator=g).requires_grad_()\n"
    "b = torch.randn(1, 1, generator=g).requires_grad_()\n",
    "z = x * w\ns = z.sum(1, keepdim=True)\na = s + b\nh = torch.tanh(a)\nloss = h.sum()\n",
)
LECTURE = Chapter(
    "exercise-1",
    "Exercise 1: the 26 gradients of makemore part 4",
    "Backpropagate through everything, one variable at a time, as the lecture does. What you have "
    "written above is taken as true below, so one wrong line is one wrong line.",
    SEED.format(seed=2147483647) + "n = 32\n"
    "C = torch.randn((27, 10), generator=g)\n"
    "W1 = torch.randn((30, 64), generator=g) * (5/3)/(30**0.5)\n"
    "b1 = torch.randn(64, generator=g) * 0.1\n"
    "W2 = torch.randn((64, 27), generator=g) * 0.1\n"
    "b2 = torch.randn(27, generator=g) * 0.1\n"
    "bngain = torch.randn((1, 64), generator=g)*0.1 + 1.0\n"
    "bnbias = torch.randn((1, 64), generator=g)*0.1\n"
    "for p in [C, W1, b1, W2, b2, bngain, bnbias]:\n"
    "  p.requires_grad = True\n"
    "Xb = torch.randint(0, 27, (n, 3), generator=g)\n"
    "Yb = torch.randint(0, 27, (n,), generator=g)\n",
    "emb = C[Xb]\n"
    "embcat = emb.view(emb.shape[0], -1)\n"
    "hprebn = embcat @ W1 + b1\n"
    "bnmeani = 1/n*hprebn.sum(0, keepdim=True)\n"
    "bndiff = hprebn - bnmeani\n"
    "bndiff2 = bndiff**2\n"
    "bnvar = 1/(n-1)*(bndiff2).sum(0, keepdim=True)\n"
    "bnvar_inv = (bnvar + 1e-5)**-0.5\n"
    "bnraw = bndiff * bnvar_inv\n"
    "hpreact = bngain * bnraw + bnbias\n"
    "h = torch.tanh(hpreact)\n"
    "logits = h @ W2 + b2\n"
    "logit_maxes = logits.max(1, keepdim=True).values\n"
    "norm_logits = logits - logit_maxes\n"
    "counts = norm_logits.exp()\n"
    "counts_sum = counts.sum(1, keepdim=True)\n"
    "counts_sum_inv = counts_sum**-1\n"
    "probs = counts * counts_sum_inv\n"
    "logprobs = probs.log()\n"
    "loss = -logprobs[range(n), Yb].mean()\n",
)
CROSS_ENTROPY = Chapter(
    "cross-entropy",
    "Cross-entropy in one go",
    "All these lines have one short answer. Write `dlogits` from `probs`, `Yb` and `n` alone: "
    "differentiate the loss of one row on paper, and see what cancels.",
    SEED.format(seed=3) + "n = 8\n"
    "logits = torch.randn(n, 5, generator=g).requires_grad_()\n"
    "Yb = torch.randint(0, 5, (n,), generator=g)\n",
    "norm_logits = logits - logits.max(1, keepdim=True).values\n"
    "counts = norm_logits.exp()\n"
    "probs = counts / counts.sum(1, keepdim=True)\n"
    "loss = -probs[range(n), Yb].log().mean()\n",
    ("logits",),
)
BATCHNORM = Chapter(
    "batchnorm",
    "BatchNorm in one go, with Bessel's correction",
    "`seen` is what comes back to `hpreact`. The mean and the variance are made of the same rows "
    "that they normalise, so two parts are taken off: the gradient's mean, and its part along "
    "`bnraw`. Mind which of them is over n, and which over n - 1.",
    SEED.format(seed=4) + "n = 8\n"
    "hprebn = torch.randn(n, 4, generator=g).requires_grad_()\n"
    "bngain = (1 + 0.1 * torch.randn(1, 4, generator=g)).requires_grad_()\n"
    "bnbias = (0.1 * torch.randn(1, 4, generator=g)).requires_grad_()\n"
    "seen = torch.randn(n, 4, generator=g)\n",
    "bnmeani = hprebn.mean(0, keepdim=True)\n"
    "bnvar = hprebn.var(0, keepdim=True, unbiased=True)\n"
    "bnvar_inv = (bnvar + 1e-5)**-0.5\n"
    "bnraw = (hprebn - bnmeani) * bnvar_inv\n"
    "hpreact = bngain * bnraw + bnbias\n"
    "loss = (hpreact * seen).sum()\n",
    ("bnbias", "bngain", "hprebn"),
)
TRAINING = Chapter(
    "training",
    "Training with your own backward",
    "The whole way back of a small network with BatchNorm, each layer in one go, as in the "
    "lecture's last exercise. You have only what you have written above. When all lines are right, "
    "they train the network on a list of names: no autograd, just your lines.",
    SEED.format(seed=7) + "n = 32\n"
    "C = torch.randn((27, 8), generator=g).requires_grad_()\n"
    "W1 = (torch.randn((24, 64), generator=g) * 0.3).requires_grad_()\n"
    "bngain = torch.ones((1, 64)).requires_grad_()\n"
    "bnbias = torch.zeros((1, 64)).requires_grad_()\n"
    "W2 = (torch.randn((64, 27), generator=g) * 0.1).requires_grad_()\n"
    "b2 = torch.zeros(27).requires_grad_()\n"
    "Xb = torch.randint(0, 27, (n, 3), generator=g)\n"
    "Yb = torch.randint(0, 27, (n,), generator=g)\n",
    "emb = C[Xb]\n"
    "embcat = emb.view(emb.shape[0], -1)\n"
    "hprebn = embcat @ W1\n"
    "bnmean = hprebn.mean(0, keepdim=True)\n"
    "bnvar = hprebn.var(0, keepdim=True, unbiased=True)\n"
    "bnvar_inv = (bnvar + 1e-5)**-0.5\n"
    "bnraw = (hprebn - bnmean) * bnvar_inv\n"
    "hpreact = bngain * bnraw + bnbias\n"
    "h = torch.tanh(hpreact)\n"
    "logits = h @ W2 + b2\n"
    "loss = F.cross_entropy(logits, Yb)\n",
    ("logits", "W2", "b2", "hpreact", "bngain", "bnbias", "hprebn", "W1", "embcat", "emb", "C"),
    trained=("C", "W1", "bngain", "bnbias", "W2", "b2"),
    fixed=("bnmean", "bnvar"),
)
ATTENTION = Chapter(
    "attention",
    "Attention by hand",
    "Two matrix products around a softmax. The softmax's rows sum to one, and so a part along `P` "
    "is taken off each row of its gradient.",
    SEED.format(seed=5) + "Q = torch.randn(5, 3, generator=g).requires_grad_()\n"
    "K = torch.randn(6, 3, generator=g).requires_grad_()\n"
    "V = torch.randn(6, 4, generator=g).requires_grad_()\n"
    "seen = torch.randn(5, 4, generator=g)\n",
    "scores = Q @ K.T\n"
    "S = scores / 3**0.5\n"
    "P = torch.softmax(S, 1)\n"
    "O = P @ V\n"
    "loss = (O * seen).sum()\n",
)
LAYERNORM = Chapter(
    "layernorm",
    "Layer norm by hand",
    "BatchNorm turned by a quarter: the mean and the variance are of each row. What was summed "
    "over the examples there is summed over the features here, and only the gain and the bias "
    "still sum over the examples.",
    SEED.format(seed=6) + "d = 6\n"
    "x = torch.randn(5, d, generator=g).requires_grad_()\n"
    "gain = (1 + 0.1 * torch.randn(d, generator=g)).requires_grad_()\n"
    "bias = (0.1 * torch.randn(d, generator=g)).requires_grad_()\n"
    "seen = torch.randn(5, d, generator=g)\n",
    "mean = x.sum(1, keepdim=True) / d\n"
    "diff = x - mean\n"
    "var = (diff**2).sum(1, keepdim=True) / d\n"
    "rstd = (var + 1e-5)**-0.5\n"
    "norm = diff * rstd\n"
    "y = norm * gain + bias\n"
    "loss = (y * seen).sum()\n",
)
CHAPTERS = (NEURON, LECTURE, CROSS_ENTROPY, BATCHNORM, TRAINING, ATTENTION, LAYERNORM)

ENDLESS = "endless"


def generated(level: int, number: int) -> Chapter:
    """The program `number` of a level: deeper with the level, and from level 2 on with broadcasts,
    from 3 on with values used twice, from 4 on with matrix products.
    """
    given, forward = program(level, number)
    return Chapter(
        f"{ENDLESS}-{level}-{number}",
        f"Level {level}, program {number}",
        "Every gradient, one after the other. No two programs are the same.",
        SEED.format(seed=level * 1000 + number) + given,
        forward,
    )


def chapter(name: str) -> Chapter:
    """The chapter of a name; `endless-3-17` is program 17 of level 3.

    Raises:
        KeyError: there is none.
    """
    for found in CHAPTERS:
        if found.name == name:
            return found
    kind, _, rest = name.partition("-")
    level, _, number = rest.partition("-")
    if (
        kind == ENDLESS
        and level.isdigit()
        and number.isdigit()
        and 1 <= int(level) <= LEVELS
        and int(number) > 0
    ):
        return generated(int(level), int(number))
    raise KeyError(name)
