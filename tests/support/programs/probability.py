"""Densities, latent variables, kernels, fits."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def gaussian_nll(
    mean: Float[Tensor, "n d"], log_var: Float[Tensor, "n d"], y: Float[Tensor, "n d"]
):
    """A network that gives its own uncertainty."""
    return (0.5 * (log_var + (y - mean) ** 2 / log_var.exp() + math.log(2 * math.pi))).mean()


def kl_two_gaussians(
    m1: Float[Tensor, "n d"],
    s1: Float[Tensor, "n d"],
    m2: Float[Tensor, "d"],
    s2: Float[Tensor, "d"],
):
    """Diagonal Gaussians, the second one shared by all rows."""
    v1, v2 = F.softplus(s1) ** 2, F.softplus(s2) ** 2
    kl = 0.5 * (torch.log(v2 / v1) + (v1 + (m1 - m2) ** 2) / v2 - 1)
    return kl.sum(dim=-1)


def vae(
    x: Float[Tensor, "n d"],
    noise: Float[Tensor, "n z"],
    We: Float[Tensor, "d 2*z"],
    Wd: Float[Tensor, "z d"],
    bd: Float[Tensor, "d"],
):
    """Kingma and Welling 2014, the noise handed in."""
    mu, logvar = (x @ We).chunk(2, dim=1)
    z = mu + torch.exp(0.5 * logvar) * noise
    recon = z @ Wd + bd
    rec_loss = F.mse_loss(recon, x, reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return (rec_loss + kld) / x.shape[0]


def vae_own_noise(mu: Float[Tensor, "n z"], logvar: Float[Tensor, "n z"]):
    """The reparametrisation with its noise drawn inside."""
    std = torch.exp(0.5 * logvar)
    eps = torch.randn_like(std)
    return mu + eps * std


def mixture_of_gaussians(
    x: Float[Tensor, "n d"],
    logits: Float[Tensor, "k"],
    mean: Float[Tensor, "k d"],
    log_std: Float[Tensor, "k d"],
):
    """The negative log-likelihood by logsumexp (Bishop 1994)."""
    z = (x.unsqueeze(1) - mean) * torch.exp(-log_std)
    logp = -0.5 * (z**2).sum(-1) - log_std.sum(-1) - 0.5 * x.shape[1] * math.log(2 * math.pi)
    return -torch.logsumexp(logp + F.log_softmax(logits, dim=0), dim=1).mean()


def rbf_kernel(x: Float[Tensor, "n d"], z: Float[Tensor, "m d"], log_length: Float[Tensor, "d"]):
    """Squared distances by the binomial, as in any Gaussian process."""
    x, z = x / log_length.exp(), z / log_length.exp()
    sq = (x**2).sum(1)[:, None] + (z**2).sum(1)[None, :] - 2 * x @ z.T
    return torch.exp(-0.5 * sq)


def pairwise_distances(x: Float[Tensor, "n d"]):
    """All differences by broadcasting; the diagonal is kept off the root's zero."""
    diff = x[:, None, :] - x[None, :, :]
    d2 = diff.pow(2).sum(-1)
    eye = torch.eye(x.shape[0], dtype=x.dtype)
    return torch.sqrt(d2 + eye) * (1 - eye)


def ridge(
    x: Float[Tensor, "n d"], w: Float[Tensor, "d"], b: Float[Tensor, ""], y: Float[Tensor, "n"]
):
    """Least squares with a penalty."""
    prediction = torch.matmul(x, w) + b
    return ((prediction - y) ** 2).sum() / 2 + 0.1 / 2 * w @ w


def polynomial_features(x: Float[Tensor, "n"], w: Float[Tensor, "4"]):
    """A cubic by stacked powers."""
    powers = torch.stack([x**p for p in range(4)], dim=1)
    return powers @ w


def learned_power(x: Float[Tensor, "n d"], p: Float[Tensor, "d"]):
    """Generalised-mean pooling (Radenovic et al. 2018): the exponent is learned."""
    positive = x.abs() + 0.1
    return positive.pow(p).mean(0) ** (1.0 / p)


def exponent_of_a_number(x: Float[Tensor, "n d"]):
    """A number to the power of a tensor, and remainders of all reflected operators."""
    return 2.0**x + 1 / (3 - x**2 / 100) - (5 - x) + -x * 0.5


def poisson_and_gamma(rate: Float[Tensor, "n"], count: Int[Tensor, "n"]):
    """The counts' likelihood without its constant."""
    mean = rate.exp()
    return (mean - count * mean.log()).sum()


