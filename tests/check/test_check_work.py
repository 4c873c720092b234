"""A report depends on the file alone: not on the machine, nor on how busy it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from gradninja.check import check
from gradninja.check.diagnosis.work import EACH, Allowance, runs_of
from gradninja.models import load

RIGHT = load("bigram").text
LATE = RIGHT.replace("logprobs.exp() * dlogsum", "dlogprobs.exp() * logprobs")  # many come first
HOPELESS = RIGHT.replace("logprobs.exp() * dlogsum", "logprobs.cos() * (dlogprobs + 3).sum(0)")


def clock(step: float) -> Callable[[], float]:
    """One by which so many seconds go by from each look at it to the next."""
    looks = count()
    return lambda: step * next(looks)


def test_a_slow_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LATE != RIGHT
    report = check(LATE)
    (row,) = report.wrong
    assert row.fix == "dlogits += logprobs.exp() * dlogsum"
    monkeypatch.setattr(time, "process_time", clock(step=0.02))
    assert check(LATE).to_dict() == report.to_dict()
    assert report.notes == ()


def test_the_last_resort_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert HOPELESS != RIGHT
    monkeypatch.setattr(time, "process_time", clock(step=50.0))
    report = check(HOPELESS)
    (row,) = report.wrong
    assert (row.name, row.kind) == ("dlogits", "unknown")
    (note,) = report.notes
    assert "given up after 40 s" in note


def test_the_work_of_a_search_is_bounded() -> None:
    whole = Allowance(runs=10)
    part = whole.part(4)
    assert [part.spend(1) for _ in range(5)] == [True] * 4 + [False]
    assert [whole.part(EACH).spend(1) for _ in range(6)] == [True] * 5 + [False]
    assert not whole.out_of_time


def test_what_large_tensors_cost_counts() -> None:
    small, large = torch.ones(3, 3), torch.ones(300, 300)
    assert 1 < runs_of(lambda: small @ small) < 1.1
    assert runs_of(lambda: large @ large) > 5  # 54 million operations
    assert runs_of(lambda: [small + small for _ in range(400)]) > 2


DRAWS = """
import random
import numpy as np
import torch

c = np.random.randn() + random.random()

def forward(x, w):
    return (x * w * c).sum()

def backward(x, w):
    return x * c, x * c

def inputs():
    return {"x": torch.randn(3), "w": torch.tensor(np.random.randn(3))}
"""


def test_what_a_file_draws_is_the_same_each_time(tmp_path: Path) -> None:
    """Whatever was drawn before; and what the person draws goes on as if nothing had been."""
    file = tmp_path / "draws.py"
    file.write_text(DRAWS)
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.randn(2), np.random.randn(2)
    said = set()
    for seed in (5, 6):
        torch.manual_seed(seed)
        np.random.seed(seed)
        said.add(str(check(file)))
    assert len(said) == 1
    torch.manual_seed(5)
    np.random.seed(5)
    check(file)
    assert torch.equal(torch.randn(2), expected[0]) and (np.random.randn(2) == expected[1]).all()
