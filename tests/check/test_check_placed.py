"""Gradients that have a place in what is returned, or a key, instead of a name `d<name>`."""

from __future__ import annotations

import pytest

import gradninja as gn

HEADER = "import torch\nfrom jaxtyping import Float\nfrom torch import Tensor\n\n\n"
LAYER = (
    'def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d k"], b: Float[Tensor, "k"]):\n'
    "    y = torch.tanh(x @ w + b)\n    return y\n\n\n"
)
LOSS = (
    'def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d"], lam: float = 0.2):\n'
    "    loss = (x @ w).square().mean() + lam * (w**2).sum()\n    return loss\n\n\n"
)
# A form in which people write it; a right line of it, a wrong one, and that line's kind.
FORMS = {
    "names of one's own": (
        LAYER,
        "def backward(x, w, y, dy):\n    g = dy * (1 - y**2)\n    grad_x = g @ w.T\n"
        "    grad_w = x.T @ g\n    grad_b = g.sum(0)\n    return grad_x, grad_w, grad_b\n",
        ("grad_b = g.sum(0)", "grad_b = g.sum(1)", "wrong axis"),
    ),
    "what is put together where it is returned": (
        LAYER,
        "def backward(x, w, y, dy):\n    g = dy * (1 - y**2)\n"
        "    return g @ w.T, x.T @ g, g.sum(0)\n",
        ("return g @ w.T, x.T @ g, g.sum(0)", "return g @ w.T, -x.T @ g, g.sum(0)", "sign"),
    ),
    "a list": (
        LAYER,
        "def backward(x, w, y, dy):\n    g = dy * (1 - y**2)\n    gx = g @ w.T\n"
        "    gw = x.T @ g\n    gb = g.sum(0)\n    return [gx, gw, gb]\n",
        ("gw = x.T @ g", "gw = g.T @ x", "transposed matmul"),
    ),
    "keys": (
        LAYER,
        "def backward(x, w, y, dy):\n    grads = {}\n    g = dy * (1 - y**2)\n"
        "    grads['x'] = g @ w.T\n    grads['dw'] = x.T @ g\n    grads['b'] = g.sum(0)\n"
        "    return grads\n",
        ("grads['dw'] = x.T @ g", "grads['dw'] = x.T @ dy", "gradient in place of value"),
    ),
    "a dict": (
        LAYER,
        "def backward(x, w, y, dy):\n    g = dy * (1 - y**2)\n    gw = x.T @ g\n"
        "    return {'x': g @ w.T, 'w': gw, 'b': g.sum(0)}\n",
        ("gw = x.T @ g", "gw = 2 * x.T @ g", "extra factor"),
    ),
    "a key that is added to, beside the loss": (
        LOSS,
        "def backward(x, w, lam, loss):\n    grads = dict()\n    e = 2 * (x @ w) / x.shape[0]\n"
        '    grads["w"] = x.T @ e\n    grads["w"] += 2 * lam * w\n'
        '    grads["x"] = torch.outer(e, w)\n    return loss, grads\n',
        ('grads["w"] += 2 * lam * w', 'grads["w"] += lam * w', "missing factor"),
    ),
    "a tuple beside the loss": (
        LOSS,
        "def backward(x, w, lam, loss):\n    e = 2 * (x @ w) / x.shape[0]\n"
        "    gw = x.T @ e + 2 * lam * w\n    gx = torch.outer(e, w)\n    return loss, (gx, gw)\n",
        ("e = 2 * (x @ w) / x.shape[0]", "e = (x @ w) / x.shape[0]", "missing factor"),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_wrong_line_is_named_and_mended(form: str) -> None:
    forward, backward, (right, wrong, kind) = FORMS[form]
    text = HEADER + forward + backward
    report = gn.check(text)
    assert report.ok and not report.wrong, str(report)
    (line,) = gn.check(text.replace(right, wrong)).wrong
    at = text[: text.index(right)].count("\n") + 1
    assert (line.line, line.source, line.kind) == (at, wrong, kind)
    assert line.fix is not None
    assert gn.check(text.replace(right, line.fix)).ok


def test_what_stands_in_another_order_is_told_of_the_return() -> None:
    forward, backward, _ = FORMS["names of one's own"]
    text = HEADER + forward + backward.replace("grad_x, grad_w", "grad_w, grad_x")
    for called in ("grad_", "d"):
        (line,) = gn.check(text.replace("grad_", called)).wrong
        assert (line.name, line.kind) == ("return", "returned")
    assert line.fix == "return dx, dw, db"