def entropy_and_information(joint: Float[Tensor, "a b"]):
    """Mutual information of a table made by softmax over all of it."""
    p = torch.softmax(joint.flatten(), 0).view(joint.shape)
    pa, pb = p.sum(1, keepdim=True), p.sum(0, keepdim=True)
    return (p * (p / (pa * pb)).log()).sum()


def normalising_flow(x: Float[Tensor, "n 2*half"], W: Float[Tensor, "half 2*half"]):
    """A coupling layer (Dinh et al. 2017) and its log-determinant."""
    half = x.shape[1] // 2
    left, right = x.split([half, half], dim=1)
    log_s, t = (left @ W).chunk(2, 1)
    log_s = torch.tanh(log_s)
    y = torch.cat([left, right * log_s.exp() + t], dim=1)
    return y, log_s.sum(dim=1)


def planar_flow(
    z: Float[Tensor, "n d"], u: Float[Tensor, "d"], w: Float[Tensor, "d"], b: Float[Tensor, ""]
):
    """Rezende and Mohamed 2015."""
    a = torch.tanh(z @ w + b)
    det = 1 + (1 - a**2) * torch.dot(w, u)
    return z + a.unsqueeze(1) * u, det.abs().log()


def stick_breaking(v: Float[Tensor, "n k"]):
    """Weights of a Dirichlet process: products of what is left, by sums of logarithms."""
    beta = torch.sigmoid(v)
    log_left = torch.log1p(-beta).cumsum(dim=-1)
    shifted = F.pad(log_left[:, :-1], (1, 0), value=0.0)
    return beta * shifted.exp()


def product_of_experts(mean: Float[Tensor, "k n d"], log_precision: Float[Tensor, "k n d"]):
    """Hinton 2002: precisions add up."""
    precision = log_precision.exp()
    total = precision.sum(dim=0)
    return (precision * mean).sum(dim=0) / total, total.rsqrt()


def likelihood_of_independent(p: Float[Tensor, "n d"]):
    """Products of probabilities, over one axis and over all."""
    q = torch.sigmoid(p)
    rows = q.prod(dim=1)
    return rows + torch.prod(1 - q * 0.5)


def elo(ratings: Float[Tensor, "players"], winner: Int[Tensor, "n"], loser: Int[Tensor, "n"]):
    """Bradley and Terry 1952."""
    margin = ratings[winner] - ratings[loser]
    return -torch.log(torch.sigmoid(margin)).mean() + 1e-3 * ratings.norm() ** 2


def matrix_factorisation(
    U: Float[Tensor, "users k"],
    V: Float[Tensor, "items k"],
    bias: Float[Tensor, "items"],
    user: Int[Tensor, "n"],
    item: Int[Tensor, "n"],
    rating: Float[Tensor, "n"],
):
    """Koren et al. 2009."""
    predicted = (U[user] * V[item]).sum(1) + bias[item] + rating.mean()
    return (predicted - rating).pow(2).mean() + 0.02 * (U.norm(p=2) + V.pow(2).sum().sqrt())


def skip_gram(
    centre: Float[Tensor, "vocab d"],
    outside: Float[Tensor, "vocab d"],
    c: Int[Tensor, "n"],
    o: Int[Tensor, "n"],
    negative: Int[Tensor, "n k"],
):
    """Mikolov et al. 2013, with samples of what did not occur."""
    vc = centre[c]
    good = F.logsigmoid((outside[o] * vc).sum(1))
    bad = F.logsigmoid(-(outside[negative] @ vc.unsqueeze(2)).squeeze(2)).sum(1)
    return -(good + bad).mean()


def dice(logits: Float[Tensor, "n c h w"], y: Int[Tensor, "n h w"]):
    """Milletari et al. 2016, segmentation."""
    p = F.softmax(logits, dim=1)
    t = F.one_hot(y, num_classes=logits.shape[1]).permute(0, 3, 1, 2).to(p.dtype)
    overlap = (p * t).sum(dim=(0, 2, 3))
    return 1 - ((2 * overlap + 1) / (p.sum((0, 2, 3)) + t.sum((0, 2, 3)) + 1)).mean()


BOUNDS = {
    "poisson_and_gamma": {"count": 6},
    "elo": {"winner": "players", "loser": "players"},
    "matrix_factorisation": {"user": "users", "item": "items"},
    "skip_gram": {"c": "vocab", "o": "vocab", "negative": "vocab"},
    "dice": {"y": "c"},
}
