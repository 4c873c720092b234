"""How a backward is walked: what is put right, what is held apart, how fine the judge is."""

from __future__ import annotations

import ast
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_check import IMPORTS, PRODUCT

from gradninja.check import Report, Verdict, check
from gradninja.check.given.draws import draws
from gradninja.check.given.plan import plan, written
from gradninja.check.reference.tolerance import ROUNDOFF, tolerance
from gradninja.lines.given.source import parse

REST = "dw = (dz * x).sum(0)\ndb = dz.sum(0, keepdim=True)\n"


def accused(report: Report) -> list[tuple[str, int | None]]:
    return [(line.name, line.line) for line in report.wrong]


@pytest.mark.parametrize("factor", ["1.00000000001", "(1 + 1e-11)", "(1 - 1e-10)"])
def test_a_tiny_mistake_is_a_mistake(factor: str) -> None:
    report = check(PRODUCT, f"dx = dz * w * {factor}\n" + REST)
    assert accused(report) == [("dx", 1)], str(report)


@pytest.mark.parametrize(("factor", "right"), [("1", True), ("(1 + 1e-6)", False)])
def test_casts_to_float32_do_not_blunt_the_judge(factor: str, right: bool) -> None:
    text = PRODUCT.replace("y = x * w", "y = x.float() * w.to(torch.float32)")
    report = check(text, f"dx = (dz.float() * w.to(torch.float32)) * {factor}\n" + REST)
    assert report.ok == right, str(report)


def test_rounding_of_a_sum_is_allowed_where_none_was_seen() -> None:
    truth: Any = SimpleNamespace(scale=3.0, terms=1000)
    found = tolerance(truth, torch.tensor([2.0, -1.0], dtype=torch.float64), 0.0)
    assert found.absolute == pytest.approx(1000 * ROUNDOFF * 2.0, rel=1e-9, abs=0)
    assert found.scale == 2.0


def test_an_overflow_in_float32_does_not_open_the_judge() -> None:
    truth: Any = SimpleNamespace(scale=1.0, terms=1)
    found = tolerance(truth, torch.ones(1, dtype=torch.float64), float("inf"))
    assert found.absolute < 1e-7


def test_a_spoilt_value_is_put_right_for_the_lines_below() -> None:
    text = (
        IMPORTS
        + """
def forward(s: Float[Tensor, "n d"], w: Float[Tensor, "n d"]):
    probs = torch.softmax(s, 1)
    y = probs * w
    return y
"""
    )
    lines = "t = probs\nt *= 2\ndw = dy * probs\ndprobs = dy * w\n"
    lines += "ds = probs * (dprobs - (dprobs * probs).sum(1, keepdim=True))\n"
    report = check(text, lines)
    assert accused(report) == [("t", 1)], str(report)
    assert report.wrong[0].kind == "missing .clone()"


def test_an_own_local_is_put_right_for_the_lines_below() -> None:
    lines = "delta = dz.clone()\ndx = delta\ndx *= w\ndb = delta.sum(0, keepdim=True)\n"
    report = check(PRODUCT, lines + "dw = (dz * x).sum(0)\n")
    assert accused(report) == [("dx", 2)], str(report)


def test_one_tensor_with_two_names_has_two_gradients() -> None:
    text = (
        IMPORTS
        + """
def forward(x: Float[Tensor, "n"]):
    y = x
    z = y * y + 3 * x
    return z
"""
    )
    assert check(text, "dy = 2 * y * dz\ndx = dy + 3 * dz\n").ok
    report = check(text, "dy = 2 * y * dz + 3 * dz\ndx = dy.clone()\n")
    assert ("dy", 1) in accused(report)


def test_what_only_fails_as_written_is_not_passed() -> None:
    text = (
        IMPORTS
        + """
def forward(x: Float[Tensor, "n d"]):
    u = x * 1.0
    s = u.sum(0)
    return s
"""
    )
    assert check(text, "du = ds.expand(u.shape)\ndx = du.clone()\ndx *= 1.0\n").ok
    (row,) = check(text, "du = ds.expand(u.shape)\ndx = du\ndx *= 1.0\n").wrong
    assert (row.name, row.line, row.fix) == ("dx", 2, "dx = du.clone()")
    assert "line 3 cannot write into it" in (row.diagnosis or "")
    (row,) = check(
        text, "du = ds.expand(u.shape)\nassert du.is_contiguous()\ndx = du * 1.0\n"
    ).wrong
    assert (row.line, row.verdict) == (2, Verdict.ERROR)


