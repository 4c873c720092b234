"""Rules that a person gives for functions of their own: derived, fused, compiled and explained."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import gradninja as gn
from gradninja.errors import GradninjaError
from gradninja.rules import BOOK, Book


def squash(x: Tensor) -> Tensor:
    return x / torch.sqrt(1 + x * x)


def centred(x: Tensor) -> Tensor:
    return x - x.mean(0, keepdim=True)


def with_squash(x, w):
    z = x @ w
    h = squash(z)
    diff = h - 1
    return (diff**2).sum()


def with_centred(x, w):
    z = x @ w
    h = centred(z)
    diff = h - 1
    return (diff**2).sum()


@pytest.fixture
def rules() -> Iterator[None]:
    gn.rule(
        squash, x="(1 + x * x) ** -1.5 * g", why="the derivative of x / sqrt(1 + x**2)",
        elementwise=True,
    )  # fmt: skip
    gn.rule(
        centred, x="g - g.mean(0, keepdim=True)", why="what moves the mean is taken out",
        means="x - x.mean(0, keepdim=True)",
    )  # fmt: skip
    yield
    for name in ("squash", "centred"):
        BOOK.remove(name)


@pytest.mark.parametrize("forward", [with_squash, with_centred])
def test_each_verb_takes_it(rules: None, forward) -> None:
    inputs = {
        "x": torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
        "w": torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)),
    }
    leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    forward(**leaves).backward()
    derived, fused = gn.derive(forward, inputs), gn.fuse(forward, inputs)
    assert {r.name for s in derived.statements for r in s.rules} & {"squash", "centred"}
    assert fused.dropped == () and "answered in one go" in fused.source
    assert len(fused.statements) < len(derived.statements)
    for found in (derived(inputs), fused(inputs), gn.compile(forward)(**inputs)):
        for name, leaf in leaves.items():
            given = torch.as_tensor(found[f"d{name}"])
            torch.testing.assert_close(given, leaf.grad, rtol=1e-12, atol=1e-12)


def test_its_reason_is_told(rules: None) -> None:
    typed = "def forward(x: Float[Tensor, '5 3']):\n    y = squash(x)\n    return y\n"
    assert "the derivative of x / sqrt(1 + x**2)" in str(gn.explain(typed))


def test_what_it_means_is_an_expression() -> None:
    with pytest.raises(GradninjaError, match="what it means is not a Python expression"):
        gn.rule(centred, x="g", why="none", means="x -")


def test_check_draws_its_mends_from_the_book_that_it_is_given() -> None:
    """Where an own rule says another gradient, the derived line that is offered says it too."""
    book = Book(tuple(BOOK))
    book.rule(squash, x="g * (1 + x * x) ** -1.5", why="the derivative of x / sqrt(1 + x**2)")
    text = """
def backward(x, w, h, dh):
    dz = dh.flip(0).flip(1) + 1
    return dz
"""
    inputs = {"x": torch.ones(5, 3), "w": torch.linspace(-1, 1, 12).reshape(3, 4)}
    report = gn.check(with_squash, text, inputs, only=["dz"], book=book)
    (line,) = [row for row in report.lines if row.name == "dz"]
    assert "(1 + z * z)**-1.5" in line.fix
    assert "(1 + z * z)**-1.5" not in str(gn.check(with_squash, text, inputs, only=["dz"]))
