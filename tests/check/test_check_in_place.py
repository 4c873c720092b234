"""A forward that writes in place: its name's gradient is that of what the name holds at the end."""

from __future__ import annotations

import pytest
import torch

import gradninja as gn

X = {"x": torch.tensor([[0.5, -2.0, 3.0], [-0.1, 1.5, -1.0]])}
RIGHT = """
def forward(x):
    out = x * x
    {write}
    return out

def backward(x, dout):
    d = dout * {slope}
    dx = 2 * x * d
    return dx
"""
WRITES = {
    "out.mul_(3)": "3",
    "out *= 3": "3",
    "out.t().mul_(3)": "3",
    "out.clamp_(max=1)": "(x * x <= 1)",
    "torch.relu_(out.sub_(1))": "(x * x > 1)",
    "out[x < 0] *= 3": "torch.where(x < 0, 3, 1)",
    "out[out > 1] = 0": "(x * x <= 1)",
    "out.masked_fill_(x < 0, 0)": "(x > 0)",
}


@pytest.mark.parametrize("write", WRITES)
def test_a_right_backward_of_it_is_right_and_a_wrong_one_is_not(write: str) -> None:
    text = RIGHT.format(write=write, slope=WRITES[write])
    assert gn.check(text, inputs=X).ok
    assert not gn.check(text.replace(f"dout * {WRITES[write]}", "dout * 1"), inputs=X).ok


@pytest.mark.parametrize("wrong", ["x > 0] = 0", "x < 0] = 0.5", "x < 1] = 0"])
def test_a_relu_in_place_is_mended_by_what_mends_it(wrong: str) -> None:
    text = """
def forward(x):
    out = x.clone()
    out[out < 0] = 0
    return out

def backward(x, dout):
    dx = dout.clone()
    dx[x < 0] = 0
    return dx
"""
    (row,) = gn.check(text.replace("x < 0] = 0", wrong), inputs=X).wrong
    assert row.place == "in place of line 9" and row.fix is not None
    assert gn.check(text.replace("dx[x < 0] = 0", row.fix), inputs=X).ok, row.fix