def test_true_values_stand_in_for_a_wrong_gradient() -> None:
    report = check(PRODUCT, "dy = 2 * dz\ndx = dy * w\ndw = (dy * x).sum(0)\n"
                   "db = dz.sum(0, keepdim=True)\n")  # fmt: skip
    assert accused(report) == [("dy", 1)]
    assert {line.name for line in report.lines if line.as_written} == {"dy", "dx", "dw"}


def test_the_first_of_two_statements_is_named_where_nothing_mends_it() -> None:
    text = (
        IMPORTS
        + """
def forward(x: Float[Tensor, "n d"]):
    a = x * 2
    b = x.exp()
    y = a * b
    return y
"""
    )
    lines = "da = dy * b\ndb = dy * a\ndx = da.sin() + b.cos() * a.tanh()\ndx += db * b\n"
    report = check(text, lines)
    assert [(line.name, line.line) for line in report.wrong] == [("dx", 3)], str(report)


def test_draws_have_other_sizes_and_repeated_indices() -> None:
    text = (
        IMPORTS
        + """
def forward(a: Float[Tensor, "n d t"], C: Float[Tensor, "vocab t"], ix: Int[Tensor, "n d"]):
    y = C[ix] * a
    return y
"""
    )
    found = draws(parse(text, "<text>", None), text, None)
    sizes = [tuple(draw.inputs["C"].shape) for draw in found]
    assert len(set(sizes)) == 2
    assert {draw.gapped for draw in found} == {False, True}
    for draw in found:
        assert int(draw.inputs["ix"].max()) < draw.inputs["C"].shape[0]
    few = found[2].inputs
    assert few["ix"].unique().numel() <= (few["C"].shape[0] + 1) // 2
    assert few["C"].dtype == torch.float64
    assert torch.equal(few["C"], few["C"].float().double())


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("dx = dy", {"dx"}),
        ("dx, dy = a, b", {"dx", "dy"}),
        ("dx += 1", {"dx"}),
        ("dx[range(n), y] -= 1", {"dx"}),
        ("dx.T[0] = 1", {"dx"}),
        ("dx.view(-1).index_add_(0, ix, g)", {"dx"}),
        ("torch.mul(a, b, out=dx)", {"dx"}),
        ("torch.relu_(dx)", {"dx"}),
        ("np.add.at(dx, ix, g)", {"dx"}),
        ("for i in range(3): dx[i] = dy[i]", {"dx", "i"}),
        ("with torch.no_grad():\n    dx = dy", {"dx"}),
        ("if (dx := dy) is None: pass", {"dx"}),
        ("t = [dx for dx in range(3)]", {"t"}),
        ("def f():\n    dx = 1", {"f"}),
        ("dy = dx.sum(0)", {"dy"}),
        ("print(dx)", set()),
    ],
)
def test_what_a_statement_writes(line: str, names: set[str]) -> None:
    (step,) = plan(ast.parse(line).body, {}).steps
    assert step.writes == names
    assert set(written(step.node)) <= names | {"i"}


def test_a_line_that_raises_halfway_spoils_nothing() -> None:
    """`scatter_` writes some elements before it finds an index too large, and then raises."""
    text = """
import torch
from jaxtyping import Float
from torch import Tensor


def forward(x: Float[Tensor, "n d"]):
    low = x.min(dim=0, keepdim=True).values
    y = x * low
    return y


def backward(x, low, dy):
    rows = torch.arange(x.shape[0])[:, None].expand_as(x)
    low.scatter_(0, rows, dy)
    dx = low * dy
    dlow = (x * dy).sum(0, keepdim=True)
    dx.scatter_add_(0, x.min(dim=0, keepdim=True).indices, dlow)
    return dx
"""
    report = check(text)
    assert [(row.name, row.line) for row in report.wrong] == [("low", 15)]
    assert {row.name for row in report.lines if row.ok} == {"dx", "dlow"}
