# ruff: noqa: F841, RET504 - written as people write it
"""Backwards without lines of their own: Functions, pairs on arrays, any callable."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from gradninja.check import CheckError, Report, Verdict, check


def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d e"]):
    y = torch.tanh(x @ w)
    return y


class Right(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        y = torch.tanh(x @ w)
        ctx.save_for_backward(x, w, y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, w, y = ctx.saved_tensors
        inner = dy * (1 - y**2)
        return inner @ w.T, x.T @ inner


class Wrong(Right):
    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, w, y = ctx.saved_tensors
        inner = dy * (1 - y**2)
        return inner @ w.T, 2 * (x.T @ inner)


class Absent(Right):
    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        _, w, y = ctx.saved_tensors
        return (dy * (1 - y**2)) @ w.T, None


class Nothing(Right):
    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return None, None


class Raises(Right):
    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        raise RuntimeError("not written yet")


class Other(Right):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        return Right.forward(ctx, x, w) * 2


class Single(Right):
    """A kernel that computes in float32 only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.dtype = x.dtype
        return Right.forward(ctx, x.float(), w.float()).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return tuple(g.to(ctx.dtype) for g in Right.backward(ctx, dy.float()))


def verdicts(report: Report) -> dict[str, Verdict]:
    return {line.name: line.verdict for line in report.lines}


def test_a_function_that_is_right() -> None:
    report = check(forward, Right)
    assert report.ok, str(report)
    assert set(verdicts(report)) == {"dx", "dw"}


@pytest.mark.parametrize(
    ("function", "name", "verdict"),
    [(Wrong, "dw", "wrong"), (Nothing, "dx", "missing"), (Raises, "dx", "error")],
)
def test_a_function_that_is_wrong(function: Any, name: str, verdict: str) -> None:
    report = check(forward, function)
    assert (report.wrong[0].name, report.wrong[0].verdict) == (name, Verdict(verdict))


def test_none_beside_other_gradients_accuses_nobody_and_is_not_called_right() -> None:
    report = check(forward, Absent)
    assert report.ok, str(report)
    assert verdicts(report)["dw"] == Verdict.MEANT
    assert "whether `w` can do without a gradient" in report.not_looked_at
    assert "dw not judged" in str(report)


def test_none_for_what_asks_for_a_gradient_is_missing() -> None:
    sizes = {"x": (4, 3), "w": (3, 2)}
    asks = {name: torch.randn(size, requires_grad=True) for name, size in sizes.items()}
    report = check(forward, Absent, inputs=asks)
    assert verdicts(report)["dw"] == Verdict.MISSING


class Forgotten(Right):
    """It makes a gradient, and does not hand it back."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, w, y = ctx.saved_tensors
        inner = dy * (1 - y**2)
        weight_update = x.T @ inner
        return inner @ w.T, None


class Named(Right):
    """The same, where the name tells what it is."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, w, y = ctx.saved_tensors
        inner = dy * (1 - y**2)
        grad_w = x.T @ inner
        return inner @ w.T, None


@pytest.mark.parametrize(("function", "local"), [(Named, "grad_w"), (Forgotten, "weight_update")])
def test_a_gradient_that_is_made_and_not_returned_is_missing(function: Any, local: str) -> None:
    (row,) = check(forward, function).wrong
    assert (row.name, row.verdict) == ("dw", Verdict.MISSING)
    assert row.fix == f"return inner @ w.T, {local}"


def test_a_factor_is_told_in_its_line_and_without_lines_as_a_ratio() -> None:
    (line,) = check(forward, Wrong).wrong
    assert (line.kind, line.fix) == ("extra factor", "return inner @ w.T, x.T @ inner")

    def kernel(x: Tensor, w: Tensor, y: Tensor, dy: Tensor) -> Any:
        return (dy * (1 - y**2)) @ w.T, 2 * x.T @ (dy * (1 - y**2))

    (line,) = check(forward, kernel).wrong
    assert line.fix == "return (dy * (1 - y**2)) @ w.T, x.T @ (dy * (1 - y**2))"
    (line,) = check(forward, partial(kernel)).wrong
    assert line.diagnosis is not None
    assert "times 2" in line.diagnosis


def test_a_function_of_something_else_is_not_judged() -> None:
    with pytest.raises(CheckError, match="another function"):
        check(forward, Other)


