"""Functions that are right but for one condition: it is named, with lines that show it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gradninja.check import CheckError, Verdict, check

FUNCTION = """import torch


class {name}(torch.autograd.Function):
    @staticmethod
    def forward(ctx, {takes}):
        {lines}

    @staticmethod
    def backward(ctx, {gets}):
        {back}

"""
INPUTS = """
def inputs():
    return {inputs}
"""
X = '{"x": torch.linspace(-2.0, 1.5, 12).reshape(4, 3)}'
XW = '{"x": torch.linspace(-2.0, 1.5, 12).reshape(4, 3), "w": torch.linspace(0.5, 2.0, 3)}'
WRONG = {
    "an expanded cotangent (stride 0)": (
        "x", "ctx.save_for_backward(x); return x * x", "g",
        "return 2 * ctx.saved_tensors[0] * g * (1 + (0 in g.stride()))", X,
    ),
    "no gradient for output 0": (
        "x", "ctx.set_materialize_grads(False); ctx.save_for_backward(x); return x.sin(), x.cos()",
        "a, b", "x = ctx.saved_tensors[0]; return x.cos() * a - x.sin() * b", X,
    ),
    "only `w` asks for a gradient": (
        "x, w", "ctx.save_for_backward(x, w); return x * w", "g",
        "x, w = ctx.saved_tensors; k = g * (1.0 if ctx.needs_input_grad[0] else 2.0); "
        "return g * w, (k * x).sum(0)", XW,
    ),
    "`i` is the same id everywhere": (
        "x, i", "ctx.save_for_backward(i); ctx.n = x.shape; return x[i]", "g",
        "d = g.new_zeros(ctx.n); d[ctx.saved_tensors[0]] = g; return d, None",
        X.replace("}", ', "i": torch.tensor([2, 0])}'),
    ),
    "huge inputs (saturated)": (
        "x", "ctx.save_for_backward(x); return torch.nn.functional.softplus(x)", "g",
        "e = ctx.saved_tensors[0].exp(); return g * e / (1 + e)", X,
    ),
    "a batch of size 1": (
        "x", "ctx.save_for_backward(x); return x.pow(2).mean(0)", "g",
        "return g * ctx.saved_tensors[0] / 2", X,
    ),
    "inputs in bfloat16": (
        "x", "ctx.save_for_backward(x); return x.sin()", "g",
        "x = ctx.saved_tensors[0]; return g * x.cos() * (1 + (x.dtype == torch.bfloat16))", X,
    ),
}  # fmt: skip


def written(name: str, form: tuple[str, str, str, str, str]) -> str:
    takes, lines, gets, back, _ = form
    return FUNCTION.format(name=name, takes=takes, lines=lines, gets=gets, back=back)


@pytest.mark.parametrize("condition", WRONG)
def test_the_condition_is_named(tmp_path: Path, condition: str) -> None:
    file = tmp_path / "given.py"
    file.write_text(written("Given", WRONG[condition]) + INPUTS.format(inputs=WRONG[condition][-1]))
    report = check(file)
    (row,) = report.wrong
    assert (row.condition or "").startswith(condition), str(report)
    assert row.reproducer is not None
    assert "Given.apply(" in row.reproducer
    assert row.line is not None


LINEAR = """import torch


class Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias=None, reduction="mean"):
        y = x @ weight.t()
        if bias is not None:
            y = y + bias
        if reduction == "mean":
            y = y / 2
            ctx.k = 2
        else:
            ctx.k = 1
        ctx.save_for_backward(x, weight, bias)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, weight, bias = ctx.saved_tensors
        db = None
        dy = dy / ctx.k
        dx = dy @ weight
        if bias is not None:
            db = dy.sum(0)
        else:
            dx = dx * 1
        return dx, dy.t() @ x, db, None
