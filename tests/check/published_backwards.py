"""Backwards as people publish them: names stand for a place on the way back, not for a tensor.

Each with the lines of some with one mistake in them: (what is written, what is written instead).
"""

from __future__ import annotations

HEADER = """import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


"""
PUBLISHED: dict[str, str] = {}
PLANTED: dict[str, tuple[str, str]] = {}
PUBLISHED["mul_in_place"] = """\
def forward(
    x: Float[Tensor, "n d"],
    W: Float[Tensor, "d h"],
    b: Float[Tensor, "h"],
    V: Float[Tensor, "h k"],
):
    h = torch.tanh(x @ W + b)
    out = h @ V
    return out


def backward(dout, x, W, b, V, h):

    dV = h.T @ dout
    dh = dout @ V.T
    dh *= 1 - h**2
    dW = x.T @ dh
    db = dh.sum(0)
    dx = dh @ W.T
    return dx, dW, db, dV
"""
PUBLISHED["one_name_dout"] = """\
def forward(
    x: Float[Tensor, "n d"],
    W: Float[Tensor, "d h"],
    b: Float[Tensor, "h"],
    V: Float[Tensor, "h k"],
):
    h = torch.tanh(x @ W + b)
    out = h @ V
    return out


def backward(dout, x, W, b, V, h):

    dV = h.T @ dout
    dout = dout @ V.T
    dout = dout * (1 - h ** 2)
    dW = x.T @ dout
    db = dout.sum(0)
    dx = dout @ W.T
    return dx, dW, db, dV
"""
PLANTED["one_name_dout"] = ("dout = dout @ V.T", "dout = -(dout @ V.T)")
PUBLISHED["fused_dh"] = """\
def forward(
    x: Float[Tensor, "n d"],
    W: Float[Tensor, "d h"],
    b: Float[Tensor, "h"],
    V: Float[Tensor, "h k"],
):
    h = torch.tanh(x @ W + b)
    out = h @ V
    return out


def backward(dout, x, W, b, V, h):

    dV = h.T @ dout
    dh = (dout @ V.T) * (1 - h ** 2)
    dW = x.T @ dh
    db = dh.sum(0)
    dx = dh @ W.T
    return dx, dW, db, dV
"""
PUBLISHED["cs231n_two_layer"] = """\
def forward(
    x: Float[Tensor, "n d"],
    W: Float[Tensor, "d h"],
    b: Float[Tensor, "h"],
    V: Float[Tensor, "h k"],
):
    h = F.relu(x @ W + b)
    out = h @ V
    return out


def backward(dout, x, W, b, V, h):

    dV = h.T @ dout
    dh = dout @ V.T
    dh[h <= 0] = 0
    dW = x.T @ dh
    db = torch.sum(dh, dim=0)
    dx = dh @ W.T
    return dx, dW, db, dV
"""
PLANTED["cs231n_two_layer"] = ("dh[h <= 0] = 0", "dh[h >= 0] = 0")
PUBLISHED["relu_dout"] = """\
def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d k"]):
    out = F.relu(x @ w)
    return out


def backward(dout, x, w, out):
    dout = dout * (out > 0)
    dx = dout @ w.T
    dw = x.T @ dout
    return dx, dw
"""
PLANTED["relu_dout"] = ("dout = dout * (out > 0)", "dout = dout * (out < 0)")
PUBLISHED["affine_relu_softmax"] = """\
def forward(
    x: Float[Tensor, "n d"],
    W1: Float[Tensor, "d h"],
    b1: Float[Tensor, "h"],
    W2: Float[Tensor, "h c"],
    b2: Float[Tensor, "c"],
    y: Int[Tensor, "n"],
):
    hidden = torch.relu(x @ W1 + b1)
    scores = hidden @ W2 + b2
    loss = F.cross_entropy(scores, y)
    return loss


def backward(x, W1, b1, W2, b2, y, hidden, scores):
    n = x.shape[0]
    probs = F.softmax(scores, dim=1)
    dscores = probs
    dscores[torch.arange(n), y] -= 1
    dscores /= n
    dW2 = hidden.T @ dscores
    db2 = dscores.sum(0)
    dhidden = dscores @ W2.T
    dhidden[hidden <= 0] = 0
    dW1 = x.T @ dhidden
    db1 = dhidden.sum(0)
    dx = dhidden @ W1.T
    return dx, dW1, db1, dW2, db2
"""
PUBLISHED["da_in_place"] = """\
def forward(x: Float[Tensor, "n d"], W1: Float[Tensor, "d h"], W2: Float[Tensor, "h k"]):
    z1 = x @ W1
    a1 = torch.sigmoid(z1)
    z2 = a1 @ W2
    a2 = torch.sigmoid(z2)
    return a2


def backward(da2, x, W1, W2, z1, a1, z2, a2):
    da2 *= a2 * (1 - a2)
    dW2 = a1.T @ da2
    da1 = da2 @ W2.T
    da1 *= a1 * (1 - a1)
    dW1 = x.T @ da1
    dx = da1 @ W1.T
    return dx, dW1, dW2
"""
PUBLISHED["rnn_next"] = """\
def forward(
    x: Float[Tensor, "t n d"],
    h0: Float[Tensor, "n h"],
    Wx: Float[Tensor, "d h"],
    Wh: Float[Tensor, "h h"],
    b: Float[Tensor, "h"],
):
    hs = []
    h_prev = h0
    for t in range(x.shape[0]):
        h_prev = torch.tanh(x[t] @ Wx + h_prev @ Wh + b)
        hs.append(h_prev)
    out = torch.stack(hs)
    return out


def backward(dout, x, h0, Wx, Wh, b, out):

    T = x.shape[0]
    dx, dWx = torch.zeros_like(x), torch.zeros_like(Wx)
    dWh, db = torch.zeros_like(Wh), torch.zeros_like(b)
    dh_next = torch.zeros_like(h0)
    for t in range(T - 1, -1, -1):
        dh = dout[t] + dh_next
        dh *= 1 - out[t] ** 2
        db += dh.sum(0)
        dWx += x[t].T @ dh
        dWh += (out[t - 1] if t > 0 else h0).T @ dh
        dx[t] = dh @ Wx.T
        dh_next = dh @ Wh.T
    dh0 = dh_next
    return dx, dh0, dWx, dWh, db
"""
PUBLISHED["attention_in_place"] = """\
def forward(q: Float[Tensor, "t d"], k: Float[Tensor, "t d"], v: Float[Tensor, "t d"]):
    att = q @ k.T * q.shape[-1] ** -0.5
    att = F.softmax(att, dim=-1)
    out = att @ v
    return out


def backward(dout, q, k, v, att):
    dv = att.T @ dout
    datt = dout @ v.T
    datt = att * (datt - (datt * att).sum(-1, keepdim=True))
    datt *= q.shape[-1] ** -0.5
    dq = datt @ k
    dk = datt.T @ q
    return dq, dk, dv
"""
PLANTED["attention_in_place"] = ("datt - (datt * att)", "datt + (datt * att)")
PUBLISHED["batchnorm_compact"] = """\
def forward(x: Float[Tensor, "n d"], gamma: Float[Tensor, "d"], beta: Float[Tensor, "d"]):
    mu = x.mean(0)
    xc = x - mu
    var = (xc ** 2).mean(0)
    std = torch.sqrt(var + 1e-5)
    xhat = xc / std
    out = gamma * xhat + beta
    return out


def backward(dout, x, gamma, beta, mu, xc, var, std, xhat):

    N = x.shape[0]
    dbeta = dout.sum(0)
    dgamma = (dout * xhat).sum(0)
    dout = dout * gamma
    dx = (dout - dout.mean(0) - xhat * (dout * xhat).mean(0)) / std
    return dx, dgamma, dbeta
"""
PUBLISHED["layernorm"] = """\
def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d"], b: Float[Tensor, "d"]):
    mean = x.mean(-1, keepdim=True)
    rstd = ((x - mean) ** 2).mean(-1, keepdim=True).add(1e-5).rsqrt()
    norm = (x - mean) * rstd
    out = norm * w + b
    return out


def backward(dout, x, w, b, mean, rstd, norm):
    db = dout.sum(0)
    dw = (dout * norm).sum(0)
    dnorm = dout * w
    dx = dnorm - dnorm.mean(-1, keepdim=True) - norm * (dnorm * norm).mean(-1, keepdim=True)
    dx *= rstd
    return dx, dw, db
"""
PUBLISHED["conv1x1"] = """\
def forward(x: Float[Tensor, "n c h w"], k: Float[Tensor, "o c"], b: Float[Tensor, "o"]):
    cols = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
    out = (cols @ k.T + b).reshape(x.shape[0], x.shape[2], x.shape[3], -1).permute(0, 3, 1, 2)
    return out


def backward(dout, x, k, b, cols):
    db = dout.sum((0, 2, 3))
    dout = dout.permute(0, 2, 3, 1).reshape(-1, k.shape[0])
    dk = dout.T @ cols
    dcols = dout @ k
    dx = dcols.reshape(x.shape[0], x.shape[2], x.shape[3], -1).permute(0, 3, 1, 2)
    return dx, dk, db
"""
PUBLISHED["dropout_mask"] = """\
def forward(
    x: Float[Tensor, "n d"],
    W: Float[Tensor, "d h"],
    mask: Float[Tensor, "n h"],
    V: Float[Tensor, "h k"],
):
    h = F.relu(x @ W)
    h = h * mask
    out = h @ V
    return out


def backward(dout, x, W, mask, V, h):
    dV = h.T @ dout
    dh = dout @ V.T
    dmask = dh * F.relu(x @ W)
    dh = dh * mask
    dh[x @ W <= 0] = 0
    dW = x.T @ dh
    dx = dh @ W.T
    return dx, dW, dmask, dV
"""
PUBLISHED["gelu_ffn"] = """\
def forward(x: Float[Tensor, "n d"], W1: Float[Tensor, "d h"], W2: Float[Tensor, "h d"]):
    u = x @ W1
    a = u * torch.sigmoid(1.702 * u)
    out = x + a @ W2
    return out


def backward(dout, x, W1, W2, u, a):
    dW2 = a.T @ dout
    dx = dout.clone()
    dout = dout @ W2.T
    s = torch.sigmoid(1.702 * u)
    dout = dout * (s + 1.702 * u * s * (1 - s))
    dW1 = x.T @ dout
    dx += dout @ W1.T
    return dx, dW1, dW2
"""
PLANTED["gelu_ffn"] = ("dout * (s + 1.702", "dout * (s - 1.702")
PUBLISHED["swiglu"] = """\
def forward(
    x: Float[Tensor, "n d"],
    Wg: Float[Tensor, "d h"],
    Wu: Float[Tensor, "d h"],
    Wd: Float[Tensor, "h d"],
):
    gate = x @ Wg
    up = x @ Wu
    act = F.silu(gate) * up
    out = act @ Wd
    return out


def backward(dout, x, Wg, Wu, Wd, gate, up, act):
    dWd = act.t().mm(dout)
    dact = dout.mm(Wd.t())
    sig = gate.sigmoid()
    dup = dact * gate * sig
    dgate = dact * up
    dgate.mul_(sig * (1 + gate * (1 - sig)))
    dWg = x.t().mm(dgate)
    dWu = x.t().mm(dup)
    dx = dgate.mm(Wg.t())
    dx.addmm_(dup, Wu.t())
    return dx, dWg, dWu, dWd
"""
PUBLISHED["micrograd"] = """\
def forward(a: Float[Tensor, ""], b: Float[Tensor, ""], c: Float[Tensor, ""]):
    d = a * b
    e = d + c
    L = torch.tanh(e)
    return L


def backward(a, b, c, d, e, L):
    dL = 1.0
    dL = dL * (1 - L**2)
    dd = dL
    dc = dL
    da = dd * b
    db = dd * a
    return da, db, dc
"""
PLANTED["micrograd"] = ("dL = dL * (1 - L**2)", "dL = dL * (1 - L)")
PUBLISHED["zip_layers"] = """\
def forward(x: Float[Tensor, "n d"], W1: Float[Tensor, "d d"], W2: Float[Tensor, "d d"]):
    h = x
    acts = [h]
    for W in [W1, W2]:
        h = torch.tanh(h @ W)
        acts.append(h)
    return h


def backward(dh, x, W1, W2, acts):
    grads = []
    for W, a_in, a_out in zip([W2, W1], [acts[1], acts[0]], [acts[2], acts[1]]):
        dh = dh * (1 - a_out ** 2)
        grads.append(a_in.T @ dh)
        dh = dh @ W.T
    dW2, dW1 = grads
    dx = dh
    return dx, dW1, dW2
"""
PUBLISHED["alias_in_place_function"] = """\
def forward(x: Float[Tensor, "n d"], W: Float[Tensor, "d k"], V: Float[Tensor, "k m"]):
    z = x @ W
    h = F.relu(z)
    out = h @ V
    return out


def backward(dout, x, W, V, z, h):
    dV = h.T @ dout
    dh = dout @ V.T
    dz = dh
    dz[z < 0] = 0
    dW = x.T @ dz
    dx = dz @ W.T
    return dx, dW, dV
"""
PLANTED["alias_in_place_function"] = ("dz[z < 0] = 0", "dz[z > 0] = 0")
