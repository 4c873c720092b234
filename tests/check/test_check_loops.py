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


TURNS = (
    "import torch\nfrom jaxtyping import Float\nfrom torch import Tensor\n\n\n"
    'def forward(x: Float[Tensor, "t d"], a: Float[Tensor, "d"]):\n'
    "    s = torch.zeros(x.shape[1], dtype=x.dtype)\n    ys = []\n"
    "    for t in range(x.shape[0]):\n        s = torch.tanh(a * s + x[t])\n"
    "        ys.append(s)\n    y = torch.stack(ys)\n    return y\n\n\n"
    "def backward(x, a, y, dy):\n    dx = torch.zeros_like(x)\n    da = torch.zeros_like(a)\n"
    "    ds = torch.zeros_like(a)\n    for t in range(x.shape[0] - 1, -1, -1):\n"
    "        ds = ds + dy[t]\n        dz = ds * (1 - y[t] ** 2)\n        dx[t] = dz\n"
    "        if t > 0:\n            da += dz * y[t - 1]\n        ds = dz * a\n    return dx, da\n"
)


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("ds = ds + dy[t]", "ds = dy[t]", "first wrong in turn 2 of "),  # nothing came before
        ("dx[t] = dz\n", "dx[t] = 2 * dz\n", "first wrong in turn 1 of "),
        ("da += dz * y[t - 1]", "da = dz * y[t - 1]", "first wrong in turn 2 of "),
    ],
)
def test_the_turn_in_which_a_line_is_first_wrong_is_told(right: str, wrong: str, told: str) -> None:
    assert check(TURNS).ok
    report = check(TURNS.replace(right, wrong))
    at = TURNS[: TURNS.index(right)].count("\n") + 1
    assert [line.line for line in report.wrong] == [at], str(report)
    (note,) = [note for note in report.wrong[0].notes if "turn" in note]
    assert note.startswith(told) and "(t = " in note


def test_without_a_mend_the_first_turn_that_writes_a_wrong_element_is_told() -> None:
    odd = TURNS.replace("dx[t] = dz\n", "dx[t] = dz if t > 1 else dz.sin() * a.exp()\n")
    line = next(line for line in check(odd).wrong if line.name == "dx")
    assert line.fix is None or "turn" in str(line.notes)
    assert any("(t = 1)" in note for note in line.notes), line.notes
