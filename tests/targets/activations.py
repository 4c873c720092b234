# ruff: noqa: RET504 - written as people write it
"""Activations, gated layers, a recurrent cell."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def tanh_layer(x: Float[Tensor, "n d"], W: Float[Tensor, "d k"], b: Float[Tensor, "k"]):
    """The lecture's hidden layer: `h` is enough to keep."""
    hpreact = x @ W + b
    h = torch.tanh(hpreact)
    return h


def tanh_layer_backward(x, W, h, dh):
    dhpreact = (1 - h**2) * dh
    return dhpreact @ W.T, x.T @ dhpreact, dhpreact.sum(0)


def tanh_chunked(x: Float[Tensor, "n d"]):
    """By exponentials, as the first lecture writes it."""
    e = (2 * x).exp()
    t = (e - 1) / (e + 1)
    return t


def tanh_chunked_backward(t, dt):
    return (1 - t**2) * dt


def sigmoid_library(x: Float[Tensor, "n d"]):
    """One call."""
    s = torch.sigmoid(x)
    return s


def sigmoid_library_backward(s, ds):
    return s * (1 - s) * ds


def sigmoid_chunked(x: Float[Tensor, "n d"]):
    """By an exponential."""
    e = torch.exp(-x)
    s = 1 / (1 + e)
    return s


sigmoid_chunked_backward = sigmoid_library_backward


def gelu_tanh_chunked(x: Float[Tensor, "n d"]):
    """Hendrycks and Gimpel 2016, as GPT-2 writes it, in steps."""
    c = math.sqrt(2 / math.pi)
    x3 = x**3
    inner = c * (x + 0.044715 * x3)
    t = torch.tanh(inner)
    y = 0.5 * x * (1 + t)
    return y


def gelu_tanh_chunked_backward(x, c, t, dy):
    slope = (1 - t**2) * (0.5 * c + 1.5 * 0.044715 * c * x**2)
    return (0.5 + 0.5 * t + slope * x) * dy


def gelu_tanh_library(x: Float[Tensor, "n d"]):
    """One call."""
    y = F.gelu(x, approximate="tanh")
    return y


def gelu_tanh_library_backward(x, dy):
    c = math.sqrt(2 / math.pi)
    t = torch.tanh(c * x * (1 + 0.044715 * x**2))
    return gelu_tanh_chunked_backward(x, c, t, dy)


def gelu_erf_chunked(x: Float[Tensor, "n d"]):
    """The exact form: x times the normal distribution's function."""
    phi = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    y = x * phi
    return y


def gelu_erf_chunked_backward(x, phi, dy):
    return (phi + x * torch.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)) * dy


def gelu_erf_library(x: Float[Tensor, "n d"]):
    """One call."""
    y = F.gelu(x)
    return y


def gelu_erf_library_backward(x, dy):
    phi = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    return gelu_erf_chunked_backward(x, phi, dy)


def silu_chunked(x: Float[Tensor, "n d"]):
    """Elfwing et al. 2017."""
    s = torch.sigmoid(x)
    y = x * s
    return y


def silu_chunked_backward(s, y, dy):
    return (s + y * (1 - s)) * dy


def silu_library(x: Float[Tensor, "n d"]):
    """One call."""
    y = F.silu(x)
    return y


def silu_library_backward(x, y, dy):
    s = torch.sigmoid(x)
    return (s + y * (1 - s)) * dy


def swiglu(
    x: Float[Tensor, "n d"],
    W: Float[Tensor, "d h"],
    V: Float[Tensor, "d h"],
    W2: Float[Tensor, "h k"],
):
    """Shazeer 2020, Llama's feed-forward, in steps."""
    a = x @ W
    b = x @ V
    s = torch.sigmoid(a)
    gate = a * s
    h = gate * b
    y = h @ W2
    return y


def swiglu_backward(x, W, V, W2, b, s, gate, h, dy):
    dh = dy @ W2.T
    da = (s + gate * (1 - s)) * b * dh
    db = gate * dh
    return da @ W.T + db @ V.T, x.T @ da, x.T @ db, h.T @ dy


def swiglu_library(
    x: Float[Tensor, "n d"],
    W: Float[Tensor, "d h"],
    V: Float[Tensor, "d h"],
    W2: Float[Tensor, "h k"],
):
    """In calls."""
    a = x @ W
    b = x @ V
    h = F.silu(a) * b
    y = h @ W2
    return y


def swiglu_library_backward(x, W, V, W2, a, b, h, dy):
    s = torch.sigmoid(a)
    return swiglu_backward(x, W, V, W2, b, s, a * s, h, dy)


def gru_cell(
    x: Float[Tensor, "n d"],
    h: Float[Tensor, "n k"],
    Wr: Float[Tensor, "d k"],
    Wz: Float[Tensor, "d k"],
    Wc: Float[Tensor, "d k"],
    Ur: Float[Tensor, "k k"],
    Uz: Float[Tensor, "k k"],
    Uc: Float[Tensor, "k k"],
):
    """Cho et al. 2014, with the reset after the product as libraries have it."""
    r = torch.sigmoid(x @ Wr + h @ Ur)
    z = torch.sigmoid(x @ Wz + h @ Uz)
    hc = h @ Uc
    c = torch.tanh(x @ Wc + r * hc)
    new = (1 - z) * c + z * h
    return new


def gru_cell_backward(x, h, Wr, Wz, Wc, Ur, Uz, Uc, r, z, hc, c, dnew):
    dc = (1 - z) * (1 - c**2) * dnew
    dz = (h - c) * z * (1 - z) * dnew
    dhc = r * dc
    dr = hc * (1 - r) * dhc
    dx = dr @ Wr.T + dz @ Wz.T + dc @ Wc.T
    dh = dr @ Ur.T + dz @ Uz.T + dhc @ Uc.T + z * dnew
    return dx, dh, x.T @ dr, x.T @ dz, x.T @ dc, h.T @ dr, h.T @ dz, h.T @ dhc
