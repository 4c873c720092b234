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
    "a tutorial's script": """
import torch

dtype = torch.float
device = torch.device("cpu")
N, D_in, H, D_out = 6, 5, 4, 3
x = torch.randn(N, D_in, device=device, dtype=dtype)
y = torch.randn(N, D_out, device=device, dtype=dtype)
w1 = torch.randn(D_in, H, device=device, dtype=dtype)
w2 = torch.randn(H, D_out, device=device, dtype=dtype)

learning_rate = 1e-6
for t in range(500):
    h = x.mm(w1)
    h_relu = h.clamp(min=0)
    y_pred = h_relu.mm(w2)
    loss = (y_pred - y).pow(2).sum().item()
    if t % 100 == 99:
        print(t, loss)
    grad_y_pred = 2.0 * (y_pred - y)
    grad_w2 = h_relu.t().mm(grad_y_pred)
    grad_h_relu = grad_y_pred.mm(w2.t())
    grad_h = grad_h_relu.clone()
    grad_h[h < 0] = 0
    grad_w1 = x.t().mm(grad_h)
    w1 -= learning_rate * grad_w1
    w2 -= learning_rate * grad_w2
""",
    "a notebook as a script": """
import torch

def cmp(s, dt, t):
  ex = torch.all(dt == t.grad).item()
  print(f"{s:15s} | exact: {str(ex):5s}")

g = torch.Generator().manual_seed(2147483647)
vocab_size, n = 7, 6
Xtr = torch.randint(0, vocab_size, (20, 3), generator=g)
Ytr = torch.randint(0, vocab_size, (20,), generator=g)
C = torch.randn((vocab_size, 4), generator=g)
W1 = torch.randn((12, 5), generator=g) * 0.2
b1 = torch.randn(5, generator=g) * 0.1
W2 = torch.randn((5, vocab_size), generator=g) * 0.1
parameters = [C, W1, b1, W2]
print(sum(p.nelement() for p in parameters))
for p in parameters:
  p.requires_grad = True

ix = torch.randint(0, Xtr.shape[0], (n,), generator=g)
Xb, Yb = Xtr[ix], Ytr[ix]
emb = C[Xb]
embcat = emb.view(emb.shape[0], -1)
hprebn = embcat @ W1 + b1
hmean = 1/n*hprebn.sum(0, keepdim=True)
hpreact = hprebn - hmean
h = torch.tanh(hpreact)
logits = h @ W2
counts = logits.exp()
counts_sum = counts.sum(1, keepdims=True)
probs = counts * counts_sum**-1
logprobs = probs.log()
loss = -logprobs[range(n), Yb].mean()

for p in parameters:
  p.grad = None
for t in [logprobs, probs, counts, logits, h, hpreact, hmean, hprebn, embcat, emb]:
  t.retain_grad()
loss.backward()
loss

# Exercise 1
dlogprobs = torch.zeros_like(logprobs)
dlogprobs[range(n), Yb] = -1.0/n
dprobs = (1.0 / probs) * dlogprobs
dcounts = counts_sum**-1 * dprobs
dcounts_sum = (-counts_sum**-2) * (counts * dprobs).sum(1, keepdim=True)
dcounts += torch.ones_like(counts) * dcounts_sum
dlogits = counts * dcounts
cmp("logits", dlogits, logits)
dh = dlogits @ W2.T
dW2 = h.T @ dlogits
dhpreact = (1.0 - h**2) * dh
dhprebn = dhpreact.clone()
dhmean = (-dhpreact).sum(0)
dhprebn += 1.0/n * (torch.ones_like(hprebn) * dhmean)
dembcat = dhprebn @ W1.T
dW1 = embcat.T @ dhprebn
db1 = dhprebn.sum(0)
demb = dembcat.view(emb.shape)
dC = torch.zeros_like(C)
for k in range(Xb.shape[0]):
  for j in range(Xb.shape[1]):
    ix = Xb[k,j]
    dC[ix] += demb[k,j]

cmp("C", dC, C)
""",
    "a recurrent network, time first": """
import torch
def rnn_forward(xs, h0, Wx, Wh, b):
    h, hs = h0, []
    for t in range(len(xs)):
        h = torch.tanh(xs[t] @ Wx + h @ Wh + b)
        hs.append(h)
    hs = torch.stack(hs)
    return hs, (xs, hs, h0, Wx, Wh)

def rnn_backward(dhs, cache):
    xs, hs, h0, Wx, Wh = cache
    dxs = torch.zeros_like(xs)
    dWx, dWh = torch.zeros_like(Wx), torch.zeros_like(Wh)
    db = torch.zeros(Wh.shape[1], dtype=Wh.dtype)
    dh = torch.zeros_like(h0)
    for t in reversed(range(len(xs))):
        dh = dh + dhs[t]
        da = dh * (1 - hs[t] ** 2)
        dxs[t] = da @ Wx.T
        dWx += xs[t].T @ da
        dWh += (hs[t - 1] if t > 0 else h0).T @ da
        db += da.sum(0)
        dh = da @ Wh.T
    return dxs, dh, dWx, dWh, db
""",
    "gradients that are returned without names": """
import torch
def relu_forward(x):
    return x.clamp(min=0)
def relu_backward(dout, x):
    return dout * (x > 0)
def mul_forward(a, b):
    return a * b
def mul_backward(dout, a, b):
    return dout * b, dout * a
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
    "a tutorial's script": [
        ("2.0 * (y_pred - y)", "(y_pred - y)"),
        ("grad_h[h < 0] = 0", "grad_h[h_relu < 0] = 0"),
    ],
    "a notebook as a script": [
        ("(1.0 - h**2) * dh", "(1.0 - h) * dh"),
        ("dC[ix] += demb[k,j]", "dC[ix] = demb[k,j]"),
    ],
    "a recurrent network, time first": [
        ("da.sum(0)", "da.mean(0)"),
        ("da @ Wx.T", "2 * da @ Wx.T"),
    ],
}
