import torch
from torch import nn


class SinkhornDistance(nn.Module):
    def __init__(self, eps=0.1, max_iter=4, reduction="mean"):
        super().__init__()
        self.eps = eps
        self.max_iter = max_iter
        self.reduction = reduction

    def forward(self, x, y):
        C = self._cost_matrix(x, y)
        batch, x_points, _ = x.shape
        y_points = y.shape[-2]
        mu = torch.empty(batch, x_points, requires_grad=False).fill_(1.0 / x_points)
        nu = torch.empty(batch, y_points, requires_grad=False).fill_(1.0 / y_points)
        u = torch.zeros_like(mu)
        v = torch.zeros_like(nu)
        for i in range(self.max_iter):
            u = self.eps * (torch.log(mu + 1e-8) - torch.logsumexp(self.M(C, u, v), dim=-1)) + u
            v = self.eps * (torch.log(nu + 1e-8) - torch.logsumexp(self.M(C, u, v).transpose(-2, -1), dim=-1)) + v
        U, V = u, v
        pi = torch.exp(self.M(C, U, V))
        cost = torch.sum(pi * C, dim=(-2, -1))
        if self.reduction == "mean":
            cost = cost.mean()
        elif self.reduction == "sum":
            cost = cost.sum()
        return cost, pi, C

    def M(self, C, u, v):
        "Modified cost for logarithmic updates"
        return (-C + u.unsqueeze(-1) + v.unsqueeze(-2)) / self.eps

    @staticmethod
    def _cost_matrix(x, y, p=2):
        x_col = x.unsqueeze(-2)
        y_lin = y.unsqueeze(-3)
        return torch.sum((torch.abs(x_col - y_lin)) ** p, -1)


def module():
    return SinkhornDistance()


def inputs():
    return torch.rand(1, 3, 2), torch.rand(1, 4, 2)
