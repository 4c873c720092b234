"""Backpropagation through time as people write it: the wrong line of the loop is named."""

from __future__ import annotations

import pytest

from gradninja.check import check
from gradninja.check.diagnosis import apply
from mutation_trial import recorded

BPTT = """
import torch


def forward(x, Wx, Wh, b, h0):
    N, T, D = x.shape
    h = h0
    hs = []
    for t in range(T):
        h = torch.tanh(x[:, t] @ Wx + h @ Wh + b)
        hs.append(h)
    hs = torch.stack(hs, dim=1)
    return hs


def backward(x, Wx, Wh, b, h0, hs, dhs):
    N, T, D = x.shape
    dx = torch.zeros_like(x)
    dWx = torch.zeros_like(Wx)
    dWh = torch.zeros_like(Wh)
    db = torch.zeros_like(b)
    dh_next = torch.zeros_like(h0)
    for t in reversed(range(T)):
        dh = dhs[:, t] + dh_next
        draw = (1 - hs[:, t] ** 2) * dh  # through the tanh
        dx[:, t] = draw @ Wx.T
        dWx += x[:, t].T @ draw
        prev = hs[:, t - 1] if t > 0 else h0
        dWh += prev.T @ draw
        db += draw.sum(0)
        dh_next = draw @ Wh.T
    dh0 = dh_next
    return dx, dWx, dWh, db, dh0


def inputs():
    torch.manual_seed(0)
    return {
        "x": torch.randn(2, 3, 4),
        "Wx": torch.randn(4, 5),
        "Wh": torch.randn(5, 5) * 0.3,
        "b": torch.randn(5),
        "h0": torch.randn(2, 5),
    }
"""


def test_each_gradient_of_a_loop_is_told_by_its_own_line() -> None:
    report = check(BPTT)
    assert report.ok
    told = {row.name: row.source for row in report.lines}
    assert told["dWx"] == "dWx += x[:, t].T @ draw"
    assert told["dx"] == "dx[:, t] = draw @ Wx.T"
    assert told["dh"] == "dh = dhs[:, t] + dh_next"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("(1 - hs[:, t] ** 2) * dh", "(1 - hs[:, t]) * dh"),
        ("dh = dhs[:, t] + dh_next", "dh = dhs[:, t]"),
        ("dWh += prev.T @ draw", "dWh += hs[:, t].T @ draw"),
        ("dWx += x[:, t].T @ draw", "dWx = x[:, t].T @ draw"),
        ("db += draw.sum(0)", "db += draw.mean(0)"),
        ("dh_next = draw @ Wh.T", "dh_next = draw @ Wh"),
        ("dx[:, t] = draw @ Wx.T", "dx[:, t] += 2 * draw @ Wx.T"),
    ],
)
def test_the_wrong_line_of_a_loop_is_named_and_mended(right: str, wrong: str) -> None:
    text = BPTT.replace(right, wrong)
    assert text != BPTT
    number = text[: text.index(wrong)].count("\n") + 1
    with recorded() as diagnoses:
        (row,) = check(text).wrong
    assert (row.line, row.place) == (number, f"in place of line {number}")
    assert wrong in row.source
    assert row.fix is not None
    assert "\n" not in row.fix
    mended = apply(diagnoses[row.name].patches, text)
    assert check(mended).ok
    # All other lines stay as they are, comments included.
    pairs = zip(text.splitlines(), mended.splitlines(), strict=True)
    assert sum(old != new for old, new in pairs) == 1
