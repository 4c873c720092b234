"""Networks of library calls, as they stand in scripts: convolutions, pooling, losses, orderings."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def small_cnn(
    x: Float[Tensor, "n ch 8 8"],
    w1: Float[Tensor, "c1 ch 3 3"],
    b1: Float[Tensor, "c1"],
    gamma: Float[Tensor, "c1"],
    beta: Float[Tensor, "c1"],
    w2: Float[Tensor, "c2 c1 3 3"],
    W: Float[Tensor, "classes c2"],
    y: Int[Tensor, "n"],
):
    """Digits: convolution, BatchNorm, pooling, twice, then linear."""
    h = F.conv2d(x, w1, b1, padding=1)
    h = F.relu(F.batch_norm(h, None, None, gamma, beta, training=True))
    h = F.max_pool2d(h, 2)
    h = F.relu(F.conv2d(h, w2, stride=2, padding=1))
    h = F.adaptive_avg_pool2d(h, 1).flatten(1)
    return F.cross_entropy(F.linear(h, W), y)


def decoder(
    z: Float[Tensor, "n c 3 3"],
    w: Float[Tensor, "c d 4 4"],
    gamma: Float[Tensor, "d"],
    beta: Float[Tensor, "d"],
):
    """DCGAN (Radford et al. 2016): a transposed convolution, one group, a leaky gate."""
    h = F.conv_transpose2d(z, w, stride=2, padding=1)
    h = F.group_norm(h, 1, gamma, beta)
    return torch.tanh(F.avg_pool2d(F.leaky_relu(h, 0.2), 2))


def instance_style(x: Float[Tensor, "n c h w"], scale: Float[Tensor, "c"]):
    """AdaIN (Huang and Belongie 2017), through the library's instance norm."""
    return F.mish(F.instance_norm(x)) * scale[:, None, None]


def audio_net(x: Float[Tensor, "n 1 16"], w: Float[Tensor, "c 1 3"], v: Float[Tensor, "c d 2"]):
    """Down by pooling, up by a transposed convolution."""
    h = F.max_pool1d(F.conv1d(x, w, padding=1), 2)
    h = F.avg_pool1d(h, 2)
    return F.conv_transpose1d(F.hardtanh(h), v, stride=2)


def flash_attention(
    q: Float[Tensor, "b h t d"], k: Float[Tensor, "b h s d"], v: Float[Tensor, "b h s d"]
):
    """One call for all of attention."""
    return F.scaled_dot_product_attention(q, k, v)


def causal_attention_call(
    q: Float[Tensor, "b h t d"], k: Float[Tensor, "b h t d"], v: Float[Tensor, "b h t d"]
):
    """The same with the causal mask, and keys of length one."""
    return F.scaled_dot_product_attention(q, F.normalize(k, dim=-1), v, is_causal=True)


def many_losses(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]):
    """One of each, added up."""
    p, q = torch.sigmoid(a), torch.sigmoid(b)
    logp, prob = F.log_softmax(a, dim=1), F.softmax(b, dim=1)
    fit = F.l1_loss(a, b) + F.smooth_l1_loss(a, b, beta=0.5) + F.huber_loss(a, b, delta=0.7)
    return fit + F.binary_cross_entropy(p, q) + F.kl_div(logp, prob, reduction="batchmean")


def top_two_experts(x: Float[Tensor, "n d"], Wg: Float[Tensor, "d 4"], We: Float[Tensor, "4 d h"]):
    """Mixtral: the two best gates, renormalised."""
    weight, chosen = torch.topk(x @ Wg, 2, dim=-1)
    weight = F.softmax(weight, dim=-1)
    gates = torch.zeros(x.shape[0], 4, dtype=x.dtype).scatter(1, chosen, weight)
    return torch.einsum("ne,neh->nh", gates, torch.einsum("nd,edh->neh", x, We))


def sorted_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]):
    """Sliced Wasserstein (Bonneel et al. 2015): sorted columns compared; the median beside it."""
    a, _ = torch.sort(x, dim=0)
    b = y.sort(dim=0, descending=True).values.flip(0)
    return (a - b).abs().mean() + x.median(dim=0).values.sum()


def quantile_trimmed(x: Float[Tensor, "n d"], keep: Bool[Tensor, "n d"]):
    """Robust means: medians, what a mask selects, the spread."""
    var, mean = torch.var_mean(x, dim=1)
    picked = torch.masked_select(x, keep).pow(2).sum()
    return x.median() + picked + (var * mean).sum()


def forward_algorithm(emit: Float[Tensor, "4 k"], move: Float[Tensor, "k k"]):
    """Hidden Markov chains (Rabiner 1989) in logarithms, step by step."""
    alpha = emit[0]
    for t in range(1, 4):
        alpha = torch.logsumexp(alpha[:, None] + move, dim=0) + emit[t]
    return torch.logaddexp(alpha[0], alpha[1]) + alpha.logsumexp(0)


def volume_rendering(density: Float[Tensor, "rays steps"], colour: Float[Tensor, "rays steps 3"]):
    """NeRF (Mildenhall et al. 2020): light that is left, by a running product."""
    alpha = 1 - torch.exp(-F.softplus(density))
    left = torch.cumprod(1 - alpha + 1e-6, dim=1)
    left = torch.cat([torch.ones_like(left[:, :1]), left[:, :-1]], dim=1)
    return ((alpha * left)[..., None] * torch.sigmoid(colour)).sum(1)


def prototypes(x: Float[Tensor, "n d"], c: Float[Tensor, "k d"], y: Int[Tensor, "n"]):
    """Snell et al. 2017: distances to class means as logits."""
    return F.cross_entropy(-torch.cdist(x, c), y)


def moving_average_teacher(
    student: Float[Tensor, "d"], teacher: Float[Tensor, "d"], x: Float[Tensor, "n d"]
):
    """BYOL (Grill et al. 2020): weights mixed, rows joined, halves compared."""
    mixed = torch.lerp(teacher, student, 0.1)
    both = torch.vstack([x * mixed, x * student])
    beside = torch.hstack([both[: x.shape[0]], both[x.shape[0] :]])
    return torch.addcmul(beside, beside, beside, value=0.5)


def rigid_bodies(p: Float[Tensor, "n 3"], omega: Float[Tensor, "n 3"], angle: Float[Tensor, "n"]):
    """Mechanics: cross products, angles, what hyperbolic functions give."""
    v = torch.cross(omega, p, dim=-1)
    heading = torch.atan2(v[:, 0], v[:, 1] + 3)
    swing = torch.sinh(angle) / torch.cosh(angle) + torch.atan(angle) + torch.hypot(angle, heading)
    return swing + torch.inner(p, omega).trace() + torch.tensordot(p, v, dims=2)


BOUNDS = {"small_cnn": {"y": "classes"}, "prototypes": {"y": "k"}}
