"""Where autograd selects, so does every text: what is infinite elsewhere is never multiplied by 0.

Every row of the rule book on cotangents, and on inputs, with single elements that are infinite, no
number, 0 or tiny: what is finite for autograd is so for us, with its numbers, and the reverse. In
the exact style what is not finite is the same, too: nan, inf or -inf.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from torch import Tensor

import gradninja as gn
from catalogue import autograd, cotangents, differences
from gradninja.derive import Backward, derive
from gradninja.rules import Rule
from gradninja.rules.elementwise.complexes import COMPLEXES
from gradninja.rules.products.fourier import FOURIER
from gradninja.rules.products.linalg import LINALG
from gradninja.rules.products.lu import LU
from gradninja.rules.products.spectra import SPECTRA
from rule_inputs import Trial, book_rows, trials_of

pytestmark = pytest.mark.filterwarnings("ignore")

SPOILT = (math.inf, math.nan, -math.inf)
POINTS = (0.0, 1.0, 1e-30)
BROKEN = (math.nan, math.inf, -math.inf)
# Factorisations spread what is not finite as their library's loops run.
FACTORED = {row.name for row in (*LINALG, *SPECTRA, *LU)}
# A product of complex numbers is four real ones, of which infinities leave a nan or not as the
# kernel adds them up; Fourier's transforms are such products throughout.
COMPLEX = {row.name for row in (*COMPLEXES, *FOURIER)}
# A row's correlation with itself is 1, but for rounding: PyTorch takes what came out above 1 for 1,
# and there no gradient passes, an infinite one neither; where it came out at or below 1, one does.
CLIPPED = {"corrcoef"}
LEFT = FACTORED | CLIPPED | COMPLEX
rows = pytest.mark.parametrize(
    "row",
    [r for r in book_rows() if r.name not in LEFT],
    ids=lambda row: row.name,
)

# Where autograd's own steps meet infinities that a formula in one piece does not, or the reverse.
PIECES = {"softsign"}
# Of these no plain line says what the kernels do with inputs that are no numbers: which element is
# the largest of a nan, whether the product of the others is found by dividing. (grid_sample's
# reads outside of its memory there.)
KERNELS = {
    "norm", "prod", "max", "min", "median", "quantile", "scaled_dot_product_attention",
    "cross_entropy", "logit", "hardswish", "hardshrink", "softshrink", "celu", "grid_sample",
}  # fmt: skip
# Of these PyTorch's order of products, and so which of them is nan, is not what plain lines have.
ORDER = {"einsum", "cdist", "cross_entropy", "scaled_dot_product_attention"}


@cache
def derived(trial: Trial, style: str) -> Backward:
    return derive(trial.source, trial.draw(0), style=style)


def kinds(tensor: Tensor) -> Tensor:
    """Which elements are nan, inf and -inf, as numbers."""
    return torch.isnan(tensor) * 3 + (tensor == math.inf) * 1 + (tensor == -math.inf) * 2


def spoil(tensor: Tensor, at: int, value: float) -> Tensor:
    """A copy with one element replaced."""
    copy = tensor.clone(memory_format=torch.contiguous_format)
    if copy.numel():
        copy.view(-1)[at % copy.numel()] = value
    return copy


def wrong(
    trial: Trial, style: str, seed: int, cotangent: float | None, point: float | None
) -> list[str]:
    """What differs from autograd with one element of each cotangent, or input, replaced."""
    inputs = trial.draw(seed)
    if point is not None:
        inputs = {
            n: spoil(v, seed * 5 + 1, point) if v.is_floating_point() else v
            for n, v in inputs.items()
        }

    def grads_of(out: tuple[Tensor, ...]) -> list[Tensor]:
        plain = cotangents(out, seed, "plain")
        return [g if cotangent is None else spoil(g, seed * 7, cotangent) for g in plain]

    try:
        truth, grads = autograd(trial.forward, inputs, grads_of)
    except (RuntimeError, ValueError):  # outside of what the operation takes
        return []
    back = derived(trial, style)
    got = back(inputs, tuple(grads) if len(grads) > 1 else grads[0])
    found = [f"{trial} {style} {cotangent} {point}: {text}" for text in _off(got, truth)]
    if style == "exact" and trial.row not in ORDER and point is None:
        for name, want in truth.items():
            if not torch.equal(kinds(got[name]), kinds(want)):
                found.append(f"{trial} {style} {cotangent}: {name} is {got[name]} for {want}")
    return [f"{text}\n{back.source}" for text in found]


def _off(got: dict[str, Tensor], truth: dict[str, Tensor]) -> list[str]:
    """As `differences`, of what is finite: infinite elements are no measure of the others."""
    odd = [n for n in truth if not torch.equal(got[n].isfinite(), truth[n].isfinite())]
    if odd:
        return [f"{n}: {got[n]} where autograd has {truth[n]}" for n in odd]
    finite = {n: t.nan_to_num(0, 0, 0) for n, t in got.items()}
    return differences(finite, {n: t.nan_to_num(0, 0, 0) for n, t in truth.items()})


@rows
def test_a_cotangent_that_is_not_finite_stays_where_autograd_keeps_it(row: Rule) -> None:
    found = []
    for trial in trials_of(row):
        for style in ("readable", "exact"):
            for seed in range(6):
                found += wrong(trial, style, seed, SPOILT[seed % 3], None)
    assert not found, "\n".join(found)


@rows
def test_inputs_at_hard_points(row: Rule) -> None:
    found = []
    for trial in trials_of(row):
        for style in ("readable", "exact"):
            for seed, point in enumerate((*POINTS, *BROKEN)):
                if point in POINTS or row.name not in KERNELS | PIECES:
                    found += wrong(trial, style, seed, SPOILT[seed % 3], point)
    assert not found, "\n".join(found)


GATES = {
    "log of relu": "torch.log(F.relu(x))",
    "reciprocal of relu": "F.relu(x) ** -1",
    "root of relu": "torch.sqrt(F.relu(x))",
    "root of clamp": "x.clamp(min=0).sqrt()",
    "root of two bounds": "x.clamp(0, 0.5).sqrt()",
    "root of maximum": "torch.maximum(x, torch.zeros_like(x)).sqrt()",
    "reciprocal root of relu6": "F.relu6(x).rsqrt()",
    "log of hardtanh": "torch.log(F.hardtanh(x, 0.0, 0.5))",
    "log of where": "torch.log(torch.where(x > 0, x, 0))",
    "log of what is filled": "torch.log(x.masked_fill(x <= 0, 0))",
    "hinge": "torch.log(F.relu(1 - x * 4))",
    "logs of products of relus": "torch.log(F.relu(x) @ F.relu(x).T)",
    "a gate of a row": "torch.log(F.relu(x.sum(1, keepdim=True))) * x",
    "length": "F.relu(x).norm(dim=1)",
    "running product": "torch.cumprod(F.relu(x), -1)",
    "empty ray": "torch.cumprod(1 - (1 - torch.exp(-F.relu(x * 1e10))) + 1e-10, -1)",
    "opaque ray": "torch.cumprod(1 - x.clamp(0, 0.125) * 8, -1)",
    "diagonal": "torch.log(F.relu(torch.einsum('ii->i', x @ x.T)) - x.sum(1) ** 2)",
}


COMPILED = (
    "log of relu",
    "root of clamp",
    "root of maximum",
    "log of where",
    "log of what is filled",
)


def ones(outputs: Sequence[Tensor]) -> list[Tensor]:
    return [torch.ones_like(output) for output in outputs]


WAYS: dict[str, Callable[[str, dict[str, Tensor]], Backward]] = {
    "readable": lambda text, inputs: gn.derive(text, inputs),
    "exact": lambda text, inputs: gn.derive(text, inputs, style="exact"),
    "fused": gn.fuse,
    "fused to spare memory": lambda text, inputs: gn.fuse(text, inputs, prefer="memory"),
}


@pytest.mark.parametrize("name", GATES)
def test_a_closed_gate_is_not_looked_through(name: str) -> None:
    """At x < 0, at 0 and above it, from each verb autograd's numbers."""
    scope = {"torch": torch, "F": torch.nn.functional}
    text = f"def forward(x):\n    y = {GATES[name]}\n    return y.mean()\n"
    exec(text, scope)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, 4, generator=generator, dtype=torch.float64) - 0.5
    draws = [{"x": x}, {"x": spoil(x, 1, 0.0)}, {"x": -x.abs()}, {"x": x.abs()}]
    truths = [autograd(scope["forward"], inputs, ones)[0] for inputs in draws]  # type: ignore[arg-type]
    for way, verb in WAYS.items():
        backs = [verb(text, given) for given in ({"x": x.abs()}, draws[1])]
        for back in backs:
            for inputs, truth in zip(draws, truths, strict=True):
                assert not _off(back(inputs), truth), f"{name}, {way}, {inputs}\n{back.source}"


def test_a_compiled_step_does_not_look_through_closed_gates() -> None:
    """Some of them at once, one input each, so that one step is compiled."""
    scope = {"torch": torch, "F": torch.nn.functional}
    chosen = [GATES[name] for name in COMPILED]
    lines = [re.sub(r"\bx\b", f"x{at}", f"l{at} = ({one}).mean()") for at, one in enumerate(chosen)]
    names = [f"x{at}" for at in range(len(chosen))]
    total = " + ".join(f"l{at}" for at in range(len(chosen)))
    body = "\n    ".join([*lines, f"return {total}"])
    text = f"def forward({', '.join(names)}):\n    {body}\n"
    exec(text, scope)
    generator = torch.Generator().manual_seed(0)
    inputs = {n: torch.rand(3, 4, generator=generator, dtype=torch.float64) - 0.5 for n in names}
    inputs = {name: spoil(x, 1, 0.0) for name, x in inputs.items()}
    truth, _ = autograd(scope["forward"], inputs, ones)  # type: ignore[arg-type]
    got = gn.compile(text)(**inputs)
    assert not _off({name: got[name] for name in truth}, truth)
