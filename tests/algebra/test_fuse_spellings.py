"""The same function in other words has a backward as short: one line, no keepdim, the library."""

from __future__ import annotations

import pytest
import torch

import gradninja as gn
from catalogue import autograd, cotangents, differences
from full_size import count, largest
from gradninja.lines.scope import LIBRARY

# What PyTorch thinks of a deprecated spelling is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")

X = 'x: Float[Tensor, "n d"]'
XY = 'x: Float[Tensor, "n c"], y: Int[Tensor, "n"]'
XYT = 'x: Float[Tensor, "b t c"], y: Int[Tensor, "b t"]'
XWB = 'x: Float[Tensor, "n d"], w: Float[Tensor, "d"], b: Float[Tensor, "d"]'
PT = 'p: Float[Tensor, "n d"], t: Float[Tensor, "n d"]'
XT = 'x: Float[Tensor, "n d"], t: Int[Tensor, "n d"]'
XWH = 'x: Float[Tensor, "n d"], w: Float[Tensor, "n d"], h: Float[Tensor, "n d"]'
NCS = 'x: Float[Tensor, "n c s"], w: Float[Tensor, "c"], b: Float[Tensor, "c"]'
BTD = ", ".join(f'{name}: Float[Tensor, "b t d"]' for name in "qkv")
QKV = ", ".join(f'{name}: Float[Tensor, "b h t d"]' for name in "qkv")
GELU = "math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))"

