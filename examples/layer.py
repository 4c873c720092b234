"""RMS normalisation, with a backward written by hand. One of its lines is wrong."""

from jaxtyping import Float
from torch import Tensor


def forward(
    x: Float[Tensor, "n d"],
    gain: Float[Tensor, "1 d"],
):
    var = (x**2).mean(1, keepdim=True)
    xhat = x * (var + 1e-5) ** -0.5
    y = gain * xhat
    return y


def backward(x, gain, var, xhat, dy):
    dgain = (xhat * dy).sum(0, keepdim=True)
    dxhat = gain * dy
    dx = (var + 1e-5) ** -0.5 * dxhat
    dvar = (-0.5 * (var + 1e-5) ** -1.5 * x * dxhat).sum(1, keepdim=True)
    dx = 2 * x * dvar / x.shape[1]
    return dx, dgain
