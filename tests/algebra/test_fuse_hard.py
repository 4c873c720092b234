"""Fused texts at hard points: zeros, ties, tiny, huge and saturated, each input in turn and all."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

import gradninja as gn
from catalogue import autograd, call, cotangents
from gradninja.algebra.measure.hard import broken_at
from gradninja.lines.scope import LIBRARY

# What PyTorch thinks of a deprecated spelling is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")

NAMES = {**LIBRARY, "Float": Float, "Tensor": Tensor}
Inputs = Mapping[str, Tensor]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def inputs_of(shapes: str, seed: int = 0) -> dict[str, Tensor]:
    """`"x 3 2, y 1"`."""
    found = {}
    for at, given in enumerate(shapes.split(", ")):
        name, *sizes = given.split()
        found[name] = drawn(*map(int, sizes), seed=seed + at)
    return found


def forward_of(steps: str, inputs: Inputs) -> str:
    *lines, last = steps.split("; ")
    body = "".join(f"    {line}\n" for line in lines)
    return f"def forward({', '.join(inputs)}):\n{body}    return {last}\n"


POINTS: dict[str, Callable[[Tensor], Tensor]] = {
    "zeros": torch.zeros_like,
    "ties": torch.ones_like,
    "tiny": lambda t: 1e-30 * t.sign(),
    "huge": lambda t: 1e6 * t,
    "saturated": lambda t: 40 * t.sign(),
    "one zero": lambda t: t.flatten().index_fill(0, torch.tensor([0]), 0.0).view_as(t),
}


def at_hard_points(inputs: Inputs) -> Iterator[tuple[str, dict[str, Tensor]]]:
    for word, moved in POINTS.items():
        for names in (*((name,) for name in inputs), tuple(inputs)):
            yield (
                f"{', '.join(names)}: {word}",
                {n: moved(v) if n in names else v for n, v in inputs.items()},
            )


def assert_right(text: str, back: gn.Backward, inputs: Inputs, told: str = "") -> None:
    """Wherever autograd's gradient is finite, the text's is the same."""
    scope: dict[str, Any] = dict(NAMES)
    exec(text, scope)
    truth, grads = autograd(scope["forward"], inputs, lambda out: cotangents(out, 3, "plain"))
    got = call(back, inputs, grads)
    largest = max((float(t.nan_to_num(0, 0, 0).abs().max()) for t in truth.values()), default=0.0)
    for name, want in truth.items():
        finite = torch.isfinite(want)
        off = (got[name] - want)[finite].abs()
        assert got[name].shape == want.shape
        assert (off <= 1e-9 * max(largest, 1e-3)).all(), f"{name}, {told}\n{text}\n{back.source}"


GATES = [
    ("out = (x * y).mean(); out", "x 3 1, y 1"),
    ("(torch.tanh(x) * g).mean()", "x 3 2, g 1"),
    ("h = torch.tanh(x) * g; h.mean()", "x 3 2, g 2"),
    ("s = x.sum(1) * g; s * s", "x 3 2, g 3"),
    ("s = (x * g).sum(1); s.exp() * x.sum(1)", "x 3 2, g 3 1"),
    ("(1 + a / g).mean()", "a 3 2, g 1"),
    ("m = x.mean(0) / g; m + x.mean(0)", "x 3 2, g 2"),
    ("m = x.mean(0) * g; m * z + x.mean(0) * z", "x 3 2, g 2, z 2"),
    ("s = x.sum() * a * b; s * a", "x 3, a 1, b 1"),
    ("y = x * a; z = y * y; (z * b).sum() + y.sum()", "x 3 2, a 1, b 1"),
    ("O = g * (q @ k.T); (O * q.sum()).sum()", "q 3 2, k 3 2, g 3 1"),
    ("n = a.square().sum() * g; n.sqrt() + n", "a 3, g 1"),
    ("y = a * b * c; y.mean() * y", "a 1, b 1, c 3"),
    ("u = x * y; v = u * z; u + v + u * v", "x 3, y 3, z 3"),
    ("v = (x - x.mean(0)).square().mean(0) * g; v.sum() + (x * v).sum()", "x 4 2, g 2"),
    ("(x.exp() * g).sum(0) * x.exp().sum(0)", "x 4 2, g 2"),
    ("p = F.softmax(x, 1) * g; p.sum(1) + p.square().sum(1)", "x 4 3, g 4 1"),
    ("y = g * F.layer_norm(x, (3,)) + b; y.tanh()", "x 4 3, g 3, b 3"),
    ("y = x.sum(); z = y * g; z * z", "x 3, g 1"),
    ("s = torch.sigmoid(g) * x; s.sum(0).tanh()", "x 4 3, g 3"),
    ("s = x.square() + 1; y = s.log() + e / s; y.sum()", "x 3, e 3"),  # 1 / s - e / s**2
    ("s = x.square() + 1; (s.log() + e / s) * e", "x 3, e 3"),
]


@pytest.mark.parametrize(("steps", "shapes"), GATES)
@pytest.mark.parametrize("prefer", ["speed", "memory", "short"])
def test_nothing_is_divided_by_that_the_forward_does_not_divide_by(
    steps: str, shapes: str, prefer: str
) -> None:
    inputs = inputs_of(shapes)
    text = forward_of(steps, inputs)
    back = gn.fuse(text, inputs, prefer=prefer)
    assert back.dropped == (), back.source
    for told, hard in at_hard_points(inputs_of(shapes, seed=7)):
        assert_right(text, back, hard, told)


def test_what_is_proven_to_be_positive_divides() -> None:
    """The sum of squares by the named variance, and a named row's sum of exponentials."""
    steps = "d = x - x.mean(0); v = d.square().sum(0) / (len(x) - 1); d / (v + 1e-5).sqrt()"
    inputs = inputs_of("x 5 3")
    back = gn.fuse(forward_of(steps, inputs), inputs)
    assert "square" not in back.source and "d ** 2" not in back.source, back.source