"""


def test_what_may_be_left_out_is_judged_with_a_tensor_and_without(tmp_path: Path) -> None:
    """And so is a word that the forward compares with, and what branches keep."""
    file = tmp_path / "linear.py"
    file.write_text(LINEAR)
    report = check(file)
    assert report.ok, str(report)
    rows = [(row.name, row.line) for row in report.lines]
    assert rows == [("dx", 23), ("dbias", 25), ("dweight", 28)]
    assert any("bias (5,)" in note for note in report.notes)  # one for each row of the weight
    values = {"x": torch.randn(4, 6), "weight": torch.randn(5, 6), "bias": None}
    scope: dict[str, object] = {}
    exec(compile(LINEAR, str(file), "exec"), scope)
    report = check(scope["Linear"], inputs={**values, "reduction": "sum"})
    assert report.ok, str(report)
    assert "`bias` other than None" in report.not_looked_at
    assert any("`reduction` is 'mean'" in note for note in report.notes)
    file.write_text(LINEAR.replace("dy.sum(0)", "dy.mean(0)"))
    (row,) = check(file).wrong
    assert (row.name, row.line, row.fix) == ("dbias", 25, "db = dy.sum(0)")
    file.write_text(LINEAR.replace("dx * 1", "dx * 2"))
    (row,) = check(file).wrong
    assert (row.name, row.condition, row.line) == ("dx", "`bias` is None", 27)


def test_what_writes_into_its_input_is_judged_under_conditions(tmp_path: Path) -> None:
    """It cannot be given leaves, and is given copies."""
    lines = "x.clamp_(min=0); ctx.mark_dirty(x); ctx.save_for_backward(x); return x"
    back = "return g * (ctx.saved_tensors[0] > 0)"
    file = tmp_path / "given.py"
    file.write_text(written("InPlace", ("x", lines, "g", back, X)))
    report = check(file)
    assert report.ok and not report.not_looked_at, str(report)
    assert any("a transposed cotangent" in note for note in report.notes)
    file.write_text(written("InPlace", ("x", lines, "g", f"{back} * (1 + (0 in g.stride()))", X)))
    assert "an expanded cotangent" in str(check(file).wrong[0].condition)


RIGHT = ("x, w", "ctx.save_for_backward(x, w); return x @ w", "g",
         "x, w = ctx.saved_tensors; return g @ w.T, x.T @ g", "")  # fmt: skip


def test_all_functions_of_a_file_are_judged_on_guesses(tmp_path: Path) -> None:
    file = tmp_path / "given.py"
    wrong = (*RIGHT[:3], "x, w = ctx.saved_tensors; return g @ w.T, (g.T @ x).T * 2", "")
    file.write_text(written("One", RIGHT) + written("Two", wrong))
    report = check(file)
    assert [(row.name, row.ok) for row in report.lines] == [
        ("One.dx", True), ("One.dw", True), ("Two.dx", True), ("Two.dw", False),
    ]  # fmt: skip
    assert any("guessed: x (4, 6), w (6, 5)" in note for note in report.notes), str(report)
    assert check(f"{file}:One").ok


def test_what_is_not_looked_at_is_listed(tmp_path: Path) -> None:
    form = ("x", "ctx.x = x; return torch.tensor(x.detach().numpy() * 2)", "g", "return g * 2", X)
    file = tmp_path / "given.py"
    file.write_text(written("Kernel", form) + INPUTS.format(inputs=X))
    report = check(file)
    assert report.ok
    assert "the lines of the backward" in report.not_looked_at
    assert any("not judged line by line" in note for note in report.notes)


def test_values_are_asked_for_where_no_guess_runs() -> None:
    class Odd(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):  # type: ignore[no-untyped-def]
            return x.reshape(7, 11)

        @staticmethod
        def backward(ctx, g):  # type: ignore[no-untyped-def]
            return g

    with pytest.raises(CheckError, match="no values to call"):
        check(Odd)


ROOT = FUNCTION.format(
    name="SignedRoot",
    takes="x",
    lines="y = x.sign() * torch.sqrt(x.abs() + 1e-5); ctx.save_for_backward(y); return y",
    gets="g",
    back="return g / (2 * ctx.saved_tensors[0].abs())",
)


def test_a_mend_under_a_condition_leaves_what_is_right(tmp_path: Path) -> None:
    file = tmp_path / "root.py"
    file.write_text(ROOT + INPUTS.format(inputs=X))
    report = check(file)
    (row,) = report.wrong
    assert row.condition == "inputs at zero", str(report)  # and no straight-through estimator
    if row.fix is not None:
        file.write_text(
            file.read_text().replace("return g / (2 * ctx.saved_tensors[0].abs())", row.fix)
        )
        assert check(file).ok, row.fix


COSINE = FUNCTION.format(
    name="Cosine",
    takes="a, b",
    lines="ctx.save_for_backward(a, b); return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))",
    gets="g",
    back="return ctx.saved_tensors[1] * g[:, None], ctx.saved_tensors[0] * g[:, None]",
)


def test_guesses_of_one_shape_are_not_equal(tmp_path: Path) -> None:
    file = tmp_path / "cosine.py"
    file.write_text(COSINE)
    assert {row.name for row in check(file).wrong} == {"da", "db"}  # of equal ones: zero


LORA = FUNCTION.format(
    name="LoRA",
    takes="x, weight, bias, lora_a, lora_b, scaling",
    lines="ctx.save_for_backward(x, weight, lora_a, lora_b); ctx.k = scaling; "
    "return torch.nn.functional.linear(x, weight, bias) + scaling * (x @ lora_a.T) @ lora_b.T",
    gets="g",
    back="x, w, a, b = ctx.saved_tensors; h = ctx.k * g; "
    "return g @ w + h @ b @ a, None, g.sum(0), (h @ b).T @ x, h.T @ (x @ a.T), None",
)


def test_values_are_guessed_one_beside_the_other(tmp_path: Path) -> None:
    file = tmp_path / "lora.py"
    file.write_text(LORA)
    report = check(file)
    assert report.ok, str(report)
    right = {row.name for row in report.lines if row.verdict != Verdict.MEANT}
    assert right == {"dx", "dbias", "dlora_a", "dlora_b"}  # the weight is frozen
