"""torch.distributions by what they mean: classes that hold tensors, made in the forward.

Formulas: PyTorch, torch/distributions/*.py; what is drawn takes the numbers that torch draws.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import distributions as named

from gradninja.lines.modules.layers.registry import reads, stands_for


@stands_for(named.Normal)
class Normal:
    def __init__(self, loc: Any, scale: Any, validate_args: Any = None) -> None:
        self.loc = torch.as_tensor(loc) if isinstance(loc, int | float) else loc
        self.scale = torch.as_tensor(scale) if isinstance(scale, int | float) else scale

    @property
    def mean(self) -> Any:
        return self.loc

    @property
    def stddev(self) -> Any:
        return self.scale

    @property
    def variance(self) -> Any:
        return self.scale**2

    def rsample(self, sample_shape: Any = ()) -> Any:
        shape = torch.broadcast_shapes(self.loc.shape, self.scale.shape)  # type: ignore[no-untyped-call]
        return self.loc + torch.randn((*sample_shape, *shape)) * self.scale

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        shape = torch.broadcast_shapes(self.loc.shape, self.scale.shape)  # type: ignore[no-untyped-call]
        return self.loc + torch.randn((*sample_shape, *shape)) * self.scale

    def log_prob(self, value: Tensor) -> Any:
        squares = (value - self.loc) ** 2 / (2 * self.scale**2)
        return -squares - self.scale.log() - math.log(math.sqrt(2 * math.pi))

    def entropy(self) -> Any:
        return 0.5 + 0.5 * math.log(2 * math.pi) + torch.log(self.scale)

    def kl_divergence(self, other: Any) -> Any:
        ratio = (self.scale / other.scale) ** 2
        return 0.5 * (ratio + ((self.loc - other.loc) / other.scale) ** 2 - 1 - ratio.log())


@stands_for(named.Laplace)
class Laplace:
    def __init__(self, loc: Tensor, scale: Tensor, validate_args: Any = None) -> None:
        self.loc = loc
        self.scale = scale

    @property
    def mean(self) -> Any:
        return self.loc

    def log_prob(self, value: Tensor) -> Any:
        return -torch.log(2 * self.scale) - torch.abs(value - self.loc) / self.scale

    def entropy(self) -> Any:
        return 1 + torch.log(2 * self.scale)


@stands_for(named.Exponential)
class Exponential:
    def __init__(self, rate: Tensor, validate_args: Any = None) -> None:
        self.rate = rate

    @property
    def mean(self) -> Any:
        return 1 / self.rate

    def log_prob(self, value: Tensor) -> Any:
        return self.rate.log() - self.rate * value

    def entropy(self) -> Any:
        return 1 - torch.log(self.rate)


@stands_for(named.Categorical)
class Categorical:
    def __init__(self, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        if logits is None:
            self.probs = probs / probs.sum(-1, keepdim=True)
            least = torch.finfo(probs.dtype).eps
            self.logits = torch.log(self.probs.clamp(least, 1 - least))
        else:
            self.logits = F.log_softmax(logits, dim=-1)
            self.probs = torch.exp(self.logits)

    def log_prob(self, value: Tensor) -> Any:
        if value.ndim < self.logits.ndim - 1:
            value = value.expand(self.logits.shape[:-1])
        return self.logits.gather(-1, value.long().unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Any:
        return -(self.probs * self.logits).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        count = math.prod(sample_shape)
        rows = self.probs.reshape(-1, self.probs.shape[-1])
        drawn = torch.multinomial(rows, count, True).T
        return drawn.reshape((*sample_shape, *self.probs.shape[:-1]))

    def kl_divergence(self, other: Any) -> Any:
        return (self.probs * (self.logits - other.logits)).sum(-1)


@stands_for(named.Bernoulli)
class Bernoulli:
    def __init__(self, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        if logits is None:
            least = torch.finfo(probs.dtype).eps
            held = probs.clamp(least, 1 - least)
            self.probs = probs
            self.logits = torch.log(held) - torch.log1p(-held)
        else:
            self.logits = logits
            self.probs = torch.sigmoid(logits)

    @property
    def mean(self) -> Any:
        return self.probs

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        return torch.bernoulli(self.probs.expand((*sample_shape, *self.probs.shape)))

    def log_prob(self, value: Tensor) -> Any:
        return -F.binary_cross_entropy_with_logits(self.logits, value, reduction="none")

    def entropy(self) -> Any:
        return F.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    def kl_divergence(self, other: Any) -> Any:
        here = self.probs * (F.softplus(-other.logits) - F.softplus(-self.logits))
        return here + (1 - self.probs) * (F.softplus(other.logits) - F.softplus(self.logits))


@stands_for(named.Independent)
class Independent:
    def __init__(self, base: Any, ndims: int, validate_args: Any = None) -> None:
        self.base_dist = base
        self.dims = tuple(range(-ndims, 0))

    @property
    def mean(self) -> Any:
        return self.base_dist.mean

    def rsample(self, sample_shape: Any = ()) -> Any:
        return self.base_dist.rsample(sample_shape)

    def sample(self, sample_shape: Any = ()) -> Any:
        return self.base_dist.sample(sample_shape)

    def log_prob(self, value: Tensor) -> Any:
        return self.base_dist.log_prob(value).sum(self.dims)

    def entropy(self) -> Any:
        return self.base_dist.entropy().sum(self.dims)

    def kl_divergence(self, other: Any) -> Any:
        return self.base_dist.kl_divergence(other.base_dist).sum(self.dims)


@reads("torch.distributions.kl_divergence")
@reads("torch.distributions.kl.kl_divergence")
def kl_divergence(p: Any, q: Any) -> Any:
    return p.kl_divergence(q)
