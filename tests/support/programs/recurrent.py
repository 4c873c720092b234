"""Networks and systems that go step by step in time."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def rnn_over_time(
    x: Float[Tensor, "n 4 d"],
    Wx: Float[Tensor, "d h"],
    Wh: Float[Tensor, "h h"],
    b: Float[Tensor, "h"],
):
    """An Elman network, unrolled into a list."""
    h = torch.zeros(x.shape[0], Wh.shape[0], dtype=x.dtype)
    hs = []
    for t in range(x.shape[1]):
        h = torch.tanh(x[:, t] @ Wx + h @ Wh + b)
        hs.append(h)
    return torch.stack(hs, dim=1)


def rnn_last_state(x: Float[Tensor, "5 n d"], h0: Float[Tensor, "n h"], W: Float[Tensor, "d+h h"]):
    """Input and state joined, time first, the last state returned."""
    h = h0
    for t in range(5):
        h = torch.relu(torch.cat([x[t], h], dim=1) @ W) * 0.9 + 0.1 * h
    return h


def gru_cell(
    x: Float[Tensor, "n d"],
    h: Float[Tensor, "n hidden"],
    Wi: Float[Tensor, "3*hidden d"],
    Wh: Float[Tensor, "3*hidden hidden"],
    bi: Float[Tensor, "3*hidden"],
    bh: Float[Tensor, "3*hidden"],
):
    """Cho et al. 2014, with PyTorch's own packing of the gates."""
    i_r, i_z, i_n = F.linear(x, Wi, bi).chunk(3, 1)
    h_r, h_z, h_n = F.linear(h, Wh, bh).chunk(3, 1)
    r = torch.sigmoid(i_r + h_r)
    z = torch.sigmoid(i_z + h_z)
    n = torch.tanh(i_n + r * h_n)
    return (1 - z) * n + z * h


def lstm_cell(
    x: Float[Tensor, "n d"],
    h: Float[Tensor, "n hidden"],
    c: Float[Tensor, "n hidden"],
    W: Float[Tensor, "d+hidden 4*hidden"],
    b: Float[Tensor, "4*hidden"],
):
    """Hochreiter and Schmidhuber 1997; two outputs."""
    gates = torch.cat((x, h), dim=-1) @ W + b
    i, f, g, o = torch.split(gates, h.shape[1], dim=1)
    c = f.sigmoid() * c + i.sigmoid() * torch.tanh(g)
    h = o.sigmoid() * c.tanh()
    return h, c


def min_gru(x: Float[Tensor, "n t d"], Wz: Float[Tensor, "d h"], Wh: Float[Tensor, "d h"]):
    """Feng et al. 2024: the recurrence h = (1-z) h + z g in closed form, by sums of logarithms."""
    z = torch.sigmoid(x @ Wz)
    g = x @ Wh
    log_keep = torch.log1p(-z).cumsum(1)
    return log_keep.exp() * torch.cumsum(z * g * torch.exp(-log_keep), dim=1)


def selective_scan(
    x: Float[Tensor, "b 4 d"],
    delta: Float[Tensor, "b 4 d"],
    A: Float[Tensor, "d n"],
    B: Float[Tensor, "b 4 n"],
    C: Float[Tensor, "b 4 n"],
    D: Float[Tensor, "d"],
):
    """Mamba (Gu and Dao 2023), a few steps of it."""
    delta = F.softplus(delta)
    dA = torch.exp(delta.unsqueeze(-1) * -torch.exp(A))
    dBx = delta[..., None] * B[:, :, None] * x[..., None]
    h = torch.zeros_like(dA[:, 0])
    ys = []
    for i in range(4):
        h = dA[:, i] * h + dBx[:, i]
        ys.append((h * C[:, i, None, :]).sum(-1))
    return torch.stack(ys, dim=1) + D * x


def discounted_returns(rewards: Float[Tensor, "n 5"], gamma: Float[Tensor, ""]):
    """Rewards summed from the end, as in any agent."""
    total = torch.zeros_like(rewards[:, 0])
    returns = []
    for reward in reversed(rewards.unbind(dim=1)):
        total = reward + gamma * total
        returns.append(total)
    return torch.stack(returns[::-1], 1)


def moving_average(x: Float[Tensor, "n t"], window: int = 3):
    """Through the difference of running sums."""
    c = F.pad(x, (1, 0)).cumsum(dim=-1)
    return (c[:, window:] - c[:, :-window]) / window


def pendulum(
    theta: Float[Tensor, "n"],
    omega: Float[Tensor, "n"],
    length: Float[Tensor, ""],
    damping: Float[Tensor, ""],
):
    """Six Euler steps of a damped pendulum."""
    dt = 0.05
    for _ in range(6):
        accel = -9.81 / length * torch.sin(theta) - damping * omega
        omega = omega + dt * accel
        theta = theta + dt * omega
    return theta, omega


def spring_chain(x: Float[Tensor, "points"], v: Float[Tensor, "points"], k: Float[Tensor, ""]):
    """Points on springs, ends joined by roll, two leapfrog steps; the energy comes out."""
    for _ in range(2):
        force = k * (torch.roll(x, 1) - x) + k * (torch.roll(x, -1) - x)
        v = v + 0.1 * force
        x = x + 0.1 * v
    return 0.5 * (v**2).sum() + 0.5 * k * ((x - x.roll(1)) ** 2).sum()


def kalman_scalar(
    z: Float[Tensor, "4"], q: Float[Tensor, ""], r: Float[Tensor, ""], m0: Float[Tensor, ""]
):
    """A filter over four measurements, everything a number."""
    m, p = m0, torch.ones_like(m0)
    ll = 0.0
    for measured in z:
        p = p + q.exp()
        s = p + r.exp()
        gain = p / s
        innovation = measured - m
        ll = ll - 0.5 * (s.log() + innovation**2 / s)
        m = m + gain * innovation
        p = (1 - gain) * p
    return ll, m


def heat_equation(u: Float[Tensor, "h w"], alpha: Float[Tensor, ""]):
    """Three explicit steps on a grid, borders held at zero by padding."""
    for _step in range(3):
        p = F.pad(u, (1, 1, 1, 1))
        lap = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] - 4 * u
        u = u + alpha * lap
    return u


def power_iteration(A: Float[Tensor, "n n"], v: Float[Tensor, "n"]):
    """Three steps towards the largest eigenvalue of a symmetric matrix."""
    S = A @ A.T
    for _ in range(3):
        v = S @ v
        v = v / v.norm()
    return v @ S @ v


def newton_schulz(G: Float[Tensor, "m n"]):
    """The orthogonalisation inside the Muon optimiser, three steps."""
    a, b, c = 3.4445, -4.7750, 2.0315
    X = G / (G.norm() + 1e-7)
    for _ in range(3):
        A = X @ X.mT
        B = b * A + c * A @ A
        X = a * X + B @ X
    return X


def adam_step(
    w: Float[Tensor, "d"], g: Float[Tensor, "d"], m: Float[Tensor, "d"], v: Float[Tensor, "d"]
):
    """An optimiser's step as a function to be learned through."""
    beta1, beta2, t = 0.9, 0.999, 3
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v.square() + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return w - 0.1 * m_hat / (v_hat.sqrt() + 1e-8)
