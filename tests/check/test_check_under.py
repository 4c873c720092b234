"""`--under compile,vmap,autocast`: what a Function is called under besides, where that is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradninja.check import CheckError, check
from gradninja.check.given import execution

PRODUCT = """
import torch

class Product(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, w):
        return x @ w

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_out):
        x, w = ctx.saved_tensors
        return grad_out @ w.T, x.T @ grad_out

def inputs():
    return {"x": torch.randn(4, 3), "w": torch.randn(3, 5)}
"""
CAST = PRODUCT.replace(
    "return grad_out @ w.T, x.T @ grad_out",
    "x, w = x.to(grad_out.dtype), w.to(grad_out.dtype)\n"
    "        return grad_out @ w.T, x.T @ grad_out",
)
OLD = """
import torch

class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad_out):
        (x,) = ctx.saved_tensors
        return 2 * x * grad_out

def inputs():
    return {"x": torch.randn(4, 3)}
"""
ASKS = OLD.replace(
    "        return 2 * x",
    "        if grad_out.abs().max().item() > 1e9:\n"
    "            grad_out = grad_out.clamp(-1e9, 1e9)\n        return 2 * x",
)


@pytest.mark.parametrize(
    ("text", "under", "said"),
    [
        (PRODUCT, "compile", None),
        (ASKS, "compile", "data-dependent"),
        (PRODUCT, "vmap", None),
        (OLD, "vmap", "it must override the setup_context"),
        (CAST, "autocast", None),
        (PRODUCT, "autocast", "same dtype"),
    ],
)
def test_it_is_right_there_as_well_or_told(
    text: str, under: str, said: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "kernel.py"
    file.write_text(text)
    assert check(file).ok  # nobody asked
    report = check(file, under=[under])
    if said is None:
        assert report.ok
        assert any(under in note for note in report.notes)
        return
    (row,) = report.wrong
    assert row.condition is not None and under in row.condition
    assert said in row.diagnosis and row.reproducer


def test_the_calls_of_what_traces_are_not_the_persons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tracing calls far more functions than the Function does."""
    file = tmp_path / "kernel.py"
    file.write_text(PRODUCT)
    monkeypatch.setattr(execution, "MOST_CALLS", 2_000)
    report = check(file, under=["compile"])
    assert report.ok, str(report)
    assert any("compile" in note for note in report.notes)


def test_a_gradient_that_mixes_calls_is_wrong_under_vmap(tmp_path: Path) -> None:
    """A rule of its own that takes the axis of the calls for one of the batch."""
    file = tmp_path / "kernel.py"
    text = OLD.replace("def forward(ctx, x):\n        ctx.save_for_backward(x)", "def forward(x):")
    rules = """
    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def vmap(info, in_dims, x):
        return Square.apply(x.mean(0, keepdim=True).expand_as(x)), 0
"""
    file.write_text(text.replace("\ndef inputs", f"{rules}\ndef inputs"))
    (row,) = check(file, under=["vmap"]).wrong
    assert "vmap" in str(row.condition) and "off by" in row.diagnosis


@pytest.mark.parametrize(
    ("file", "under", "said"),
    [
        ("kernel", "jit", "nothing is called under `jit`"),
        ("lines", "vmap", "only a torch.autograd"),
    ],
)
def test_what_cannot_be_asked_is_told(file: str, under: str, said: str, tmp_path: Path) -> None:
    texts = {
        "kernel": OLD,
        "lines": "def forward(x: Float[Tensor, 'n']):\n    return x * 2\n\n"
        "def backward(x, dout):\n    dx = 2 * dout\n    return dx\n",
    }
    path = tmp_path / "asked.py"
    path.write_text(texts[file])
    with pytest.raises(CheckError, match=said):
        check(path, under=[under])
