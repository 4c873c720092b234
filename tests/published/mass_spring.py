import torch
from torch import nn


class MassSpring(nn.Module):
    def __init__(self, n=4, dt=0.05, steps=3):
        super().__init__()
        self.register_buffer("edges", torch.tensor([[0, 1], [1, 2], [2, 3], [0, 3]]))
        self.stiffness = nn.Parameter(torch.ones(4) * 10)
        self.rest = nn.Parameter(torch.ones(4))
        self.dt, self.steps = dt, steps

    def forces(self, x, v):
        i, j = self.edges[:, 0], self.edges[:, 1]
        d = x[j] - x[i]
        length = d.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        f = self.stiffness[:, None] * (length - self.rest[:, None]) * d / length
        total = torch.zeros_like(x)
        total.index_add_(0, i, f)
        total.index_add_(0, j, -f)
        total[:, 1] -= 9.8
        return total - 0.1 * v

    def forward(self, x, v):
        trajectory = []
        for _ in range(self.steps):
            v = v + self.dt * self.forces(x, v)
            x = x + self.dt * v
            trajectory.append(x)
        return torch.stack(trajectory)


def module():
    return MassSpring()


def inputs():
    return torch.randn(4, 2), torch.randn(4, 2)
