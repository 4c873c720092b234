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


@stands_for(named.MultivariateNormal)
class MultivariateNormal:
    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        validate_args: Any = None,
    ) -> None:
        self.loc = loc
        if scale_tril is not None:
            self.scale_tril = scale_tril
        elif covariance_matrix is not None:
            self.scale_tril = torch.linalg.cholesky(covariance_matrix)
        else:
            self.scale_tril = torch.linalg.cholesky(torch.linalg.inv(precision_matrix))

    @property
    def mean(self) -> Any:
        return self.loc

    @property
    def covariance_matrix(self) -> Any:
        return self.scale_tril @ self.scale_tril.mT

    def rsample(self, sample_shape: Any = ()) -> Any:
        shape = (*sample_shape, *self.loc.shape)
        return self.loc + (self.scale_tril @ torch.randn(shape).unsqueeze(-1)).squeeze(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        shape = (*sample_shape, *self.loc.shape)
        return self.loc + (self.scale_tril @ torch.randn(shape).unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Any:
        diff = (value - self.loc).unsqueeze(-1)
        whitened = torch.linalg.solve_triangular(self.scale_tril, diff, upper=False).squeeze(-1)
        log_scale = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        squares = (whitened**2).sum(-1)
        return -0.5 * (self.loc.shape[-1] * math.log(2 * math.pi) + squares) - log_scale

    def entropy(self) -> Any:
        log_scale = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return 0.5 * self.loc.shape[-1] * (1 + math.log(2 * math.pi)) + log_scale


@stands_for(named.MixtureSameFamily)
class MixtureSameFamily:
    def __init__(self, mixture: Any, component: Any, validate_args: Any = None) -> None:
        self.mixture = mixture
        self.component = component

    @property
    def mean(self) -> Any:
        weights = self.mixture.probs
        means = self.component.mean
        return (weights.reshape(*weights.shape, *[1] * (means.ndim - weights.ndim)) * means).sum(
            weights.ndim - 1
        )

    def log_prob(self, value: Tensor) -> Any:
        dim = self.mixture.logits.ndim - 1
        value = value.unsqueeze(value.ndim - (self.component.mean.ndim - 1 - dim))
        log_weights = torch.log_softmax(self.mixture.logits, -1)
        return torch.logsumexp(self.component.log_prob(value) + log_weights, -1)


@stands_for(named.Uniform)
class Uniform:
    def __init__(self, low: Any, high: Any, validate_args: Any = None) -> None:
        self.low = torch.as_tensor(low) if isinstance(low, int | float) else low
        self.high = torch.as_tensor(high) if isinstance(high, int | float) else high

    def rsample(self, sample_shape: Any = ()) -> Any:
        shape = torch.broadcast_shapes(self.low.shape, self.high.shape)  # type: ignore[no-untyped-call]
        return self.low + torch.rand((*sample_shape, *shape)) * (self.high - self.low)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Any:
        within = (value >= self.low) & (value < self.high)
        return torch.log(within.to(self.low.dtype)) - torch.log(self.high - self.low)

    def entropy(self) -> Any:
        return torch.log(self.high - self.low)


@stands_for(named.Beta)
class Beta:
    def __init__(self, concentration1: Tensor, concentration0: Tensor, validate_args: Any = None):
        self.concentration1 = concentration1
        self.concentration0 = concentration0

    @property
    def mean(self) -> Any:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    def log_prob(self, value: Tensor) -> Any:
        a, b = self.concentration1, self.concentration0
        log_beta = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
        return (a - 1) * torch.log(value) + (b - 1) * torch.log1p(-value) - log_beta

    def entropy(self) -> Any:
        a, b = self.concentration1, self.concentration0
        log_beta = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
        slopes = (a - 1) * torch.digamma(a) + (b - 1) * torch.digamma(b)
        return log_beta - slopes + (a + b - 2) * torch.digamma(a + b)


@stands_for(named.Gamma)
class Gamma:
    def __init__(self, concentration: Tensor, rate: Tensor, validate_args: Any = None) -> None:
        self.concentration = concentration
        self.rate = rate

    @property
    def mean(self) -> Any:
        return self.concentration / self.rate

    def log_prob(self, value: Tensor) -> Any:
        a, b = self.concentration, self.rate
        return a * torch.log(b) + (a - 1) * torch.log(value) - b * value - torch.lgamma(a)

    def entropy(self) -> Any:
        a = self.concentration
        return a - torch.log(self.rate) + torch.lgamma(a) + (1 - a) * torch.digamma(a)


@stands_for(named.Poisson)
class Poisson:
    def __init__(self, rate: Tensor, validate_args: Any = None) -> None:
        self.rate = rate

    @property
    def mean(self) -> Any:
        return self.rate

    def log_prob(self, value: Tensor) -> Any:
        return torch.xlogy(value, self.rate) - self.rate - torch.lgamma(value + 1)


@reads("torch.distributions.kl_divergence")
@reads("torch.distributions.kl.kl_divergence")
def kl_divergence(p: Any, q: Any) -> Any:
    return p.kl_divergence(q)
