# ruff: noqa: RUF005 - written as people write it
"""Functions judged line by line, as they stand in a file: right, and with a mistake planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from functions_trial import judged, planted, texts
from gradninja.check import check

SHOWN = "linear mul_constant layer_norm cross_entropy leaky_inplace embedding launcher".split()


@pytest.mark.parametrize("name", SHOWN)
def test_a_mistake_is_found_where_it_stands(tmp_path: Path, name: str) -> None:
    mistake = next(planted(name))
    report = judged(mistake.right, tmp_path)
    assert report.ok, str(report)
    assert all(row.line is not None for row in report.lines)
    report = judged(mistake.text, tmp_path)
    (row,) = report.wrong
    assert row.line == mistake.line, str(report)
    assert row.fix is not None


def test_every_file_has_three_mistakes() -> None:
    assert {name: len(list(planted(name))) for name in texts()} == dict.fromkeys(texts(), 3)


class Scaled(torch.autograd.Function):
    """Names crossed, a branch that is never taken, a parameter bound anew, a helper's names."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, mode: str = "mean") -> Tensor:
        a = a * 2
        ctx.save_for_backward(a, b)
        ctx.mode, ctx.n = mode, a.shape[0]
        if mode == "mean":
            return (a * b).mean(0)
        return (a * b).sum(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        b, a = ctx.saved_tensors
        if ctx.mode == "sum":
            raise NotImplementedError
        grad = grads[0]
        grad = grad.contiguous() / ctx.n
        ga = 2 * grad * a
        gb = grad * b
        return (ga, gb) + (None,)


class Unscaled(Scaled):
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        b, a = ctx.saved_tensors
        grad = grads[0]
        return 2 * grad * a / ctx.n, grad * b, None


VALUES = {"a": torch.randn(4, 3), "b": torch.randn(4, 3)}


def test_names_are_the_persons_own() -> None:
    report = check(Scaled, inputs=VALUES)
    assert report.ok, str(report)
    assert [row.source for row in report.lines] == ["ga = 2 * grad * a", "gb = grad * b"]
    (row,) = check(Unscaled, inputs=VALUES).wrong
    assert (row.name, row.kind) == ("db", "missing 1/n")
    assert row.fix == "return 2 * grad * a / ctx.n, grad * b / ctx.n, None"
