"""A `d<name>` stands for a place on the way back: what comes out right has no red line."""

from __future__ import annotations

import pytest
from published_backwards import HEADER, PLANTED, PUBLISHED

from gradninja.check import Verdict, check
from gradninja.check.diagnosis import apply
from mutation_trial import recorded


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_right_backward_has_no_red_line(name: str) -> None:
    report = check(HEADER + PUBLISHED[name])
    assert [(row.name, row.line, row.diagnosis) for row in report.wrong] == []


@pytest.mark.parametrize("name", PLANTED)
def test_a_mistake_in_one_is_named_on_its_line_and_mended(name: str) -> None:
    old, new = PLANTED[name]
    right = HEADER + PUBLISHED[name]
    text = right.replace(old, new, 1)
    with recorded() as diagnoses:
        report = check(text)
    assert [row.line for row in report.wrong] == [right[: right.index(old)].count("\n") + 1]
    assert check(apply(next(iter(diagnoses.values())).patches, text)).ok
    assert "_from_line_" not in str(report)


TWO = HEADER + (
    'def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d d"]):\n'
    "    h = torch.tanh(x @ w)\n    y = h * 3\n    return y\n\n\n"
    "def backward(x, w, h, dy):\n    dh = dy * 3\n{}    dx = dh @ w.T\n    dw = x.T @ dh\n"
)


def test_a_name_used_for_more_is_told_and_accused_of_nothing() -> None:
    report = check(TWO.format("    dh *= 1 - h**2\n"))
    assert report.ok
    assert report.notes == ("after line 16 the name `dh` is used for another value",)
    assert {row.name: row.verdict.accuses for row in report.lines} == {
        "dh": False,
        "dx": False,
        "dw": False,
    }


def test_what_lacks_only_axes_of_size_1_in_front_is_no_mistake_where_all_comes_out_right() -> None:
    text = HEADER + (
        'def forward(x: Float[Tensor, "n d"]):\n'
        "    m = x.mean(0, keepdim=True)\n    y = (x - m) ** 2\n    return y\n\n\n"
        "def backward(x, m, dy):\n    dm = -(2 * (x - m) * dy).sum(0)\n"
        "    dx = 2 * (x - m) * dy + dm / x.shape[0]\n    return dx\n"
    )
    report = check(text)
    assert report.ok
    assert any("has not the shape of `m`" in note for note in report.notes), report.notes
    spoilt = check(text.replace("+ dm / x.shape[0]", "+ 2 * dm / x.shape[0]"))
    assert {row.name for row in spoilt.wrong} >= {"dx"}


def test_a_right_value_in_another_wrong_shape_stays_a_mistake() -> None:
    text = HEADER + (
        'def forward(x: Float[Tensor, "n d"]):\n'
        "    m = x.mean(1, keepdim=True)\n    y = (x - m) ** 2\n    return y\n\n\n"
        "def backward(x, m, dy):\n    dm = -(2 * (x - m) * dy).sum(1)\n"
        "    dx = 2 * (x - m) * dy + dm.view(-1, 1) / x.shape[1]\n    return dx\n"
    )
    (row,) = check(text).wrong
    assert (row.name, row.verdict, row.kind) == ("dm", Verdict.WRONG_SHAPE, "lost keepdim")


def test_an_addition_to_what_is_right_is_no_other_use() -> None:
    report = check(TWO.format("    dh *= 1 - h**2\n    dh += x\n"))
    assert [row.line for row in report.wrong] == [18]


def test_what_a_notebook_has_around_a_backward_is_no_mistake() -> None:
    forward, _, body = TWO.format("    dh *= 1 - h**2\n").partition("def backward(x, w, h, dy):\n")
    lines = body.replace("    ", "")
    around = "for p in [x, w]:\n    p.grad = None\nfor t in [h, y]:\n    t.retain_grad()\n"
    cell = f"{around}y.backward(dy)\n{lines}cmp('dx', dx, x)\ncmp('dw', dw, w)\n"
    assert check(forward + cell).ok
    assert check(forward, cell).ok
    (row,) = check(forward, cell.replace("h**2", "h")).wrong  # told once, where it stands
    assert row.source == "dh *= 1 - h"


DOWN = """
import torch
from jaxtyping import Float
def forward(x: Float[torch.Tensor, "n d"], W: Float[torch.Tensor, "d k"]):
    h = torch.tanh(x @ W)
    out = h * 2
    return out


def backward(x, W, h, dout):
    dout = 2 * dout
    dout = dout * (1 - h**2)
    dW = x.T @ dout
    dout = dout @ W.T
    return dout, dW
"""


def test_one_name_all_the_way_down_is_returned_by_its_place() -> None:
    report = check(DOWN)
    assert report.ok, str(report)
    assert {line.name for line in report.lines} == {"dx", "dW"}
    assert "is given no gradient" not in str(report)
    assert check(DOWN.replace("return dout, dW", "return (dout, dW)")).ok


def test_what_is_returned_in_its_place_is_judged() -> None:
    for wrong in (
        DOWN.replace("    dout = dout @ W.T\n", "    dout = dout @ W.T * 2\n"),
        DOWN.replace("return dout, dW", "return dW, dout"),
    ):
        report = check(wrong)
        assert [line.name for line in report.wrong] == ["return"]
