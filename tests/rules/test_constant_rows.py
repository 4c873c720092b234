"""Rows that no gradient goes through: autograd says so, too, at each of their texts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from gradninja.errors import ReadError
from gradninja.lines.fence import find
from gradninja.lines.read import read
from gradninja.rules import BOOK, Rule, Spelling
from gradninja.rules.constants import CONSTANTS, FACTS
from rule_inputs import Trial, trials_of

rows = pytest.mark.parametrize("row", CONSTANTS, ids=lambda row: row.name)


def outcome(trial: Trial) -> tuple[Any, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    drawn = trial.draw(0)
    inputs = {n: v.requires_grad_() if v.is_floating_point() else v for n, v in drawn.items()}
    scope = {"torch": torch, "F": F, "math": math, **inputs}
    return eval(trial.expression, scope), inputs


def slopes(trial: Trial) -> list[torch.Tensor]:
    """Autograd's gradients of the float inputs, where there is a gradient to ask for."""
    found, inputs = outcome(trial)
    if not (isinstance(found, torch.Tensor) and found.requires_grad):
        return []
    wanted = [value for value in inputs.values() if value.requires_grad]
    try:
        return [
            g for g in torch.autograd.grad(found.sum(), wanted, allow_unused=True) if g is not None
        ]
    except RuntimeError as error:  # floor_divide: PyTorch has none
        assert "not implemented" in str(error)
        return []


@rows
def test_autograd_has_no_gradient_or_zero(row: Rule) -> None:
    assert row.tests and row.constant and not row.backward and not row.why.endswith(".")
    for trial in trials_of(row):
        assert not any(g.count_nonzero() for g in slopes(trial)), trial


def test_a_row_with_a_slope_is_no_constant() -> None:
    assert any(g.count_nonzero() for g in slopes(Trial.parse("sin", "torch.sin(a) where a: 3")))


@rows
def test_each_text_uses_its_row_and_stops_the_gradient(row: Rule) -> None:
    for trial in trials_of(row):
        if row in FACTS or not isinstance(outcome(trial)[0], torch.Tensor):
            assert not isinstance(outcome(trial)[0], torch.Tensor)
            continue
        source = trial.source.replace("return ", "y = ").rstrip()
        names = [given.name for given in trial.inputs] or ["a"]
        source = source.replace("forward()", "forward(a)") + f"\n    return y + {names[0]}.sum()\n"
        drawn = trial.draw(0) or {"a": torch.ones(3)}
        try:
            program = read(source, drawn, book=BOOK)
        except ReadError as error:
            assert "has no gradient" in str(error), trial  # `a // b` is refused where it matters
            continue
        exprs = [e for line in program.lines for e in line.expr.walk()]
        found = [e for e in exprs if (site := BOOK.find(e)) is not None and site.rule is row]
        assert found and not any(e.differentiable for e in found), trial
        assert all(e.random == row.random for e in found), trial


@rows
def test_every_spelling_is_a_function_of_torch(row: Rule) -> None:
    for text in row.spellings:
        callee = Spelling.parse(text).callee
        if not callee[0].isalpha():
            continue  # an operator
        owner, _, name = callee.partition(".")
        there = hasattr(torch.Tensor, name) if owner == "Tensor" else find(callee) is not None
        assert there, text
