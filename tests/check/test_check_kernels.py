"""Functions around a kernel, which no lines stand for; complex ones."""

from __future__ import annotations

from pathlib import Path

import torch
from typer.testing import CliRunner

from gradninja.check import check
from gradninja.cli import app

KERNEL = """import numpy as np
import torch


def launch(x, w, out, rstd):
    a = x.detach().numpy()
    r = 1 / np.sqrt((a**2).mean(-1, keepdims=True) + 1e-6)
    out.copy_(torch.from_numpy(a * r) * w.detach())
    rstd.copy_(torch.from_numpy(r))


def reference(inp, weight):
    rstd = torch.rsqrt((inp * inp).mean(-1, keepdim=True) + 1e-6)
    return inp * rstd * weight


class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        y = torch.empty_like(x)
        rstd = torch.empty(x.shape[0], 1, dtype=x.dtype)
        launch(x, w, y, rstd)
        ctx.save_for_backward(x, w, rstd)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, w, rstd = ctx.saved_tensors
        xhat = x * rstd
        wdy = w * dy
        dx = (wdy - xhat * (xhat * wdy).mean(-1, keepdim=True)) * rstd
        dw = (dy * xhat).sum(0)
        return dx, dw


def inputs():
    g = torch.Generator().manual_seed(0)
    return {"x": torch.randn(4, 3, generator=g), "w": torch.randn(3, generator=g)}
"""


def test_a_named_reference_carries_the_lines_of_a_kernel(tmp_path: Path) -> None:
    file = tmp_path / "kernel.py"
    file.write_text(KERNEL)
    report = check(f"{file}:reference", "RMSNorm")
    assert report.ok, str(report)
    assert [(row.name, row.line) for row in report.lines] == [("dx", 31), ("dw", 32)]
    assert any("the lines of `reference` stand for its forward" in note for note in report.notes)
    file.write_text(KERNEL.replace("(dy * xhat).sum(0)", "(dy * xhat).mean(0)"))
    (row,) = check(f"{file}:reference", "RMSNorm").wrong
    assert (row.line, row.fix) == (32, "dw = (dy * xhat).sum(0)")
    (row,) = check(file).wrong  # as a whole: the mend is found by playing it
    assert (row.name, row.line, row.fix) == ("dw", 32, "dw = (dy * xhat).sum(0)")


def test_a_reference_that_gives_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "kernel.py"
    file.write_text(KERNEL.replace("return inp * rstd * weight", "return inp * rstd + weight"))
    given = [f"{file}:RMSNorm", "--forward", f"{file}:reference"]
    found = CliRunner().invoke(app, ["check", *given])
    assert found.exit_code == 2
    assert "the gradients are of another function" in found.output


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(z)
        return z * z

    @staticmethod
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        (z,) = ctx.saved_tensors
        return g * 2 * z.conj()


class Unconjugated(Square):
    @staticmethod
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        (z,) = ctx.saved_tensors
        return g * 2 * z


class Flipped(Square):
    @staticmethod
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        (z,) = ctx.saved_tensors
        return (g * 2 * z.conj()).conj()


def test_complex_ones_are_judged_and_a_conjugate_is_named() -> None:
    generator = torch.Generator().manual_seed(0)
    values = {"z": torch.randn(3, 2, generator=generator, dtype=torch.complex64)}
    assert check(Square, inputs=values).ok
    for function in (Unconjugated, Flipped):
        (row,) = check(function, inputs=values).wrong
        assert (row.kind, row.shape) == ("missing conjugate", (3, 2))
        assert "conj()" in (row.fix or ""), row.fix
        assert "dL/da + i dL/db" in (row.diagnosis or "")
