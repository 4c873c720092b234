import torch
from torch import nn
from torch.distributions import MultivariateNormal


class KalmanFilter(nn.Module):
    def __init__(self, state_dim=3, obs_dim=2):
        super().__init__()
        self.state_dim, self.obs_dim = state_dim, obs_dim
        self.F = nn.Parameter(torch.eye(state_dim) + 0.1 * torch.randn(state_dim, state_dim))
        self.H = nn.Parameter(torch.randn(obs_dim, state_dim))
        self.log_q = nn.Parameter(torch.zeros(state_dim))
        self.log_r = nn.Parameter(torch.zeros(obs_dim))
        self.register_buffer("mu0", torch.zeros(state_dim))
        self.register_buffer("P0", torch.eye(state_dim))

    @property
    def Q(self):
        return torch.diag(self.log_q.exp())

    @property
    def R(self):
        return torch.diag_embed(self.log_r.exp())

    def predict(self, mu, P):
        mu = self.F @ mu
        P = self.F @ P @ self.F.T + self.Q
        return mu, P

    def update(self, mu, P, y):
        S = self.H @ P @ self.H.T + self.R
        v = y - self.H @ mu
        K = torch.linalg.solve(S, self.H @ P).T
        mu = mu + K @ v
        I_KH = torch.eye(self.state_dim, dtype=P.dtype) - K @ self.H
        # Joseph form
        P = I_KH @ P @ I_KH.mT + K @ self.R @ K.mT
        return mu, P, v, S

    def forward(self, ys):
        T = ys.size(0)
        mu, P = self.mu0, self.P0
        ll = 0.
        mus, Ps = [], []
        for t in range(T):
            mu, P = self.predict(mu, P)
            mu, P, v, S = self.update(mu, P, ys[t])
            ll = ll + MultivariateNormal(torch.zeros_like(v), S).log_prob(v)
            mus += [mu]
            Ps += [P]
        return -ll / T


def module():
    torch.manual_seed(0)
    return KalmanFilter()


def inputs():
    return torch.randn(5, 2)
