"""Losses, from classification to preferences."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def softmax_by_hand(x: Float[Tensor, "n d"]):
    """With the maximum taken away first."""
    e = torch.exp(x - x.amax(dim=-1, keepdim=True))
    return e / e.sum(dim=-1, keepdim=True)


def log_softmax_by_hand(x: Float[Tensor, "n d"]):
    """Through the logarithm of the sum of exponentials, by hand."""
    m = x.max(dim=1, keepdim=True)[0]
    lse = m + (x - m).exp().sum(dim=1, keepdim=True).log()
    return x - lse


def softmax_temperature(x: Float[Tensor, "n d"], temperature: Float[Tensor, ""]):
    """A learned temperature, 0-dim."""
    return F.softmax(x / temperature.exp(), dim=-1)


def nll_of_log_softmax(x: Float[Tensor, "n d"], y: Int[Tensor, "n"]):
    """The two calls that cross-entropy is."""
    logp = F.log_softmax(x, dim=1)
    return F.nll_loss(logp, y)


def cross_entropy_over_time(logits: Float[Tensor, "b t vocab"], y: Int[Tensor, "b t"]):
    """Language models: batch and time are one axis."""
    B, T, C = logits.shape
    return F.cross_entropy(logits.view(B * T, C), y.view(-1))


def label_smoothing(logits: Float[Tensor, "n classes"], y: Int[Tensor, "n"], eps: float = 0.1):
    """Szegedy et al. 2016, by hand."""
    logp = logits.log_softmax(-1)
    hit = -logp.gather(1, y.unsqueeze(1)).squeeze(1)
    smooth = -logp.mean(dim=-1)
    loss = (1 - eps) * hit + eps * smooth
    return loss.mean()


def label_smoothing_library(logits: Float[Tensor, "n classes"], y: Int[Tensor, "n"]):
    """By the library, summed."""
    return F.cross_entropy(logits, y, label_smoothing=0.1, reduction="sum")


def focal_loss(logits: Float[Tensor, "n classes"], y: Int[Tensor, "n"], gamma: float = 2.0):
    """Lin et al. 2017, for detection."""
    logp = F.log_softmax(logits, dim=1)
    logpt = logp.gather(1, y.view(-1, 1)).view(-1)
    pt = logpt.exp()
    return (-((1 - pt) ** gamma) * logpt).mean()


def bce_by_hand(x: Float[Tensor, "n d"], target: Float[Tensor, "n d"]):
    """The stable form with the absolute value."""
    loss = x.clamp(min=0) - x * target + torch.log1p(torch.exp(-x.abs()))
    return loss.mean()


def bce_with_logits(x: Float[Tensor, "n d"], target: Float[Tensor, "n d"]):
    """One call, after a sigmoid on the targets to hold them in 0..1."""
    return F.binary_cross_entropy_with_logits(x, torch.sigmoid(target))


def gan_losses(real: Float[Tensor, "n 1"], fake: Float[Tensor, "n 1"]):
    """Goodfellow et al. 2014, the discriminator's side, targets made on the spot."""
    loss_real = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
    loss_fake = F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    return (loss_real + loss_fake) / 2


def mse(pred: Float[Tensor, "n d"], target: Float[Tensor, "n d"]):
    """Regression."""
    return F.mse_loss(pred, target)


def huber_by_where(pred: Float[Tensor, "n"], target: Float[Tensor, "n"], delta: float = 1.0):
    """Huber 1964, as in value networks."""
    err = pred - target
    small = err.abs() <= delta
    loss = torch.where(small, 0.5 * err**2, delta * (err.abs() - 0.5 * delta))
    return loss.mean()


def log_cosh(pred: Float[Tensor, "n d"], target: Float[Tensor, "n d"]):
    """A smooth absolute error."""
    e = pred - target
    return (e + F.softplus(-2.0 * e) - math.log(2.0)).mean()


def hinge(scores: Float[Tensor, "n classes"], y: Int[Tensor, "n"]):
    """Multi-class support vectors, as in a course's first assignment."""
    n = scores.shape[0]
    correct = scores[torch.arange(n), y].unsqueeze(1)
    margins = (scores - correct + 1.0).clamp(min=0)
    mask = 1 - F.one_hot(y, scores.shape[1])
    return (margins * mask).sum() / n


def triplet(
    anchor: Float[Tensor, "n d"], positive: Float[Tensor, "n d"], negative: Float[Tensor, "n d"]
):
    """Schroff et al. 2015, faces."""
    near = ((anchor - positive) ** 2).sum(1)
    far = (anchor - negative).pow(2).sum(1)
    return torch.relu(near - far + 0.2).mean()


def contrastive(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], same: Bool[Tensor, "n"]):
    """Hadsell et al. 2006, pairs."""
    dist = (a - b).square().sum(dim=1).add(1e-6).sqrt()
    pull = dist.pow(2)
    push = torch.clamp_min(2.0 - dist, 0.0).pow(2)
    return torch.where(same, pull, push).mean() * 0.5


