"""What is held in memory: how it is counted, and lines in place that hold less of it."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from test_fuse_forms import truth_of
from torch import Tensor

import gradninja as gn
from catalogue import differences
from full_size import count, largest
from fuse_targets import collect
from gradninja import models
from gradninja.algebra.measure.cost import cost_of
from gradninja.algebra.measure.footprint import Held, forgetting
from gradninja.lines.scope import LIBRARY

# What PyTorch thinks of a deprecated spelling is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")

TARGETS = {target.name: target for target in collect()}


@functools.cache
def fused(name: str, prefer: str, style: str) -> gn.Fused:
    target = TARGETS[name]
    return gn.fuse(target.function, target.given, target.wanted, prefer=prefer, style=style)


def lines_of(name: str, prefer: str = "memory", style: str = "readable") -> list[str]:
    return [line.source for line in fused(name, prefer, style).lines]


# -- how it is counted ----------------------------------------------------------------------


def held(text: str, **given: Any) -> float:
    """The most elements that lines hold at a time, each value forgotten when it is read last."""
    lines = forgetting([ast.unparse(line) for line in ast.parse(text).body], {"y"})
    mode = Held(list(given.values()))
    with mode:
        exec("\n".join(lines), {**LIBRARY, **given})
    return mode.most


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("y = x + x", 1),
        ("y = x * x + x", 2),
        ("a = x * x; y = a + x", 2),
        ("y = x * x; y += x", 1),
        ("a = x * 2; b = a * 2; y = b * 2", 2),
        ("a = x * 2; b = a.T; y = b * 2", 2),  # a view holds on to what it is of
        ("a = x * 2; b = a.T; c = b * 2; y = c * 2", 2),
        ("a = x * 2; b = x * 3; y = a * b", 3),
        ("y = x.T", 0),
        ("y = F.one_hot(i, 20)", 2),  # of int64
        ("y = x - F.one_hot(i, 20)", 4),  # that, a copy of it as floats, and the difference
        ("y = x * (x > 0)", 2.25),  # a bool is a byte
        ("y = x.clone(); y[i, i] -= 1", 1.05),  # and what is picked
    ],
)
def test_what_is_held_is_counted(text: str, most: float) -> None:
    """In arrays of the size of x; a float is one of four bytes, whatever it is computed in."""
    for dtype in (torch.float32, torch.float64):
        x, i = torch.randn(10, 20, dtype=dtype), torch.arange(10)
        assert held(text, x=x, i=i) == pytest.approx(200 * most)


@pytest.mark.parametrize(
    ("text", "traffic", "calls"),
    [
        ("y = x + x", 600, 1),
        ("y = x.T", 0, 0),
        ("y = x + row.expand_as(x)", 420, 1),
        ("y = x[i, i]", 20, 1),  # no more of x than is picked
        ("y = F.one_hot(i, 20)", 420, 1),
        ("x -= row", 420, 1),
    ],
)
def test_what_is_moved_is_counted(text: str, traffic: float, calls: int) -> None:
    values = {**LIBRARY, "x": torch.randn(10, 20), "row": torch.randn(20), "i": torch.arange(10)}
    cost = cost_of(ast.parse(text).body, values, 0.0)
    assert (cost.traffic, cost.calls) == (traffic, calls)


# -- lines in place -------------------------------------------------------------------------


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(("prefer", "style"), [("memory", "readable"), ("speed", "in place")])
def test_in_place_is_right_and_leaves_the_forward_alone(name: str, prefer: str, style: str) -> None:
    target, back = TARGETS[name], fused(name, prefer, style)
    assert not back.dropped and all(error.kept for error in back.errors)
    truth, values, grads = truth_of(target, back)
    before = {n: v.clone() for n, v in values.items() if isinstance(v, Tensor)}
    got = back({one.name: values[one.name] for one in back.program.inputs}, grads)
    assert not differences(got, truth, 1e-12), back.source
    scope = {**LIBRARY, **back.program.namespace}
    exec(back.source, scope)  # the text for a cotangent of 1 are other lines
    operations = len(count(scope["backward"], values, largest(values)))
    assert all(torch.equal(before[n], values[n]) for n in before), back.source
    exec(fused(name, "speed", "readable").source, scope)
    if style == "in place":
        assert operations <= len(count(scope["backward"], values, largest(values)))


@pytest.mark.parametrize(
    ("name", "operations"),
    [
        ("losses.cross_entropy", 1),
        ("losses.cross_entropy_library", 2),
        ("losses.linear_cross_entropy", 4),
        ("losses.label_smoothing", 2),
        ("losses.focal", 1),
    ],
)
def test_no_one_hot_is_made_to_spare_memory(name: str, operations: int) -> None:
    target, back = TARGETS[name], fused(name, "memory", "readable")
    assert "one_hot" not in back.source and "torch.arange(len(Yb)), Yb]" in back.source
    values = truth_of(target, back)[1]
    scope = {**LIBRARY, **back.program.namespace}
    exec(back.source, scope)
    assert len(count(scope["backward"], values, largest(values))) <= operations, back.source


def test_the_forms_of_cross_entropy() -> None:
    name = "losses.cross_entropy"
    short = ["dlogits = (probs - F.one_hot(Yb, logits.shape[1])) / n"]
    assert lines_of(name, "speed") == lines_of(name, "short") == short
    lecture = ["dlogits = probs.clone()", "dlogits[range(dlogits.shape[0]), Yb] -= 1"]
    assert lines_of(name, "speed", "in place") == [*lecture, "dlogits /= n"]
    lean = ["dlogits = probs / n", "dlogits[torch.arange(len(Yb)), Yb] -= 1 / n"]
    assert lines_of(name) == lines_of(name, "memory", "in place") == lean


def test_what_can_be_had_again_cheaply_is_not_kept() -> None:
    """xhat = x * rrms is full-size, rrms has one element a row."""
    assert fused("normalisation.rmsnorm", "memory", "readable").kept == ("rrms",)


def test_arrays_of_the_lines_own_are_used_again() -> None:
    assert lines_of("losses.softmax") == [
        "dx = dprobs - (probs * dprobs).sum(1, keepdim=True)",
        "dx *= probs",
    ]
    assert lines_of("normalisation.layernorm")[-4:] == [
        "dx = -(xhat * dxhat).mean(1, keepdim=True) * xhat",
        "dx += dxhat",
        "dx -= dxhat.mean(1, keepdim=True)",
        "dx *= rstd",
    ]


MODELS = Path(models.__file__).parent


@pytest.mark.parametrize("name", ["bigram", "mlp", "mlp_batchnorm"])
def test_the_models_that_are_shipped(name: str) -> None:
    """Less is kept and moved than by what is fused for speed, and no more is held."""
    path = MODELS / f"{name}.py"
    lean, plain = gn.fuse(path, prefer="memory"), gn.fuse(path)
    assert not lean.dropped and lean.cost.peak <= plain.cost.peak
    assert lean.cost.kept <= plain.cost.kept and lean.cost.traffic < plain.cost.traffic
    assert "one_hot" in plain.source and "one_hot" not in lean.source


@pytest.mark.parametrize(
    "text",
    [
        "c = z.exp(); s = c.sum(1, keepdim=True); y = z - s.log()",
        "c = torch.exp(z); s = c.sum(1, keepdim=True); t = s.log(); y = z - t",
        "c = z.exp(); y = z - c.sum(1)[:, None].log()",
    ],
)
def test_log_softmax_keeps_its_output_alone(text: str) -> None:
    """exp(y) is c / s: to spare memory, c is not kept; the output is there anyway."""
    steps = "".join(
        f"    {step}\n" for step in f"z = x - x.amax(1, keepdim=True); {text}".split("; ")
    )
    back = gn.fuse(f'def forward(x: Float[Tensor, "n d"]):\n{steps}    return y\n', prefer="memory")
    assert back.kept == ("y",) and "y.exp()" in back.source
    x = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    dy = torch.randn(7, 4, dtype=torch.float64)
    torch.log_softmax(x, 1).backward(dy)
    assert torch.allclose(back({"x": x}, dy)["dx"], x.grad, rtol=0, atol=1e-14)
