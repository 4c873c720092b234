import torch
import torch.nn as nn


class ODEFunc(nn.Module):
    def __init__(self, dim=2, hidden=5):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, dim))
        for m in self.net.modules():
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, mean=0, std=0.1)
                nn.init.constant_(m.bias, val=0)
        self.nfe = 0

    def forward(self, t, y):
        self.nfe += 1
        return self.net(y**3)


def rk4_step(func, t, dt, y):
    k1 = func(t, y)
    k2 = func(t + dt / 3, y + dt * k1 / 3)
    k3 = func(t + dt * 2 / 3, y + dt * (k2 - k1 / 3))
    k4 = func(t + dt, y + dt * (k1 - k2 + k3))
    return (k1 + 3 * (k2 + k3) + k4) * dt * 0.125


class NeuralODE(nn.Module):
    def __init__(self, steps=3, t1=1.0):
        super().__init__()
        self.func = ODEFunc()
        self.steps, self.t1 = steps, t1

    def forward(self, y0):
        dt = self.t1 / self.steps
        ys = [y0]
        for i in range(self.steps):
            t = i * dt
            ys.append(ys[-1] + rk4_step(self.func, t, dt, ys[-1]))
        return torch.stack(ys, dim=0)


def module():
    return NeuralODE()


def inputs():
    return torch.randn(3, 2)