def cosine(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]):
    """Cosine similarity by hand."""
    dots = (a * b).sum(-1)
    return dots / (a.norm(dim=-1) * b.norm(dim=-1) + 1e-8)


def clip_loss(
    images: Float[Tensor, "n d"], texts: Float[Tensor, "n d"], log_scale: Float[Tensor, ""]
):
    """Radford et al. 2021: a symmetric InfoNCE."""
    images = images / images.norm(dim=1, keepdim=True)
    texts = texts / texts.norm(dim=1, keepdim=True)
    logits = log_scale.exp() * images @ texts.t()
    labels = torch.arange(logits.shape[0])
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def info_nce_masked(z: Float[Tensor, "2*n d"], tau: float = 0.5):
    """SimCLR (Chen et al. 2020): a view against all others but itself."""
    m = z.shape[0]
    z = z / torch.sqrt((z * z).sum(1, keepdim=True))
    sim = z @ z.T / tau
    sim = sim.masked_fill(torch.eye(m, dtype=torch.bool), -1e9)
    partner = torch.roll(torch.arange(m), m // 2)
    positives = sim[torch.arange(m), partner]
    return (torch.logsumexp(sim, dim=1) - positives).mean()


def policy_gradient(
    logits: Float[Tensor, "n actions"], actions: Int[Tensor, "n"], returns: Float[Tensor, "n"]
):
    """REINFORCE with a detached, standardised return and an entropy bonus."""
    logp = torch.log_softmax(logits, dim=-1)
    chosen = torch.gather(logp, 1, actions[:, None])[:, 0]
    adv = (returns - returns.mean()) / (returns.std() + 1e-8)
    entropy = -(logp.exp() * logp).sum(-1).mean()
    return -(chosen * adv.detach()).mean() - 0.01 * entropy


def ppo_clip(
    logp: Float[Tensor, "n"],
    logp_old: Float[Tensor, "n"],
    adv: Float[Tensor, "n"],
    clip: float = 0.2,
):
    """Schulman et al. 2017."""
    ratio = (logp - logp_old).exp()
    unclipped = ratio * adv
    clipped = torch.clamp(ratio, 1 - clip, 1 + clip) * adv
    return -torch.min(unclipped, clipped).mean()


def value_loss_clipped(
    value: Float[Tensor, "n"], old: Float[Tensor, "n"], returns: Float[Tensor, "n"]
):
    """The critic of PPO, clipped, old values held."""
    with torch.no_grad():
        anchor = old * 1.0
    clipped = anchor + (value - anchor).clamp(-0.2, 0.2)
    loss = torch.maximum((value - returns) ** 2, (clipped - returns) ** 2)
    return 0.5 * loss.mean()


def dpo(
    chosen: Float[Tensor, "n"],
    rejected: Float[Tensor, "n"],
    ref_chosen: Float[Tensor, "n"],
    ref_rejected: Float[Tensor, "n"],
    beta: float = 0.1,
):
    """Rafailov et al. 2023: preferences without a reward model; the reference is held."""
    ref_chosen = ref_chosen.detach()
    ref_rejected = ref_rejected.detach()
    margin = beta * ((chosen - ref_chosen) - (rejected - ref_rejected))
    return -F.logsigmoid(margin).mean()


def dpo_softplus(chosen: Float[Tensor, "n"], rejected: Float[Tensor, "n"]):
    """The same as a softplus of the margin turned round."""
    return F.softplus(-(chosen - rejected), beta=0.5).mean()


def distillation(student: Float[Tensor, "n k"], teacher: Float[Tensor, "n k"]):
    """Hinton et al. 2015: the divergence of softened distributions, teacher held."""
    T = 2.0
    with torch.no_grad():
        q = F.softmax(teacher / T, dim=-1)
    logp = F.log_softmax(student / T, dim=-1)
    return (q * (q.log() - logp)).sum(dim=-1).mean() * T * T


def elastic_net(
    w: Float[Tensor, "d"],
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "n"],
):
    """A linear fit with both penalties."""
    residual = x @ w - y
    return residual.dot(residual) / len(y) + 0.1 * w.abs().sum() + 0.05 * (w**2).sum()


def masked_language_loss(
    logits: Float[Tensor, "b t vocab"], y: Int[Tensor, "b t"], mask: Bool[Tensor, "b t"]
):
    """BERT (Devlin et al. 2019): only what was masked counts."""
    logp = F.log_softmax(logits, dim=-1)
    picked = logp.gather(-1, y[..., None]).squeeze(-1)
    weight = mask.to(logits.dtype)
    return -(picked * weight).sum() / weight.sum().clamp(min=1)


BOUNDS = {
    "nll_of_log_softmax": {"y": "d"},
    "cross_entropy_over_time": {"y": "vocab"},
    "label_smoothing": {"y": "classes"},
    "label_smoothing_library": {"y": "classes"},
    "focal_loss": {"y": "classes"},
    "hinge": {"y": "classes"},
    "policy_gradient": {"actions": "actions"},
    "masked_language_loss": {"y": "vocab"},
}
