"""A report depends on the file alone: not on the machine, nor on how busy it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

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
