"""Custom ops, and gradients that differ from the forward's on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gradninja.check import CheckError, check

OP = """import torch
from torch import Tensor


@torch.library.custom_op("gradninja_test::scaled_sin", mutates_args=())
def scaled_sin(x: Tensor, w: Tensor) -> Tensor:
    return torch.sin(x) * w


def backward(ctx, grad):
    x, w = ctx.saved_tensors
    return grad * w * torch.cos(x), (grad * torch.sin(x)).sum(0)


def setup_context(ctx, inputs, output):
    x, w = inputs
    ctx.save_for_backward(x, w)


scaled_sin.register_autograd(backward, setup_context=setup_context)


def inputs():
    return {"x": torch.linspace(-2.0, 1.5, 12).reshape(4, 3), "w": torch.tensor([0.5, 1.0, 2.0])}
"""


def test_a_custom_op_is_judged_by_file_object_and_name(tmp_path: Path) -> None:
    file = tmp_path / "op.py"
    file.write_text(OP)
    assert check(file).ok
    assert check(f"{file}:scaled_sin").ok
    file.write_text(file.read_text().replace("* torch.cos(x)", "* torch.sin(x)"))
    (row,) = check(file).wrong
    assert (row.line, row.fix) == (
        12,
        "return grad * w * torch.cos(x), (grad * torch.sin(x)).sum(0)",
    )
    scope: dict[str, object] = {}
    exec(compile(file.read_text(), str(file), "exec"), scope)
    values = {"x": torch.randn(4, 3), "w": torch.randn(3)}
    assert not check(scope["scaled_sin"], inputs=values).ok
    assert not check("gradninja_test::scaled_sin", inputs=values).ok
    with pytest.raises(CheckError, match="no custom op"):
        check("gradninja_test::none", inputs=values)


ROUND = """import torch


class Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, g):
        return g


def inputs():
    return {"x": torch.linspace(-2.0, 1.7, 12)}
"""
MEANT = """

def forward(x):
    y = x + (torch.round(x) - x).detach()
    return y
"""


def test_a_straight_through_estimator_is_recognised_and_judged_where_it_is_stated(
    tmp_path: Path,
) -> None:
    file = tmp_path / "round.py"
    file.write_text(ROUND)
    report = check(file)
    assert report.ok, str(report)
    assert any("x + (torch.round(x) - x).detach()" in note for note in report.notes), report.notes
    file.write_text(ROUND.replace("return g", "return 2 * g"))
    (row,) = check(file).wrong
    assert row.fix == "return g"
    file.write_text(ROUND + MEANT)
    report = check(file)
    assert report.ok, str(report)
    file.write_text(ROUND.replace("return g", "return 2 * g") + MEANT)
    assert not check(file).ok
