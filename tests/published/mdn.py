"""Mixture density network with a dataclass output and a loss function below."""
import math
from dataclasses import dataclass
from enum import Enum, auto

import torch
import torch.nn as nn
import torch.nn.functional as F


class NoiseType(Enum):
    DIAGONAL = auto()
    ISOTROPIC = auto()
    FIXED = auto()


class MixtureDensityNetwork(nn.Module):
    def __init__(self, dim_in, dim_out, n_components, hidden_dim=None, noise_type=NoiseType.DIAGONAL, fixed_noise_level=None):
        super().__init__()
        assert (fixed_noise_level is not None) == (noise_type is NoiseType.FIXED)
        num_sigma_channels = {
            NoiseType.DIAGONAL: dim_out * n_components,
            NoiseType.ISOTROPIC: n_components,
            NoiseType.FIXED: 0,
        }[noise_type]
        self.dim_in, self.dim_out, self.n_components = dim_in, dim_out, n_components
        self.noise_type, self.fixed_noise_level = noise_type, fixed_noise_level
        hidden_dim = hidden_dim or dim_in
        self.pi_network = nn.Sequential(nn.Linear(dim_in, hidden_dim), nn.ELU(), nn.Linear(hidden_dim, n_components))
        self.normal_network = nn.Sequential(
            nn.Linear(dim_in, hidden_dim), nn.ELU(),
            nn.Linear(hidden_dim, dim_out * n_components + num_sigma_channels),
        )

    def forward(self, x, eps=1e-6):
        log_pi = torch.log_softmax(self.pi_network(x), dim=-1)
        normal_params = self.normal_network(x)
        mu = normal_params[..., :self.dim_out * self.n_components]
        sigma = normal_params[..., self.dim_out * self.n_components:]
        if self.noise_type is NoiseType.DIAGONAL:
            sigma = torch.exp(sigma + eps)
        if self.noise_type is NoiseType.ISOTROPIC:
            sigma = torch.exp(sigma + eps).repeat(1, self.dim_out)
        if self.noise_type is NoiseType.FIXED:
            sigma = torch.full_like(mu, fill_value=self.fixed_noise_level)
        mu = mu.reshape(-1, self.n_components, self.dim_out)
        sigma = sigma.reshape(-1, self.n_components, self.dim_out)
        return log_pi, mu, sigma

    def loss(self, x, y):
        log_pi, mu, sigma = self.forward(x)
        z_score = (y.unsqueeze(1) - mu) / sigma
        normal_loglik = (
            -0.5 * torch.einsum("bij,bij->bi", z_score, z_score)
            - torch.sum(torch.log(sigma), dim=-1)
        )
        loglik = torch.logsumexp(log_pi + normal_loglik, dim=-1)
        return -loglik


class Step(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = MixtureDensityNetwork(3, 2, n_components=4, hidden_dim=5, noise_type=NoiseType.ISOTROPIC)

    def forward(self, x, y):
        loss = self.model.loss(x, y).mean()
        return {"loss": loss, "nll": loss.detach()}


def module():
    return Step()


def inputs():
    return torch.randn(6, 3), torch.randn(6, 2)
