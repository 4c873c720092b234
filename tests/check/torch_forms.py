"""Backwards on tensors in the forms of courses and repositories, each with mistakes to plant."""

from __future__ import annotations

FORMS = {
    "functions with a cache": """
import torch

def affine_forward(x, w, b):
    out = x.reshape(x.shape[0], -1) @ w + b
    cache = (x, w, b)
    return out, cache

def affine_backward(dout, cache):
    x, w, b = cache
    dx = (dout @ w.t()).reshape(x.shape)
    dw = x.reshape(x.shape[0], -1).t() @ dout
    db = dout.sum(dim=0)
    return dx, dw, db
""",
    "static methods of classes": """
import torch

class Linear(object):

  @staticmethod
  def forward(x, w, b):
    out = None
    out = x.view(x.shape[0], -1).mm(w) + b
    cache = (x, w, b)
    return out, cache

  @staticmethod
  def backward(dout, cache):
    x, w, b = cache
    dx, dw, db = None, None, None
    db = dout.sum(dim=0)
    dx = dout.mm(w.t()).view(x.shape)
    dw = x.view(x.shape[0], -1).t().mm(dout)
    return dx, dw, db


class ReLU(object):

  @staticmethod
  def forward(x):
    out = x.clone()
    out[out < 0] = 0
    cache = x
    return out, cache

  @staticmethod
  def backward(dout, cache):
    x = cache
    dx = dout.clone()
    dx[x < 0] = 0
    return dx
""",
    "a layer norm with a script below": """
import torch
eps = 1e-5

class LayerNorm:
    @staticmethod
    def forward(x, w, b):
        B, T, C = x.size()
        mean = x.sum(-1, keepdim=True) / C # B,T,1
        xshift = x - mean # B,T,C
        var = (xshift**2).sum(-1, keepdim=True) / C # B,T,1
        rstd = (var + eps) ** -0.5 # B,T,1
        norm = xshift * rstd # B,T,C
        out = norm * w + b # B,T,C
        cache = (x, w, mean, rstd)
        return out, cache

    @staticmethod
    def backward(dout, cache):
        x, w, mean, rstd = cache
        norm = (x - mean) * rstd
        db = dout.sum((0, 1))
        dw = (dout * norm).sum((0, 1))
        dnorm = dout * w
        dx = dnorm - dnorm.mean(-1, keepdim=True) - norm * (dnorm * norm).mean(-1, keepdim=True)
        dx *= rstd
        return dx, dw, db

x = torch.randn(2, 3, 4, requires_grad=True)
w = torch.randn(4, requires_grad=True)
b = torch.randn(4, requires_grad=True)
out, cache = LayerNorm.forward(x, w, b)
dout = torch.randn(2, 3, 4)
fakeloss = (out * dout).sum()
fakeloss.backward()
""",
    "a class that keeps its input": """
import torch

class Linear:
    def __init__(self, n_in, n_out):
        self.weight = torch.randn(n_in, n_out) / n_in**0.5
        self.bias = torch.zeros(n_out)
    def forward(self, x):
        self.x = x
        return x @ self.weight + self.bias
    def backward(self, grad):
        self.weight_grad = self.x.t() @ grad
        self.bias_grad = grad.sum(0)
        return grad @ self.weight.t()
""",
    "a batch norm with running statistics": """
import torch

class BatchNorm1d:
    def __init__(self, dim=6, eps=1e-5, momentum=0.1):
        self.eps, self.momentum = eps, momentum
        self.gamma = torch.ones(dim)
        self.beta = torch.zeros(dim)
        self.running_mean = torch.zeros(dim)

    def forward(self, x):
        mu = x.mean(0, keepdim=True)
        self.xc = x - mu
        var = (self.xc ** 2).mean(0, keepdim=True)
        self.inv = (var + self.eps).rsqrt()
        self.xhat = self.xc * self.inv
        with torch.no_grad():
            self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mu[0]
        return self.gamma * self.xhat + self.beta

    def backward(self, dout):
        n = dout.shape[0]
        self.dgamma = (dout * self.xhat).sum(0)
        self.dbeta = dout.sum(0)
        dxhat = dout * self.gamma
        dx = self.inv / n * (n * dxhat - dxhat.sum(0) - self.xhat * (dxhat * self.xhat).sum(0))
        return dx
""",
    "losses beside their gradients": """
import torch

def svm_loss(x, y):
  N = x.shape[0]
  correct_class_scores = x[torch.arange(N), y]
  margins = (x - correct_class_scores[:, None] + 1.0).clamp(min=0.)
  margins[torch.arange(N), y] = 0.
  loss = margins.sum() / N
  num_pos = (margins > 0).sum(dim=1)
  dx = torch.zeros_like(x)
  dx[margins > 0] = 1.
  dx[torch.arange(N), y] -= num_pos.to(dx.dtype)
  dx /= N
  return loss, dx

def softmax_loss(x, y):
  shifted_logits = x - x.max(dim=1, keepdim=True).values
  Z = shifted_logits.exp().sum(dim=1, keepdim=True)
  log_probs = shifted_logits - Z.log()
  probs = log_probs.exp()
  N = x.shape[0]
  loss = (-1.0 / N) * log_probs[torch.arange(N), y].sum()
  dx = probs.clone()
  dx[torch.arange(N), y] -= 1
  dx /= N
  return loss, dx
""",
    "a network whose weights stand in a dictionary": """
import torch
from typing import Dict

def nn_forward_pass(params: Dict[str, torch.Tensor], X: torch.Tensor):
    W1, b1 = params["W1"], params["b1"]
    W2, b2 = params["W2"], params["b2"]
    hidden = (X.mm(W1) + b1).clamp(min=0)
    scores = hidden.mm(W2) + b2
    return scores, hidden

def nn_forward_backward(params, X, y=None, reg=0.0):
    W1, b1 = params["W1"], params["b1"]
    W2, b2 = params["W2"], params["b2"]
    N, D = X.shape
    scores, h1 = nn_forward_pass(params, X)
    if y is None:
        return scores
    shifted = scores - scores.max(dim=1, keepdim=True).values
    probs = shifted.exp() / shifted.exp().sum(dim=1, keepdim=True)
    loss = -probs[torch.arange(N), y].log().mean() + reg * ((W1 * W1).sum() + (W2 * W2).sum())
    grads = {}
    dscores = probs.clone()
    dscores[torch.arange(N), y] -= 1
    dscores /= N
    grads["W2"] = h1.t().mm(dscores) + 2 * reg * W2
    grads["b2"] = dscores.sum(dim=0)
    dh = dscores.mm(W2.t())
    dh[h1 == 0] = 0
    grads["W1"] = X.t().mm(dh) + 2 * reg * W1
    grads["b1"] = dh.sum(dim=0)
    return loss, grads
""",
}
MISTAKES = {
    "functions with a cache": [
        ("(x.shape[0], -1).t() @ dout", "(x.shape[0], -1).t() @ (2 * dout)"),
        ("dout.sum(dim=0)", "dout.mean(dim=0)"),
    ],
    "static methods of classes": [
        ("dx[x < 0] = 0", "dx[x > 0] = 0"),
        ("dout.mm(w.t())", "dout.mm(w.t() * 0.5)"),
    ],
    "a layer norm with a script below": [
        (
            "- norm * (dnorm * norm).mean(-1, keepdim=True)",
            "- norm * (dnorm * norm).sum(-1, keepdim=True)",
        ),
        ("db = dout.sum((0, 1))", "db = dout.mean((0, 1))"),
    ],
    "a class that keeps its input": [
        ("self.x.t() @ grad\n", "self.x.t() @ grad / len(grad)\n"),
        ("grad @ self.weight.t()", "-grad @ self.weight.t()"),
    ],
    "a batch norm with running statistics": [
        ("(dout * self.xhat).sum(0)\n", "(dout * self.xc).sum(0)\n"),
        ("n * dxhat - dxhat.sum(0)", "n * dxhat - dxhat.mean(0)"),
    ],
    "a network whose weights stand in a dictionary": [
        ("X.t().mm(dh) + 2 * reg * W1", "X.t().mm(dh) + reg * W1"),
        ("dh.sum(dim=0)", "dh.sum(dim=0) / N"),
    ],
}
