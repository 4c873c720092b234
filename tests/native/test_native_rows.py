"""Every row that lowers an operation, against PyTorch: the rule book's own calls."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gradninja.errors import GradninjaError
from gradninja.native import NativeError
from gradninja.native.ops.table import row_of
from native_plain import lowered_forward, run
from native_random import judge, with_loss
from rule_inputs import Trial, book_rows, trials_of

# Rows some of whose calls are refused; those of all other rows are compiled.
PARTLY = {
    "index", "index_add", "repeat_interleave",
    "avg_pool1d", "avg_pool2d", "max_pool1d", "max_pool2d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d",
}  # fmt: skip
MOST = 4  # of a row's calls whose gradients are held to autograd's
LOWERED = [row for row in book_rows() if row_of(row) is not None]


def _is_empty(trial: Trial) -> bool:
    """Whether an input has no elements: there is nothing to compile for it."""
    return any(value.numel() == 0 for value in trial.draw(1, torch.float64).values())


def _right(expected: object, found: dict[str, np.ndarray], tolerance: float) -> bool:
    several = expected if isinstance(expected, tuple | list) else (expected,)
    assert len(several) == len(found)
    for true, array in zip(several, found.values(), strict=True):
        assert isinstance(true, Tensor)
        given = torch.from_numpy(array)
        assert given.dtype == true.dtype
        assert given.shape == true.shape
        if not torch.allclose(given, true, rtol=tolerance, atol=tolerance, equal_nan=True):
            return False
    return True


def _judge(trial: Trial, dtype: torch.dtype, tolerance: float) -> bool | None:
    """Whether a call comes out right; None where it is refused."""
    inputs = trial.draw(1, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = eval(trial.expression, {"torch": torch, "F": F, "math": math, **inputs})
        try:
            made = lowered_forward(trial.source, inputs)
            found = run(made, {name: value.numpy() for name, value in inputs.items()})
        except (GradninjaError, IndexError):
            return None
    return _right(expected, found, tolerance)


@pytest.mark.parametrize("row", LOWERED, ids=lambda row: row.name)
def test_a_row_gives_what_pytorch_gives(row) -> None:
    filled = [trial for trial in trials_of(row) if not _is_empty(trial)]
    verdicts = [_judge(trial, torch.float64, 1e-10) for trial in filled]
    assert False not in verdicts
    assert True in verdicts
    assert None not in verdicts or row.name in PARTLY


EMPTY = [trial for row in LOWERED for trial in trials_of(row) if _is_empty(trial)]


@pytest.mark.parametrize("trial", EMPTY, ids=lambda trial: trial.expression)
def test_what_is_empty_is_refused_by_name(trial: Trial) -> None:
    with pytest.raises(NativeError, match="is empty"):
        lowered_forward(trial.source, trial.draw(1, torch.float64))


def test_rows_in_float32() -> None:
    for row in LOWERED[::3]:
        for trial in trials_of(row)[:2]:
            assert _judge(trial, torch.float32, 2e-5) is not False, trial.expression


# Backward lines that are not compiled: PyTorch's own kernels, and places of what was sorted out.
NO_GRADIENT = {"cdist", "cummax", "cummin", "hardsigmoid", "lgamma"}


@pytest.mark.parametrize("row", LOWERED, ids=lambda row: row.name)
def test_what_is_derived_of_a_row_gives_autograds_gradients(row) -> None:
    verdicts = [_gradients(row, trial) for trial in trials_of(row)[:MOST]]
    refused = [verdict for verdict in verdicts if verdict != "right"]
    assert not any(verdict.startswith("wrong") for verdict in verdicts), verdicts
    assert "right" in verdicts or row.name in NO_GRADIENT
    assert not refused or row.name in PARTLY | NO_GRADIENT


@pytest.mark.parametrize(
    "row", [row for row in book_rows() if row not in LOWERED], ids=lambda row: row.name
)
def test_what_is_not_compiled_is_refused_by_name(row) -> None:
    trial = trials_of(row)[0]
    said = _gradients(row, trial)
    assert said == "right" or "compiled" in said, said


def _gradients(row, trial: Trial) -> str:
    """The word "right" or "wrong", or why a call is refused."""
    inputs = trial.draw(1, torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = eval(trial.expression, {"torch": torch, "F": F, "math": math, **inputs})
        wrt = [name for name, value in inputs.items() if value.is_floating_point()]
        text, given = with_loss(f"import math\n{trial.source}", "inner", inputs, out)
        try:
            return judge(text, given, wrt, fused=False)
        except GradninjaError as error:
            return error.message
        except IndexError:
            return "refused"


EXTRAS = [
    "torch.zeros(3, 4) + a",
    "torch.full((3, 4), 2.5) * a",
    "torch.ones_like(a) - a.new_zeros(4)",
    "torch.arange(1, 9, 2) * a",
    "torch.eye(3, 4) + a",
    "F.one_hot(i, 4) * a",
    "F.one_hot(i, 4).to(a.dtype) @ a.T",
    "a.detach() * (a > 0) + (a.abs() <= 0.5)",
    "torch.where((a > 0) & ~(a > 1) | (a < -1), a, a.new_full((1,), -3.0))",
    "torch.sign(a) + a.floor() - torch.ceil(a) + a.round() + torch.trunc(a)",
    "a.argmax(1)",
    "a.argmin(dim=0, keepdim=True)",
    "(a == a.max(1, keepdim=True).values).any(0)",
    "(a > -9).all()",
    "torch.isnan(a / (a - a)) | torch.isinf(a) | torch.isfinite(a)",
    "a.index_put((i, i), a[:, 0], accumulate=True)",
    "(a * 10).long().double() if False else i.long() * 2 + 1",
    "a ** -1.5 if False else (a.abs() + 1) ** -1.5 + (a.abs() + 1) ** -2 + a ** 3",
    "a[[0, -1]]",
    "a[i][:, [2, 0]]",
    "a[None, ..., ::2].expand(2, 3, 2)",
    "a[range(3), i]",
    "torch.maximum(i, 2 - i) * 5 - torch.minimum(-i, i.sign())",
]


@pytest.mark.parametrize("expression", EXTRAS)
def test_what_has_no_row_in_the_rule_book(expression: str) -> None:
    trial = Trial.parse("extra", f"{expression} where a: 3 4; i: 3 < 3")
    assert _judge(trial, torch.float64, 1e-12)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("a[[True, False, True]].sum()", "not compiled"),
        ("torch.fft.rfft(a).abs().sum()", "`torch.fft.rfft` is not compiled"),
        ("a.half().sum()", "not compiled"),
        ("torch.rand_like(a) * a", "`torch.rand_like` is not compiled"),
        ("a.repeat_interleave(i, 0).sum()", "a count for each element is not compiled"),
        ("a[:0].sum()", "empty"),
        ("torch.floor(i).double().sum()", "this is compiled for floats alone"),
        ("torch.maximum(a > 0, a > 1).double().sum()", "this is compiled for floats alone"),
    ],
)
def test_what_is_not_compiled_is_named_with_its_place(expression: str, said: str) -> None:
    trial = Trial.parse("refused", f"{expression} where a: 3 4; i: 3 < 3")
    with pytest.raises(NativeError, match=said) as caught:
        lowered_forward(trial.source, trial.draw(1))
    assert caught.value.spot is not None
    assert caught.value.spot.line == 2


def test_a_value_out_of_a_tensor_is_not_compiled_in() -> None:
    trial = Trial.parse("value", "a * 2 if torch.equal(a, a) else a where a: 3")
    with pytest.raises(GradninjaError, match="asks for a value"):
        lowered_forward(trial.source, trial.draw(1))


@pytest.mark.parametrize("index", [[0, 3, 1], [0, -1, 1]])
def test_an_index_outside_is_an_error_and_not_a_read_outside(index: list[int]) -> None:
    text = "def forward(a, i):\n    return a[i] * 2\n"
    good = {"a": torch.randn(3, 4), "i": torch.tensor([0, 1, 2])}
    made = lowered_forward(text, good)
    with pytest.raises(IndexError, match=r"`a\[i\]` is outside of 0 to 2"):
        run(made, {"a": good["a"].numpy(), "i": np.array(index)})


def test_each_of_several_indices_is_held_to_its_bounds() -> None:
    text = "def forward(a, b, i, j):\n    return a[i] + a[j] + b[i]\n"
    good = {"a": torch.randn(3), "b": torch.randn(2), "i": torch.tensor([0, 1])}
    good["j"] = torch.tensor([2, 1])
    made = lowered_forward(text, good)
    arrays = {name: value.numpy() for name, value in good.items()}
    np.testing.assert_allclose(*run(made, arrays).values(), eval("a[i] + a[j] + b[i]", {}, good))
    for name, wrong in (("i", [0, 2]), ("j", [0, 3]), ("i", [0, 3])):
        with pytest.raises(IndexError, match="is outside of"):
            run(made, {**arrays, name: np.array(wrong)})


def test_a_place_that_is_worked_out_is_held_to_its_bounds_before_it_is_used() -> None:
    text = "def forward(a, i):\n    j = i * 2\n    b = a * 3\n    return b[j] + a[j]\n"
    good = {"a": torch.randn(5), "i": torch.tensor([0, 1, 2])}
    made = lowered_forward(text, good)
    found = run(made, {"a": good["a"].numpy(), "i": np.array([2, 1, 0])})
    np.testing.assert_allclose(*found.values(), (good["a"] * 4)[[4, 2, 0]], rtol=1e-6)
    with pytest.raises(IndexError, match="is outside of"):
        run(made, {"a": good["a"].numpy(), "i": np.array([0, 3, 0])})
