"""`gradninja fuse`, as a person uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from calling import call

FORWARD = """\
import torch
from jaxtyping import Float, Int
from torch import Tensor


def forward(logits: Float[Tensor, "n c"], Yb: Int[Tensor, "n"]):
    n = logits.shape[0]
    logit_maxes = logits.max(1, keepdim=True).values
    norm_logits = logits - logit_maxes
    counts = norm_logits.exp()
    counts_sum = counts.sum(1, keepdim=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv
    logprobs = probs.log()
    loss = -logprobs[range(n), Yb].mean()
    return loss


def layer(x: Float[Tensor, "n d"], w: Float[Tensor, "d k"]):
    hpreact = x @ w
    h = torch.tanh(hpreact)
    return h
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "loss.py"
    path.write_text(FORWARD)
    return path


def test_fuse_prints_a_backward_that_runs(file: Path, capsys) -> None:
    assert call("fuse", str(file)) == 0
    printed = capsys.readouterr()
    assert "dlogits = (probs - F.one_hot(Yb, logits.shape[1])) / n" in printed.out
    assert printed.err == ""
    scope: dict = {}
    exec(printed.out, scope)
    logits = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    Yb = torch.tensor([0, 4, 1, 1, 2, 3])
    torch.nn.functional.cross_entropy(logits, Yb).backward()
    values = {"logits": logits, "Yb": Yb, "n": 6, "probs": logits.detach().softmax(1)}
    got = scope["backward"](**values)
    assert torch.allclose(got, logits.grad, rtol=0, atol=1e-15)


def test_fuse_takes_a_name_and_wrt(file: Path, capsys) -> None:
    assert call("fuse", f"{file}:layer", "--wrt", "w") == 0
    text = capsys.readouterr().out
    assert text.rstrip().endswith("return dw") and "dx" not in text


@pytest.mark.parametrize("prefer", ["speed", "memory", "short"])
def test_fuse_takes_what_is_preferred(prefer: str, file: Path, capsys) -> None:
    assert call("fuse", f"{file}:layer", "--prefer", prefer, "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["prefer"] == prefer
    assert row["kept"] == ["h"] and row["not_kept"] == ["hpreact"]


def test_fuse_spares_memory(file: Path, capsys) -> None:
    """No one-hot, and one operation on the whole array; what is held is told."""
    held = {}
    for prefer in ("speed", "memory"):
        assert call("fuse", str(file), "--prefer", prefer, "--json") == 0
        row = json.loads(capsys.readouterr().out)
        held[prefer] = row["cost"]["peak"]
    assert [line["source"] for line in row["lines"]] == [
        "dlogits = probs / n",
        "dlogits[torch.arange(len(Yb)), Yb] -= 1 / n",
    ]
    assert held["memory"] < held["speed"]


def test_fuse_tells_its_steps(file: Path, capsys) -> None:
    assert call("fuse", str(file)) == 0
    plain = capsys.readouterr().out
    assert call("fuse", str(file), "--steps") == 0
    told = capsys.readouterr().out
    assert told.startswith(plain)
    steps = told.removeprefix(plain)
    assert "\ndlogits:\n" in steps
    assert "  - counts[i, j] / counts_sum[i] folds back into probs" in steps


def test_fuse_in_place(file: Path, capsys) -> None:
    """The lecture's three lines."""
    assert call("fuse", str(file), "--in-place") == 0
    text = capsys.readouterr().out
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("dlogits")]
    assert len(lines) == 3 and "probs" in lines[0]
    assert lines[1].startswith("dlogits[range(") and lines[1].endswith("Yb] -= 1")
    assert lines[2] == "dlogits /= n"


def test_fuse_as_function(file: Path, capsys) -> None:
    assert call("fuse", str(file), "--as", "function") == 0
    scope: dict = {}
    exec(capsys.readouterr().out, scope)
    logits = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    Yb = torch.tensor([0, 4, 1, 1, 2, 3])
    assert torch.autograd.gradcheck(lambda x: scope["forward"](x, Yb), [logits])


def test_fuse_as_json(file: Path, capsys) -> None:
    assert call("fuse", str(file), "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert [line["name"] for line in row["lines"]] == ["dlogits"]
    assert row["lines"][0]["axes"] == ["n", "c"]
    step = next(step for step in row["steps"] if "folds back" in step["text"])
    assert step["of"] == "dlogits" and r"\mathrm{probs}_{ij}" in step["latex"]
    errors = row["float32_errors"]
    assert {error["name"] for error in errors} == {"dlogits"}
    assert all(0 <= error["fused"] < 1e-6 for error in errors)
    assert row["dropped"] == [] and row["kept"] == ["n", "probs"]
    assert row["cost"]["calls"] > 0 and row["cost"]["traffic"] > 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def forward(x: Float[Tensor, 'n']):\n    x[0] = 1\n    return x\n", "changes the input"),
        ("def forward(x):\n    return x * 2\n", "the shape of `x` is not known"),
        ("x = 1\n", "has no function"),
    ],
)
def test_what_cannot_be_fused_is_told(text: str, told: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    assert call("fuse", str(path)) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
