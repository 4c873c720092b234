"""The example's figures against what theory says of them."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from gradninja.data import load_words
from paths import ROOT

EXAMPLE = ROOT / "examples" / "bessel.py"


@pytest.fixture(scope="module")
def bessel() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bessel", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bessel"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["bessel"]


def test_the_average_variance_falls_short_by_the_factor(bessel):
    population = np.random.default_rng(5).exponential(size=999)  # far from normal
    found = bessel.shares(population, (2, 5, 16))
    assert [(share.n, share.correction) for share in found] == [
        (n, correction) for n in (2, 5, 16) for correction in (1, 0)
    ]
    for share in found:
        expected = 1.0 if share.correction == 1 else (share.n - 1) / share.n
        assert share.error < 0.01
        assert abs(share.mean - expected) < 4 * share.error


def test_statistics_are_averages_over_batches(bessel):
    names = bessel.Names(load_words())
    parameters = names.fitted(4, 1, 20, 0)
    by = {key: names.statistics(parameters, 4, key, 0) for key in (0, 1)}
    assert torch.equal(by[0]["bnmean"], by[1]["bnmean"])
    assert torch.allclose(by[0]["bnvar"], by[1]["bnvar"] * 3 / 4)
    # Bessel's average is the variance of the whole training set, up to the draw.
    values = {**parameters, "batches": [names.train[0]]}
    whole = names.model.call("calibrate", values)
    assert torch.allclose(by[1]["bnvar"], whole["bnvar"], rtol=0.1)
    assert torch.allclose(by[1]["bnmean"], whole["bnmean"], atol=0.1)


def test_the_mismatch_is_told_and_drawn(bessel, tmp_path):
    names = bessel.Names(load_words())
    paid = bessel.costs(names, (2, 32), steps=300, seeds=2)
    assert [(cost.n, cost.correction) for cost in paid] == [(2, 1), (2, 0), (32, 1), (32, 0)]
    # Half the variance at n = 2 is a large change, a 32nd less of it at n = 32 a small one.
    assert min(abs(cost.mean) for cost in paid[:2]) > max(abs(cost.mean) for cost in paid[2:])
    assert paid[0].mean > 0
    assert all(2 < cost.matched < 3.5 for cost in paid)
    found = bessel.shares(np.arange(10.0), (2, 32))
    assert "1/(n-1)" in bessel.report(found, paid)
    bessel.draw(found, paid, tmp_path / "bessel.png")
    assert (tmp_path / "bessel.png").read_bytes().startswith(b"\x89PNG")
