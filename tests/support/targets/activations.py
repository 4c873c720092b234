# ruff: noqa: RET504 - written as people write it
"""Activations, and a recurrent cell made of them."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def tanh(x: Float[Tensor, "n d"]):
    e2x = (2 * x).exp()
    h = (e2x - 1) / (e2x + 1)
    return h


def tanh_backward(h, dh):
    dx = dh * (1 - h**2)
    return dx


def tanh_library(hpreact: Float[Tensor, "n d"]):
    h = torch.tanh(hpreact)
    return h


tanh_library_backward = tanh_backward


def sigmoid(x: Float[Tensor, "n d"]):
    s = 1 / (1 + (-x).exp())
    return s


def sigmoid_backward(s, ds):
    dx = ds * s * (1 - s)
    return dx


def sigmoid_library(x: Float[Tensor, "n d"]):
    s = torch.sigmoid(x)
    return s


sigmoid_library_backward = sigmoid_backward


def silu(x: Float[Tensor, "n d"]):
    s = torch.sigmoid(x)
    y = x * s
    return y


def silu_backward(s, y, dy):
    dx = dy * (s + y * (1 - s))
    return dx


def silu_library(x: Float[Tensor, "n d"]):
    y = F.silu(x)
    return y


def silu_library_backward(x, y, dy):
    return silu_backward(torch.sigmoid(x), y, dy)


def swiglu(gate: Float[Tensor, "n d"], up: Float[Tensor, "n d"]):
    """Shazeer 2020, equation 6, given its two projections."""
    s = torch.sigmoid(gate)
    a = gate * s
    y = a * up
    return y


def swiglu_backward(up, s, a, dy):
    dgate = dy * up * (s + a * (1 - s))
    return dgate, dy * a


def swiglu_library(gate: Float[Tensor, "n d"], up: Float[Tensor, "n d"]):
    y = F.silu(gate) * up
    return y


def swiglu_library_backward(gate, up, dy):
    s = torch.sigmoid(gate)
    return swiglu_backward(up, s, gate * s, dy)


def gelu_tanh(x: Float[Tensor, "n d"]):
    """Hendrycks and Gimpel 2016, the approximation, as in GPT-2."""
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    t = torch.tanh(inner)
    y = 0.5 * x * (1 + t)
    return y


def gelu_tanh_backward(x, t, dy):
    c = math.sqrt(2 / math.pi)
    dx = 0.5 * dy * (1 + t + x * (1 - t**2) * (c + c * 3 * 0.044715 * x**2))
    return dx


def gelu_tanh_library(x: Float[Tensor, "n d"]):
    y = F.gelu(x, approximate="tanh")
    return y


def gelu_tanh_library_backward(x, dy):
    c = math.sqrt(2 / math.pi)
    x2 = x**2
    t = torch.tanh(x * (c + c * 0.044715 * x2))
    dx = 0.5 * dy * (1 + t + x * (1 - t**2) * (c + c * 3 * 0.044715 * x2))
    return dx


def gelu_erf(x: Float[Tensor, "n d"]):
    e = torch.erf(x / math.sqrt(2))
    y = 0.5 * x * (1 + e)
    return y


def gelu_erf_backward(x, e, dy):
    dx = dy * (0.5 * (1 + e) + x * torch.exp(-0.5 * x**2) * (2 * math.pi) ** -0.5)
    return dx


def gelu_erf_library(x: Float[Tensor, "n d"]):
    y = F.gelu(x)
    return y


def gelu_erf_library_backward(x, dy):
    return gelu_erf_backward(x, torch.erf(x * 0.5**0.5), dy)


def gru_gates(
    xr: Float[Tensor, "n k"],
    xz: Float[Tensor, "n k"],
    xc: Float[Tensor, "n k"],
    hr: Float[Tensor, "n k"],
    hz: Float[Tensor, "n k"],
    hc: Float[Tensor, "n k"],
    h: Float[Tensor, "n k"],
):
    """Cho et al. 2014 as PyTorch has it, given what the matrices make of x and h."""
    r = torch.sigmoid(xr + hr)
    z = torch.sigmoid(xz + hz)
    c = torch.tanh(xc + r * hc)
    out = (1 - z) * c + z * h
    return out


def gru_gates_backward(hc, h, r, z, c, dout):
    other = 1 - z
    dz_in = dout * (h - c) * z * other
    dc_in = dout * other * (1 - c**2)
    dr_in = dc_in * hc * r * (1 - r)
    return dr_in, dz_in, dc_in, dr_in, dz_in, dc_in * r, dout * z


def gru(
    x: Float[Tensor, "n d"],
    h: Float[Tensor, "n k"],
    Wr: Float[Tensor, "d k"],
    Wz: Float[Tensor, "d k"],
    Wc: Float[Tensor, "d k"],
    Ur: Float[Tensor, "k k"],
    Uz: Float[Tensor, "k k"],
    Uc: Float[Tensor, "k k"],
):
    """The whole cell."""
    r = torch.sigmoid(x @ Wr + h @ Ur)
    z = torch.sigmoid(x @ Wz + h @ Uz)
    hc = h @ Uc
    c = torch.tanh(x @ Wc + r * hc)
    out = (1 - z) * c + z * h
    return out


def gru_backward(x, h, Wr, Wz, Wc, Ur, Uz, Uc, r, z, hc, c, dout):
    dr_in, dz_in, dc_in, _, _, dhc, dh = gru_gates_backward(hc, h, r, z, c, dout)
    dx = dr_in @ Wr.T + dz_in @ Wz.T + dc_in @ Wc.T
    dh = dh + dr_in @ Ur.T + dz_in @ Uz.T + dhc @ Uc.T
    dW = x.T @ dr_in, x.T @ dz_in, x.T @ dc_in
    dU = h.T @ dr_in, h.T @ dz_in, h.T @ dhc
    return dx, dh, *dW, *dU


SIZES = {"gru": (12, 3, 8)}
