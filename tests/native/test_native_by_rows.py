"""Loops over rows that are one loop: the same numbers, and memory for one row."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradninja.errors import GradninjaError
from gradninja.native import compile
from gradninja.native.plan import rows
from native_random import judge, of_random
from random_programs import write

N, C = 40, 1000  # as many as are worth one loop


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADNINJA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def entropy(x, y):
    return F.cross_entropy(x, y)


def weighed(x, y, s):
    """What the gradient is multiplied by is known before the loop."""
    return F.cross_entropy(x, y) * s / x.shape[0]


def normed(x, g, b, w):
    h = F.layer_norm(x, (x.shape[-1],), g, b)
    return (h * w).sum()


def scaled(x, g, w):
    h = F.rms_norm(x, (x.shape[-1],), g)
    return (h * w).mean()


def shares(x, w):
    p = torch.softmax(x, dim=1)
    return (p * w).sum() + torch.logsumexp(x, 1).mean()


def between(x, w):
    """A sum over all rows is whole only after the last one: what reads it comes after."""
    p = x - x.mean(0)
    return (p * w.sum(1, keepdim=True)).pow(2).sum()


def turned(x, w):
    """What reads another row is another loop."""
    s = x.exp()
    return (s.flip(0) * s * w).sum()


def _inputs(forward: Any) -> dict[str, torch.Tensor]:
    drawn = torch.Generator().manual_seed(5)
    shapes = {"x": (N, C), "w": (N, C), "g": (C,), "b": (C,), "s": ()}
    names = forward.__code__.co_varnames[: forward.__code__.co_argcount]
    return {
        name: torch.randint(0, C, (N,), generator=drawn)
        if name == "y"
        else torch.randn(shapes[name], generator=drawn)
        for name in names
    }


@pytest.mark.parametrize(
    ("forward", "alone"),
    [(entropy, 1), (weighed, 1), (normed, 1), (scaled, 1), (shares, 1), (between, 3), (turned, 2)],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_large_rows_are_gone_through_once(forward, alone) -> None:
    inputs = _inputs(forward)
    step = compile(forward)
    found = step(**inputs)
    floats = [name for name, value in inputs.items() if value.is_floating_point()]
    wide = {**inputs, **{name: inputs[name].double().requires_grad_() for name in floats}}
    true = torch.autograd.grad(forward(**wide), [wide[name] for name in floats])
    for name, gradient in zip(floats, true, strict=True):
        off = (found[f"d{name}"] - gradient).abs().max()
        assert off <= 1e-5 * gradient.abs().max(), name
    text = step.specialised(**inputs).source
    long = re.findall(rf"^    for . in range\(size_(?:{N}|{N * C})\):\n(?=.*\n? *for)", text, re.M)
    assert len(long) <= alone
    kept = [int(e) - int(s) for s, e in re.findall(r"work_float32\[(\d+):(\d+)\]", text)]
    assert all(size <= C for size in kept) == (alone == 1)


def test_programs_by_rows_have_autograds_gradients(monkeypatch) -> None:
    """Also where a row is two elements long: sums of all kinds, picks, views across rows."""
    monkeypatch.setattr(rows, "_LONG", 2)
    monkeypatch.setattr(rows, "_SHORT", 2)
    monkeypatch.setattr(rows, "_LARGE", 1)
    drawn = random.Random(31)
    right = 0
    for _ in range(12):
        program = write(drawn)
        try:
            assert judge(*of_random(program), fused=False) == "right", program.text
            right += 1
        except GradninjaError as error:
            assert "this is empty" in error.message  # a mask that picks nothing
    assert right > 9


def test_two_sums_over_either_axis_share_no_rows(monkeypatch) -> None:
    """Of one shape and length, and yet the one adds up rows and the other within them."""
    monkeypatch.setattr(rows, "_LARGE", 1)
    monkeypatch.setattr(rows, "_LONG", 2)
    monkeypatch.setattr(rows, "_SHORT", 2)
    x, w = torch.randn(6, 6, 8), torch.randn(6, 6, 8)
    text = """
def forward(x, w):
    h = (x * w).exp()
    one = h.sum(0)
    other = h.sum(1)
    loss = (one * other).sum()
    return loss
"""
    assert judge(text, {"x": x.double(), "w": w.double()}, ["x", "w"], fused=False) == "right"


@pytest.mark.parametrize("kind", ["amax", "amin"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_of_nan_and_of_infinite_rows(kind, dtype) -> None:
    step = compile(f"def forward(x):\n    h = x.{kind}(1)\n    loss = h.sum()\n    return loss\n")
    x = np.random.default_rng(0).normal(size=(3, 37)).astype(dtype)
    assert np.isclose(step(x=x)["loss"], getattr(torch.from_numpy(x), kind)(1).sum())
    for place in (0, 17, 36):
        holed = x.copy()
        holed[1, place] = np.nan
        assert np.isnan(step(x=holed)["loss"])
    x[:] = np.inf if kind == "amin" else -np.inf
    assert step(x=x)["loss"] == x[0, 0]
