"""What a fused backward gives a person: steps, text that runs alone, a choice of forms."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from pathlib import Path

import pytest
import torch

import gradninja as gn
from catalogue import autograd, cotangents, differences
from fuse_targets import Target, collect
from gradninja import models
from gradninja.algebra.measure.precision import keeps_digits

# What PyTorch thinks of a deprecated spelling is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")

TARGETS = {target.name: target for target in collect()}
# One of each kind: the steps and texts of all targets would take long and show little more.
SOME = (
    "losses.cross_entropy",
    "losses.linear_cross_entropy_library",
    "losses.focal",
    "normalisation.batchnorm_unbiased",
    "normalisation.layernorm_library",
    "attention.multi_head",
    "activations.gelu_tanh",
    "activations.gru_gates",
)
some = pytest.mark.parametrize("name", SOME)


@functools.cache
def fused(name: str, prefer: str = "speed") -> gn.Fused:
    target = TARGETS[name]
    return gn.fuse(target.function, target.given, target.wanted, prefer=prefer)


def truth_of(
    target: Target, back: gn.Backward
) -> tuple[dict[str, torch.Tensor], dict[str, object], tuple[torch.Tensor, ...]]:
    """Autograd's gradients, every value of the forward by its name, and the cotangents."""
    inputs = target.draw(seed=5)
    truth, grads = autograd(
        target.function,
        inputs,
        lambda out: [torch.ones_like(out[0])] if back.scalar else cotangents(out, 105, "plain"),
        target.wanted,
    )
    values = {**back.forward_values(inputs), **dict(zip(back.cotangents, grads, strict=True))}
    return truth, values, grads


@some
def test_the_text_runs_alone(name: str) -> None:
    """In an empty namespace, given what it asks for and no more."""
    target, back = TARGETS[name], fused(name)
    truth, values, _ = truth_of(target, back)
    scope: dict = {}
    exec(back.source, scope)
    names = list(inspect.signature(scope["backward"]).parameters)
    given = {one.name for one in back.program.inputs} | set(back.cotangents)
    assert [n for n in names if n not in given] == list(back.kept)
    assert not set(back.kept) & set(back.not_kept)
    for argument in names:
        read = re.findall(rf"\b{argument}\b", back.source.split("):", 1)[1])
        assert read, f"{argument} is asked for and not read"
    got = scope["backward"](**{n: values[n] for n in names})
    several = got if isinstance(got, tuple) else (got,)
    labels = [f"d{wanted}" for wanted in target.wanted]
    assert not differences(dict(zip(labels, several, strict=True)), truth, 1e-12)


