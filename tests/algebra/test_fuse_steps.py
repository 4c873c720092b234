"""The steps of a derivation: each formula is evaluated, element by element, against autograd."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import gradninja as gn
from fuse_targets import collect
from gradninja.lines.scope import LIBRARY

# What PyTorch thinks of a deprecated spelling is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")

TARGETS = {target.name: target for target in collect()}
FORMULA = re.compile(r"(\w+)(?:\[([a-z, ]+)\])? (=|is) (.*)")
SUM = re.compile(r"sum over ([a-z, ]+) of \(")
PLACE = re.compile(r"(\w+|\))\[([a-z](?:, [a-z])*)\]")


def as_python(text: str, sizes: dict[str, int]) -> str:
    """`sum over k of (...)` as a sum of Python's."""
    found = SUM.search(text)
    if found is None:
        return text
    depth, end = 1, found.end()
    while depth:
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        end += 1
    inner = as_python(text[found.end() : end - 1], sizes)
    loops = " ".join(f"for {k} in range({sizes[k]})" for k in found[1].split(", "))
    return f"{text[: found.start()]}sum(({inner}) {loops}){as_python(text[end:], sizes)}"


def sizes_of(text: str, scope: dict[str, Any]) -> dict[str, int]:
    """How far each letter runs: by the places where it stands."""
    found: dict[str, int] = {}
    for place in PLACE.finditer(text):
        owner = place[1]
        if owner == ")":  # of `(1 - t**2)[i, j]`, or of a call
            start, depth = place.start(), 1
            while depth:
                start -= 1
                depth += {")": 1, "(": -1}.get(text[start], 0)
            start -= len(re.search(r"[\w.]*$", text[:start])[0])  # type: ignore[index]
            owner = text[start : place.start() + 1]
        shape = eval(owner, scope).shape
        found.update(zip(place[2].split(", "), shape, strict=True))
    return found


def off(text: str, scope: dict[str, Any]) -> float | None:
    """How far the two sides of a formula are apart; None where it is none, or a line."""
    match = FORMULA.fullmatch(text)
    if match is None or match[1] not in scope or (match[2] is None and scope[match[1]].ndim):
        return None
    letters = match[2].split(", ") if match[2] else []
    known = sizes_of(f"{text}", scope)
    right = compile(as_python(match[4], known), text, "eval")
    most, largest = 0.0, 0.0
    for at in itertools.product(*(range(known[letter]) for letter in letters)):
        here = {**scope, **dict(zip(letters, at, strict=True))}
        true = float(scope[match[1]][at])
        most = max(most, abs(float(eval(right, here)) - true))
        largest = max(largest, abs(true))
    return most / max(largest, 1e-9)