# Inputs, full-size operations of the short form, and the lines of the forward. What the forward
# has without a name must be computed again, and counts.
SPELLINGS = {
    "softmax in a line": (X, 4, "return torch.exp(x) / torch.exp(x).sum(1, keepdim=True)"),
    "softmax of x - max": (
        X,
        4,
        "e = (x - x.max(-1, keepdim=True)[0]).exp()",
        "return e / e.sum(-1, keepdims=True)",
    ),
    "softmax without keepdim": (
        X,
        4,
        "e = (x - x.amax(1)[:, None]).exp()",
        "p = e / e.sum(1)[:, None]",
        "return p",
    ),
    "softmax in functions": (
        X,
        4,
        "e = torch.exp(x - torch.max(x, dim=1, keepdim=True).values)",
        "s = torch.sum(e, axis=1, keepdim=True)",
        "p = torch.div(e, s)",
        "return p",
    ),
    "softmax by logsumexp": (
        X,
        4,
        "p = (x - torch.logsumexp(x, 1, keepdim=True)).exp()",
        "return p",
    ),
    "log-softmax by logsumexp": (
        X,
        4,
        "lp = x - torch.logsumexp(x, 1, keepdim=True)",
        "return lp",
    ),
    "cross-entropy by logsumexp": (
        XY,
        4,
        "return (torch.logsumexp(x, 1) - x[torch.arange(len(y)), y]).mean()",
    ),
    "cross-entropy by gather": (
        XY,
        4,
        "lp = F.log_softmax(x, -1)",
        "return -lp.gather(1, y[:, None]).squeeze(1).mean()",
    ),
    "cross-entropy in two calls": (XY, 4, "return F.nll_loss(F.log_softmax(x, 1), y)"),
    "cross-entropy by one-hot": (
        XY,
        2,
        "h = F.one_hot(y, x.shape[1])",
        "p = F.softmax(x, 1)",
        "loss = -(h * p.log()).sum(1).mean()",
        "return loss",
    ),
    "cross-entropy by a sum": (
        XY,
        3,
        "p = torch.softmax(x, 1)",
        "loss = -torch.log(p[range(x.shape[0]), y]).sum() / x.shape[0]",
        "return loss",
    ),
    "cross-entropy over time": (
        XYT,
        4,
        "B, T, C = x.shape",
        "return F.cross_entropy(x.view(B * T, C), y.view(B * T))",
    ),
    "cross-entropy of classes in the middle": (
        XYT,
        4,
        "return F.cross_entropy(x.transpose(1, 2), y)",
    ),
    "LayerNorm in a line": (
        XWB,
        11,
        "m, v = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)",
        "return (x - m) / torch.sqrt(v + 1e-5) * w + b",
    ),
    "LayerNorm by rsqrt": (
        XWB,
        11,
        "m = x.mean(-1, keepdim=True)",
        "v = x.var(-1, correction=0, keepdim=True)",
        "xhat = (x - m) * torch.rsqrt(v + 1e-5)",
        "return xhat * w + b",
    ),
    "LayerNorm by std": (
        XWB,
        11,
        "m = x.mean(-1, keepdim=True)",
        "s = x.std(-1, correction=0, keepdim=True)",
        "xhat = (x - m) / (s + 1e-5)",
        "return xhat * w + b",
    ),
    "LayerNorm by the mean of squares": (
        XWB,
        12,
        "m = x.mean(-1, keepdim=True)",
        "v = (x**2).mean(-1, keepdim=True) - m**2",
        "xhat = (x - m) / (v + 1e-5) ** 0.5",
        "return xhat * w + b",
    ),
    "BatchNorm by var_mean": (
        XWB,
        7,
        "v, m = torch.var_mean(x, 0)",
        "xhat = (x - m) / (v + 1e-5).sqrt()",
        "return xhat * w + b",
    ),
    "BatchNorm without keepdim": (
        XWB,
        7,
        "m = x.mean(0)",
        "v = ((x - m) ** 2).mean(0)",
        "xhat = (x - m) * (v + 1e-5) ** -0.5",
        "return w * xhat + b",
    ),
    "RMSNorm by rsqrt": (
        XWB,
        9,
        "xhat = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)",
        "return w * xhat + b",
    ),
    "RMSNorm by norm": (
        XWB,
        9,
        "xhat = x / (x.norm(dim=-1, keepdim=True) * x.shape[-1] ** -0.5 + 1e-6)",
        "return w * xhat + b",
    ),
    "GELU in a line": (X, 10, f"return 0.5 * x * (1 + torch.tanh({GELU}))"),
    "GELU by erf in a line": (X, 9, "return x * 0.5 * (1.0 + torch.erf(x / 2**0.5))"),
    "SiLU in a line": (X, 5, "return x * torch.sigmoid(x)"),
    "SiLU by exp": (X, 6, "return x / (1 + torch.exp(-x))"),
    "sigmoid by exp": (X, 3, "s = 1.0 / (1.0 + torch.exp(-x))", "return s"),
    "sigmoid by e / (1 + e)": (X, 3, "e = x.exp()", "s = e / (1 + e)", "return s"),
    "softplus by exp": (X, 2, "return torch.log(1 + torch.exp(x))"),
    "tanh by exp": (X, 3, "e = torch.exp(-2 * x)", "t = (1 - e) / (1 + e)", "return t"),
    "unit rows": (X, 5, "u = x / x.norm(dim=1, keepdim=True)", "return u"),
    "squared error": (PT, 3, "return ((p - t) ** 2).mean()"),
    "squared error by the library": (PT, 3, "return F.mse_loss(p, t)"),
    "entropy": (X, 4, "p = F.softmax(x, 1)", "h = -(p * p.log()).sum(1)", "return h"),
    "attention by the library": (QKV, 9, "return F.scaled_dot_product_attention(q, k, v)"),
    "entropy by log-softmax": (
        X,
        4,
        "lp = F.log_softmax(x, 1)",
        "h = -(lp.exp() * lp).sum(1)",
        "return h",
    ),
    "softmax from log-softmax": (
        X,
        4,
        "lp = x - x.logsumexp(1, keepdim=True)",
        "p = lp.exp()",
        "return p",
    ),
    "cross-entropy by one-hot and log-softmax": (
        XY,
        3,
        "return -(F.one_hot(y, x.shape[1]) * F.log_softmax(x, 1)).sum(1).mean()",
    ),
    "cross-entropy that ignores a class": (XY, 5, "return F.cross_entropy(x, y, ignore_index=0)"),
    "cross-entropy of each example": (XY, 4, "return F.cross_entropy(x, y, reduction='none')"),
    "label smoothing by a soft target": (
        XY + ", eps: float = 0.1",
        3,
        "t = (1 - eps) * F.one_hot(y, x.shape[1]).to(x.dtype) + eps / x.shape[1]",
        "lp = F.log_softmax(x, 1)",
        "return -(t * lp).sum(1).mean()",
    ),
    "label smoothing by two means": (
        XY,
        3,
        "lp = F.log_softmax(x, 1)",
        "nll = -lp[range(len(y)), y].mean()",
        "return 0.9 * nll - 0.1 * lp.mean()",
    ),
    "focal loss by cross-entropy of each": (
        XY,
        4,
        "ce = F.cross_entropy(x, y, reduction='none')",
        "pt = (-ce).exp()",
        "return ((1 - pt) ** 2 * ce).mean()",
    ),
    "binary cross-entropy by logsigmoid": (
        XT,
        3,
        "return -(t * F.logsigmoid(x) + (1 - t) * F.logsigmoid(-x)).mean()",
    ),
    "binary cross-entropy by softplus": (XT, 5, "return (F.softplus(x) - x * t).mean()"),
    "binary cross-entropy by log1p": (
        XT,
        2,
        "p = torch.sigmoid(x)",
        "return -(t * p.log() + (1 - t) * torch.log1p(-p)).mean()",
    ),
    "binary cross-entropy that is stable": (
        XT,
        3,
        "return (x.clamp(min=0) - x * t + torch.log1p(torch.exp(-x.abs()))).mean()",
    ),
    "KL of two softmaxes": (
        PT,
        8,
        "lp, lt = F.log_softmax(p, 1), F.log_softmax(t, 1)",
        "kl = (lt.exp() * (lt - lp)).sum(1)",
        "return kl.mean()",
    ),
    "KL by the library": (
        PT,
        10,
        "lp, lt = F.log_softmax(p, 1), F.log_softmax(t, 1)",
        "return F.kl_div(lp, lt, log_target=True, reduction='batchmean')",
    ),
    "absolute error by the library": (PT, 4, "return F.l1_loss(p, t)"),
    "Huber loss by the library": (PT, 4, "return F.huber_loss(p, t)"),
    "cosine by norms": (PT, 6, "return (p * t).sum(1) / (p.norm(dim=1) * t.norm(dim=1))"),
    "cosine of unit rows": (
        PT,
        6,
        "a = p / p.norm(dim=1, keepdim=True)",
        "b = t / t.norm(dim=1, keepdim=True)",
        "return torch.einsum('nd,nd->n', a, b)",
    ),
    "unit rows by the library": (X, 6, "u = F.normalize(x, dim=1)", "return u"),
    "rows that add up to 1": (X, 6, "u = x / x.norm(p=1, dim=1, keepdim=True)", "return u"),
    "standardised by std": (X, 7, "s = x.std()", "y = (x - x.mean()) / s", "return y"),
    "InstanceNorm by the library": (NCS, 11, "return F.instance_norm(x, weight=w, bias=b)"),
    "one group by var_mean": (
        NCS,
        11,
        "v, m = torch.var_mean(x, (1, 2), correction=0, keepdim=True)",
        "xhat = (x - m) * (v + 1e-5).rsqrt()",
        "return xhat * w[:, None] + b[:, None]",
    ),
    "attention masked by where": (
        BTD,
        7,
        "S = q @ k.mT / math.sqrt(q.shape[2])",
        "S = torch.where(torch.ones_like(S[0]).tril().bool(), S, float('-inf'))",
        "return F.softmax(S, dim=-1) @ v",
    ),
    "attention with a mask added": (
        BTD,
        7,
        "mask = torch.full((q.shape[1], q.shape[1]), float('-inf')).triu(1)",
        "P = F.softmax(q @ k.mT * q.shape[2] ** -0.5 + mask, dim=-1)",
        "return P @ v",
    ),
    "attention divided at the end": (
        BTD,
        8,
        "S = q @ k.mT * q.shape[2] ** -0.5",
        "E = (S - S.amax(-1, keepdim=True)).exp()",
        "return E @ v / E.sum(-1, keepdim=True)",
    ),
    "a gate by lerp": (
        XWH,
        9,
        "z, c = torch.sigmoid(x), torch.tanh(w)",
        "return torch.lerp(c, h, z)",
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_other_words_are_as_short(name: str) -> None:
    inputs, reference, *lines = SPELLINGS[name]
    text = f"def forward({inputs}):\n    " + "\n    ".join(lines) + "\n"
    back, plain = gn.fuse(text), gn.derive(text)
    assert not back.dropped
    counts = [operations(one) for one in (back, plain)]
    told = f"{counts[0]} full-size operations, reference {reference}\n{back.source}"
    assert counts[0] <= reference, told
    assert counts[0] <= counts[1], told


def operations(back: gn.Backward) -> int:
    """The full-size operations of a text that is also held to autograd."""
    values = back.program.values
    scope = {**LIBRARY, **back.program.namespace}
    exec(back.whole_forward, scope)
    given = {one.name: values[one.name] for one in back.program.inputs}
    truth, grads = autograd(
        scope["forward"],
        given,
        lambda out: [torch.ones_like(out[0])] if back.scalar else cotangents(out, 101, "plain"),
    )
    assert not differences(back(given, grads[0]), truth, 1e-12), back.source
    exec(back.source, scope)
    named = {**values, **dict(zip(back.cotangents, grads, strict=True))}
    return len(count(scope["backward"], named, largest(values)))


def test_the_slope_of_a_stable_softplus_at_0() -> None:
    """Its parts have corners there, autograd's choices for which add up to no slope of the sum."""
    text = f"def forward({X}):\n    return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))\n"
    x = torch.tensor([[-1e3, -1.0, 0.0], [0.0, 1.0, 1e3]], dtype=torch.float64)
    got = gn.fuse(text)({"x": x}, torch.ones_like(x))["dx"]
    assert torch.allclose(got, torch.sigmoid(x), rtol=1e-12)


def test_classes_that_count_from_the_end() -> None:
    """-1 is the last class, where the values that are given have it."""
    text = f"def forward({XY}):\n    return -F.log_softmax(x, 1)[range(len(y)), y].mean()\n"
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs = {"x": x, "y": torch.tensor([0, -1, 2, -3])}
    back = gn.fuse(text, inputs)
    assert not back.dropped and "F.one_hot(y % x.shape[1], x.shape[1])" in back.source
    assert torch.allclose(back(inputs)["dx"], gn.derive(text)(inputs)["dx"], rtol=1e-12)


WHOLE = {
    "a sum over what is broadcast": (
        'w: Float[Tensor, "n d"], z: Float[Tensor, "k 1"]',
        "y = torch.einsum('ij,kj->ik', w, z)",
        "return y.norm() * y.sum()",
    ),
    "an input that is a number": (f'b: Float[Tensor, ""], {X}', "return b.mean() + x.sum()"),
    "a mask for a gradient": (
        f'{X}, m: Bool[Tensor, "n d"]',
        "return torch.where(m, x, 0.5).sum()",
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_nothing_is_dropped(name: str) -> None:
    """What once failed its check, and fell back to the derived lines."""
    inputs, *lines = WHOLE[name]
    back = gn.fuse(f"def forward({inputs}):\n    " + "\n    ".join(lines) + "\n")
    assert not back.dropped
    operations(back)
