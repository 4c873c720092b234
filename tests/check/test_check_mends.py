"""Mends as a person would write them: the shortest line that says it, in the others' style."""

from __future__ import annotations

import pytest

from gradninja.check import LineReport, check
from mutation_trial import recorded

SOFTMAX = """
import torch


def forward(x, W):
    s = x @ W
    s = s - s.amax(-1, keepdim=True)  # for safety
    e = s.exp()
    p = e / e.sum(-1, keepdim=True)
    return p


def backward(x, W, p, dp):
    ds = p * (1 - p) * dp
    dx = ds @ W.T
    dW = x.T @ ds
    return dx, dW


def inputs():
    torch.manual_seed(0)
    return {"x": torch.randn(5, 4), "W": torch.randn(4, 3)}
"""

GATE = """
import torch


def forward(x, W1, W2):
    z = x @ W1
    h = torch.relu(z)
    out = h @ W2
    return out


def backward(x, W1, W2, z, h, dout):
    dW2 = h.T @ dout
    dh = dout @ W2.T
    dz = GATED
    dW1 = x.T @ dz
    dx = dz @ W1.T
    return dx, dW1, dW2


def inputs():
    torch.manual_seed(0)
    return {"x": torch.randn(5, 4), "W1": torch.randn(4, 3), "W2": torch.randn(3, 2)}
"""

COLUMN = """
import torch


def forward(x, w, b):
    z = x @ w
    out = torch.sigmoid(z + b)
    return out


def backward(x, w, b, z, out, dout):
    dz = out * (1 - out) * dout * x.exp().sum(1, keepdim=True).log().cos()
    dw = x.T @ dz
    dx = dz @ w.T
    db = dz.sum(0)
    return dx, dw, db


def inputs():
    torch.manual_seed(0)
    return {"x": torch.randn(5, 4), "w": torch.randn(4, 1), "b": torch.randn(1)}
"""


def wrong(text: str, runs: float | None = None) -> LineReport:
    """The one wrong line of a text; its mend makes the text right. `runs`: as of `recorded`."""
    with recorded(runs):
        (row,) = check(text).wrong
    assert row.fix is not None
    mended = text.replace(row.source, row.fix)
    assert mended != text
    assert check(mended).ok
    return row


@pytest.mark.parametrize("around", ["e.sum(-1, keepdim=True)", "e.sum(dim=-1)[..., None]"])
def test_a_softmax_of_several_lines_is_answered_by_one(around: str) -> None:
    row = wrong(SOFTMAX.replace("e.sum(-1, keepdim=True)", around), runs=60.0)
    assert row.fix == "ds = (dp - (p * dp).sum(1, keepdim=True)) * p"


def test_what_is_shorter_line_by_line_stays_so() -> None:
    text = SOFTMAX.replace("ds = p * (1 - p) * dp", "ds = p * dp.exp()").replace(
        "    s = s - s.amax(-1, keepdim=True)  # for safety\n    e = s.exp()\n"
        "    p = e / e.sum(-1, keepdim=True)\n",
        "    p = torch.softmax(s, -1)\n",
    )
    assert wrong(text).fix == "ds = p * (dp - (dp * p).sum(-1, keepdim=True))"


@pytest.mark.parametrize(
    ("written", "mended"),
    [
        ("h.sqrt() * dh", "(h > 0) * dh"),
        ("torch.sqrt(h) * dh", "(h > 0) * dh"),
        ("h ** 2 * dh", "(h > 0) * dh"),
        ("h * dh", "(h > 0) * dh"),
        ("z.sign() * dh", "(z > 0) * dh"),
        ("dh * torch.sign(z)", "dh * (z > 0)"),
        ("dh * (z < 0)", "dh * (z > 0)"),
    ],
)
def test_a_gate_is_mended_as_a_gate(written: str, mended: str) -> None:
    assert wrong(GATE.replace("GATED", written)).fix == f"dz = {mended}"


def test_nothing_is_said_along_an_axis_of_size_1() -> None:
    with recorded(runs=0.0):
        (row,) = check(COLUMN).wrong
    assert row.diagnosis is not None
    assert "Along axis" not in row.diagnosis