def scope_of(name: str, back: gn.Backward) -> dict[str, Any]:
    """Every value and every gradient by its name, axes of size 1 left out."""
    target = TARGETS[name]
    inputs = target.draw([3 + at for at in range(len(target.sizes))], seed=4)
    program = back.program
    leaves = {n: v.requires_grad_() if n in target.wanted else v for n, v in inputs.items()}
    given = {i.name: leaves.get(i.name, i.value) for i in program.inputs}
    scope: dict[str, Any] = {**LIBRARY, **program.namespace, **given}
    exec("\n".join(line.code for line in program.lines), scope)
    values = {n: scope[n] for line in program.lines for n in line.targets} | given
    (output,) = program.outputs
    generator = torch.Generator().manual_seed(7)
    seed = torch.randn(values[output].shape, generator=generator, dtype=torch.float64)
    seed = torch.ones_like(seed) if back.scalar else seed
    floats = {n: v for n, v in values.items() if isinstance(v, Tensor) and v.requires_grad}
    found = torch.autograd.grad(values[output], list(floats.values()), seed, allow_unused=True)
    for (of, value), gradient in zip(floats.items(), found, strict=True):
        values[f"d{of}"] = torch.zeros_like(value) if gradient is None else gradient
    for statement in back.statements:  # parts of lines, which autograd has no name for
        if statement.target not in values:
            exec(str(statement), {**LIBRARY, **values}, local := {})
            values.update(local)
    values = {n: v.detach().squeeze() if isinstance(v, Tensor) else v for n, v in values.items()}
    sizes = {}
    for one in program.inputs:
        for axis, size in zip(one.axes or (), getattr(given[one.name], "shape", ()), strict=False):
            sizes[axis] = size
    classes = values["counts"].shape[-1] if "counts" in values else 0
    hot = {"one_hot": lambda index: F.one_hot(index, classes).double()}
    return {"math": math, "torch": torch, "F": F, **hot, **sizes, **values}


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("losses.cross_entropy", 8),
        ("losses.label_smoothing", 8),
        ("losses.linear_cross_entropy", 6),
        ("losses.softmax", 3),
        ("normalisation.batchnorm_unbiased", 8),
        ("normalisation.layernorm", 6),
        ("normalisation.rmsnorm", 4),
        ("normalisation.weight_norm", 6),
        ("attention.single_head", 5),
        ("activations.gelu_tanh", 3),
        ("activations.gru_gates", 4),
    ],
)
def test_formulas_of_the_steps_are_true(name: str, least: int) -> None:
    """What is written on the way, from one value's gradient to the next one's."""
    target = TARGETS[name]
    back = gn.fuse(target.function, target.given, target.wanted)
    scope = scope_of(name, back)
    told = {step.text: off(step.text, scope) for step in back.steps}
    formulas = {text: apart for text, apart in told.items() if apart is not None}
    assert len(formulas) >= least, told
    wrong = {text: apart for text, apart in formulas.items() if not apart < 1e-9}
    assert not wrong, wrong


def test_a_reader_is_led_back_line_by_line() -> None:
    back = gn.fuse(TARGETS["losses.cross_entropy"].function)
    texts = [step.text for step in back.steps if step.of == "dlogits"]
    order = ["dloss", "dlogprobs", "dprobs", "dcounts_sum_inv", "dcounts_sum", "dcounts"]
    starts = [text.split("[")[0].split(" ")[0] for text in texts]
    told = [start for start in starts if start in order]
    assert told == order
    assert texts[-1] == "dlogits = (probs - F.one_hot(Yb, logits.shape[1])) / n"
    latex = [step.latex for step in back.steps]
    assert r"\mathrm{dlogprobs}_{ij} = -\frac{\mathrm{one\_hot(Yb)}_{ij}}{\mathrm{n}}" in latex


def test_a_part_of_a_line_is_told_by_what_it_is() -> None:
    back = gn.fuse(TARGETS["activations.gru_gates"].function)
    texts = [step.text for step in back.steps]
    assert "dc_sum is the gradient of xc + r * hc" in texts
    back = gn.fuse(TARGETS["losses.label_smoothing"].function)
    (zero,) = [step.text for step in back.steps if "does not change" in step.text]
    assert "logits.max(1, keepdim=True).values" in zero


def test_a_comment_stands_over_the_line_that_uses_an_input() -> None:
    """b is taken away by the mean, its gradient is 0: the loss is not what that answers."""
    text = """
def forward(x: Float[Tensor, "n d"], b: Float[Tensor, "d"]):
    h = x + b
    diff = h - h.mean(0)
    loss = (diff**2).mean()
    return loss
"""
    lines = [line.strip() for line in gn.fuse(text).source.splitlines()]
    assert lines[lines.index("db = torch.zeros_like(b)") - 1] == "# h = x + b"


def test_lines_in_place_follow_the_formula_that_they_compute() -> None:
    back = gn.fuse(TARGETS["losses.cross_entropy"].function, style="in place")
    assert [step.text for step in back.steps if step.of == "dlogits"][-5:] == [
        "dlogits = (probs - F.one_hot(Yb, logits.shape[1])) / n",
        "the same in place, with fewer arrays made:",
        *(line.source for line in back.lines),
    ]