@some
def test_the_function_passes_gradcheck(name: str) -> None:
    """The text as a torch.autograd.Function, with the cotangents that PyTorch gives it."""
    target, back = TARGETS[name], fused(name)
    scope: dict = {}
    exec(back.function_source, scope)
    forward = scope[back.program.name]
    inputs = target.draw([min(size, 3) for size in target.sizes], seed=6)
    leaves = {n: v.requires_grad_() for n, v in inputs.items() if n in target.wanted}
    rest = {n: v for n, v in inputs.items() if n not in leaves}

    def of_leaves(*given: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = forward(**dict(zip(leaves, given, strict=True)), **rest)
        return out

    assert torch.autograd.gradcheck(of_leaves, list(leaves.values()))


@some
def test_every_line_has_its_steps(name: str) -> None:
    """They end in the line itself, tell of names that the person knows, and have a formula."""
    back = fused(name)
    for line in back.lines:
        steps = [step for step in back.steps if step.of == line.name]
        assert steps, f"no step leads to {line.name}"
        assert steps[-1].text == line.source, line.name
    for step in back.steps:
        assert step.text and "\n" not in step.text
        assert step.latex.count("{") == step.latex.count("}") > 0


@pytest.mark.parametrize(
    ("name", "of", "text"),
    [
        (
            "losses.cross_entropy",
            "dlogits",
            "counts[i, j] / counts_sum[i] folds back into probs",
        ),
        (
            "normalisation.batchnorm_unbiased",
            "dhprebn",
            "the sum of bndiff over n is 0, so this term vanishes",
        ),
        (
            "attention.multi_head",
            "dS",
            "folds back into O",
        ),
    ],
)
def test_the_steps_that_a_reader_looks_for(name: str, of: str, text: str) -> None:
    steps = [step.text for step in fused(name).steps if step.of == of]
    assert any(step.endswith(text) for step in steps), steps


@pytest.mark.parametrize("name", SOME[:6])
def test_what_is_preferred_is_what_is_spared(name: str) -> None:
    """None is better than another at what the other is for.

    Lines in place are no rivals of readable ones, unless it is memory that is to be spared.
    """
    forms = {prefer: fused(name, prefer) for prefer in ("speed", "memory", "short")}
    for prefer, back in forms.items():
        rivals = forms if prefer == "memory" else {"speed", "short"}
        totals = {other: forms[other].cost.total(prefer) for other in rivals}
        assert back.cost.total(prefer) == min(totals.values()), totals


def test_an_output_is_not_kept_for_nothing() -> None:
    """`(dxhat * xhat).mean` is the same work as `(y * dy).mean`, and xhat is kept anyway."""
    back = fused("normalisation.rmsnorm")
    assert back.kept == ("rrms", "xhat") and "y" in back.program.outputs


def test_the_network_of_the_lecture() -> None:
    """Its backward in one go: a gradient for each layer, and none for what cannot change it."""
    back = gn.fuse(Path(models.__file__).parent / "mlp_batchnorm.py")
    lines = {line.name: line.source for line in back.lines}
    assert lines["dlogits"] == "dlogits = (probs - F.one_hot(Yb, C.shape[0])) / n"
    assert lines["dhprebn"].startswith("dhprebn = bn")
    assert lines["db1"] == "db1 = torch.zeros_like(b1)"  # the mean over n takes it away
    assert {"hprebn", "bndiff", "logits", "counts", "hpreact"} <= set(back.not_kept)
    assert len(back.lines) <= 14


def test_a_form_that_loses_digits_is_told_from_one_that_does_not() -> None:
    """By cancellation: a difference of squares, of large numbers that are close."""
    x = 1000 + torch.rand(5, 4, dtype=torch.float64)
    values = {"x": x, "y": x + 0.01 * torch.rand(5, 4, dtype=torch.float64)}
    loses, keeps = (
        ast.parse(text, mode="eval").body for text in ("x**2 - y**2", "(x - y) * (x + y)")
    )
    assert not keeps_digits(loses, keeps, values)
    assert keeps_digits(keeps, loses, values) and keeps_digits(keeps, keeps, values)


CAUSAL = """
def forward(Q: Float[Tensor, "t d"], K: Float[Tensor, "t d"], V: Float[Tensor, "t d"]):
    t = Q.shape[0]
    mask = torch.ones(t, t).triu(1) == 1
    S = (Q @ K.T).masked_fill(mask, float("-inf"))
    P = F.softmax(S, 1)
    O = P @ V
    return O
"""


def test_where_a_sum_over_features_loses_digits_it_is_one_over_keys() -> None:
    """rowsum(dO * O) is a difference of large numbers where a softmax is saturated."""

    def inputs(scale: float) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(9)
        return {n: scale * torch.randn(12, 3, generator=generator).double() for n in "QKV"}

    usual, saturated = gn.fuse(CAUSAL, inputs(1)), gn.fuse(CAUSAL, inputs(10))
    assert not usual.dropped and "(O * dO).sum(1, keepdim=True)" in usual.source
    assert "dS = (dP - (P * dP).sum(1, keepdim=True)) * P" in saturated.source
    assert [one.name for one in saturated.dropped] == ["dQ"]
    assert all(error.kept for error in saturated.errors)


@some
def test_both_errors_are_told(name: str) -> None:
    back = fused(name)
    assert {error.name for error in back.errors} == {f"d{name}" for name in TARGETS[name].wanted}
    for error in back.errors:
        assert error.kept and 0 <= error.fused < 1e-3 and 0 <= error.derived < 1e-3


def test_the_smaller_of_two_values_is_kept() -> None:
    """`h` and not `hpreact`, though the derivative of tanh could be had of either."""
    back = gn.fuse(
        """
def forward(x: Float[Tensor, "n d"], W1: Float[Tensor, "d k"], W2: Float[Tensor, "k m"]):
    hpreact = x @ W1
    h = torch.tanh(hpreact)
    y = h @ W2
    return y
"""
    )
    assert back.kept == ("h",) and back.not_kept == ("hpreact",)


@pytest.mark.parametrize(
    "line", ["2.0**x + 1 / (3 - x**2 / 100) - (5 - x)", "x.roll(1) * x.roll(3) - x.flip(0)"]
)
def test_what_is_fused_is_found_right_line_by_line(line: str) -> None:
    """A part that got a name is used by it: written out again, it would have two gradients."""
    text = f'def forward(x: Float[Tensor, "n d"]):\n    y = {line}\n    return y\n'
    assert gn.check(text, gn.fuse(text)).ok


def test_an_unknown_preference_is_told() -> None:
    with pytest.raises(gn.GradninjaError, match="size"):
        gn.fuse("def forward(x: Float[Tensor, 'n']):\n    return x * 2\n", prefer="size")