def test_functions_on_arrays() -> None:
    def fwd(x: Any, w: Any) -> Any:
        y = np.tanh(x @ w)
        return y, (x, w, y)

    def bwd(residuals: Any, dy: Any) -> Any:
        x, w, y = residuals
        inner = dy * (1 - y**2)
        return inner @ w.T, x.T @ inner

    def late(residuals: Any, dy: Any) -> Any:
        x, w, _ = residuals
        return dy @ w.T, x.T @ dy

    assert check(forward, (fwd, bwd)).ok
    report = check(forward, (fwd, late))
    assert {line.name for line in report.wrong} == {"dx", "dw"}
    with pytest.raises(CheckError, match="two values"):
        check(forward, (lambda x, w: x @ w, bwd))
    with pytest.raises(CheckError, match="1 gradients where the forward has 2"):
        check(forward, (fwd, lambda residuals, dy: dy))


class Kernel:
    """A callable without text."""

    def __call__(self, x: Tensor, w: Tensor, y: Tensor, dy: Tensor) -> dict[str, Tensor]:
        inner = dy * (1 - y**2)
        return {"dx": inner @ w.T, "dw": x.T @ inner}


def test_any_callable() -> None:
    assert check(forward, Kernel()).ok

    def returned(x: Tensor, w: Tensor, y: Tensor, dy: Tensor) -> Any:
        return (dy * (1 - y**2)) @ w.T, x.T @ (dy * (1 - y**2))

    assert [line.line for line in check(forward, returned).lines if line.line] != []
    report = check(forward, partial(returned))
    assert report.ok
    assert any("as a whole" in note for note in report.notes)
    report = check(forward, lambda x, w, y, dy: (dy @ w.T, x.T @ (dy * (1 - y**2))))
    assert [line.name for line in report.wrong] == ["dx"]
    with pytest.raises(CheckError, match="`z`"):
        check(forward, lambda z: z)


FUNCTION = """
import torch

class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return FACTOR * x**2 * dy

def inputs():
    return {"x": torch.tensor([0.5, -1.0, 2.0])}
"""


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("factor", [3, 2])
def test_a_function_in_a_file(tmp_path: Path, beside: bool, factor: int) -> None:
    text = FUNCTION.replace("FACTOR", str(factor))
    if beside:
        text += "\ndef forward(x):\n    return x**3\n"
    path = tmp_path / "cube.py"
    path.write_text(text)
    report = check(path)
    assert report.ok == (factor == 3), str(report)
    assert [line.name for line in report.lines] == ["dx"]


def test_a_pair_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pair.py"
    path.write_text(
        "import numpy as np\n"
        "import torch\n"
        "from jaxtyping import Float\n"
        "def forward(x: Float[object, 'n']):\n    y = x.sin()\n    return y\n"
        "def sin_fwd(x):\n    return np.sin(x), x\n"
        "def sin_bwd(x, dy):\n    return (np.cos(x) * dy,)\n"
    )
    report = check(path)
    assert report.ok, str(report)


def test_a_kernel_in_float32_is_held_to_float32() -> None:
    assert check(forward, Single).ok


PAIR = """
import numpy as np
import torch

def inputs():
    x, w = torch.linspace(-1, 1, 12).reshape(4, 3), torch.tensor([0.5, -1.0, 2.0])
    return {"x": x, "rows": torch.tensor([0, 2, 2, 1]), "w": w}

def layer_fwd(x, rows, w):
    y = np.tanh(x[rows]) * w
    return y, (x, rows, w)

def layer_bwd(saved, dy):
    x, rows, w = saved
    dx = np.zeros_like(x)
    np.add.at(dx, rows, dy * (1 - np.tanh(x[rows]) ** 2) * w)
    return dx, (dy * np.tanh(x[rows])).sum(0)
"""


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [("", "", []), (".sum(0)", ".sum(0) * 1.01", ["dw"]), ("np.add.at(dx, rows, ", "(", ["dx"])],
)
def test_a_pair_alone_is_held_to_differences(
    old: str, new: str, wrong: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "pair.py"
    file.write_text(PAIR.replace(old, new, 1) if old else PAIR)
    report = check(file)
    assert [line.name for line in report.wrong] == wrong
    assert "by central differences" in str(report)
    scope: dict[str, Any] = {}
    exec(file.read_text(), scope)
    live = check((scope["layer_fwd"], scope["layer_bwd"]), inputs=scope["inputs"]())
    assert [line.name for line in live.wrong] == wrong


def test_a_pair_whose_forward_keeps_nothing_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pair.py"
    file.write_text(PAIR.replace("return y, (x, rows, w)", "return y"))
    with pytest.raises(CheckError, match="`layer_fwd` does not return two values"):
        check(file)