# Steps, the inputs, and a line that is right at random points; the gradient that it breaks.
PLANTED = [
    ("out = (x * y).mean(); out", "x 3 1, y 1", "dy = (dout * out / y).expand_as(y)"),
    ("out = x.exp() * y; out", "x 3, y 3", "dy = dout * out / y"),
    ("out = x * x; out", "x 3 2", "dx = 2 * dout * out / x"),
    ("out = torch.sigmoid(x); out", "x 3", "dx = dout * x.exp() / (1 + x.exp()) ** 2"),
    ("out = F.silu(x); out", "x 3", "dx = dout * (out / x) * (1 + x - out)"),
    ("out = (x * y).sum(); out", "x 3, y 3", "dx = dout * (x * y) / x"),
    ("out = torch.maximum(x, y); out", "x 3, y 3", "dx = dout * (x > y)"),
]


@pytest.mark.parametrize(("steps", "shapes", "line"), PLANTED)
def test_a_text_that_breaks_at_a_hard_point_is_seen(steps: str, shapes: str, line: str) -> None:
    inputs = inputs_of(shapes, seed=2)
    derived = gn.derive(forward_of(steps, inputs), inputs)
    assert broken_at([derived.statements], derived, derived) is None
    target, _, text = line.partition(" = ")
    value = ast.parse(text, mode="eval").body
    own = next(s for s in derived.statements if s.target == target)
    planted = replace(own, value=value, scatter=None, adds=False)
    statements = [s for s in derived.statements if s.target != target]
    found = broken_at([[*statements, planted]], derived, derived)
    assert found is not None and found[0] == target


@pytest.mark.parametrize(
    ("steps", "read", "called"),
    [
        ("return (l * x).square().sum()", (4, 1), (4, 5)),
        ("h = l * x; return (h / h.numel()) @ h.mT", (4, 2), (4, 3)),
    ],
)
def test_what_is_new_rounds_nothing_at_sizes_that_were_not_read(
    steps: str, read: tuple[int, int], called: tuple[int, int]
) -> None:
    """A third is rounded in float32; 0 and 1, which are all that is read with, are not."""
    text = f"def forward(x):\n    l = torch.linspace(0, 1, x.shape[-1]); {steps}\n"
    back = gn.fuse(text, {"x": drawn(*read)})
    assert not back.dropped, back.dropped
    scope = dict(LIBRARY)
    exec(text, scope)
    leaf = drawn(*called).requires_grad_()
    out = scope["forward"](leaf)
    grad = drawn(*out.shape, seed=1) / 3
    (want,) = torch.autograd.grad(out, leaf, grad)
    found = back({"x": leaf.detach()}, grad)["dx"]
    torch.testing.assert_close(found, want, rtol=1e-13, atol=1e-13)


def test_new_tensors_that_do_not_run_beside_doubles_are_fused_as_they_are_read() -> None:
    text = (
        "def forward(x):\n    m = torch.eye(3) @ torch.ones(3, 3, dtype=torch.float64)\n"
        "    return (m * x / 3).square().sum()\n"
    )
    assert gn.fuse(text, {"x": drawn(3, 3)}).source


@pytest.mark.parametrize("step", ["-(x**3) * torch.sigmoid(-(x**3))", "(x**3) * (x**3).tanh()"])
def test_a_form_overflows_no_sooner_than_the_derived_lines(step: str) -> None:
    text = f"def forward(x):\n    return ({step}).sum()"
    inputs = {"x": 1e10 * drawn(3, 2).float()}
    derived, fused = (way(text, {"x": drawn(3, 2)})(inputs)["dx"] for way in (gn.derive, gn.fuse))
    assert derived.isfinite().all()
    torch.testing.assert_close(fused, derived)
