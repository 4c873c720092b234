# ruff: noqa: RET504 - written as people write it
"""A covariance to be small, and every row near the centre of its class, the worst axis counting."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def inputs():
    x = torch.tensor([[1.0, 2], [0, 1], [2, 2], [1, -1], [0, 3], [1, 0]]).double()
    W = torch.tensor([[1.0, 0, 1], [2, 1, 2]]).double()
    centres = torch.tensor([[0.0, 1, 0], [3, 1, 2], [1, 0, 1]]).double()
    scale = torch.tensor([[1.0, 2, 1]]).double()
    return {
        "x": x,
        "W": W,
        "centres": centres,
        "scale": scale,
        "label": torch.tensor([0, 2, 2, 1, 0, 2]),
    }


def forward(
    x: Float[Tensor, "n d"],
    W: Float[Tensor, "d k"],
    centres: Float[Tensor, "classes k"],
    scale: Float[Tensor, "1 k"],
    label: Int[Tensor, "n"],
):
    z = x @ W
    n = z.shape[0]
    mean = z.mean(0)
    dev = z - mean
    cov = dev.T @ dev / (n - 1)
    spread = (cov**2).sum()
    own = centres[label]
    gap = z - own
    scaled = gap * scale
    worst = scaled.max(1).values
    pull = (worst**2).mean()
    loss = spread - pull
    return loss


def backward(x, W, centres, scale, label, n, dev, cov, gap, scaled, worst):
    dworst = -2 * worst / n
    dscaled = torch.zeros_like(scaled)
    dscaled[range(n), scaled.max(1).indices] = dworst
    dgap = dscaled * scale
    dscale = (dscaled * gap).sum(0, keepdim=True)
    dz = dgap.clone()
    down = -dgap
    dcentres = torch.zeros_like(centres)
    dcentres.index_add_(0, label, down)
    dcov = 2 * cov
    ddev = dev @ (dcov + dcov.T) / (n - 1)
    dz += ddev
    dmean = -ddev.sum(0)
    dz += dmean / n
    dx = dz @ W.T
    dW = x.T @ dz
    return dx, dW, dcentres, dscale
