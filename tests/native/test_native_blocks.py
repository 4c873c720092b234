"""Memory of large results: taken again, and never while somebody holds it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from gradninja.native import compile
from gradninja.native.calls import blocks

SHAPE = (600, 500)  # more than a mebibyte of float32


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(blocks, "_blocks", [])


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_what_nobody_holds_is_taken_again() -> None:
    first = blocks.empty(SHAPE, "float32")
    address = _address(first)
    assert _address(blocks.empty(SHAPE, "float32")) != address
    del first
    assert address in {_address(blocks.empty(SHAPE, "float32")) for _ in range(2)}
    assert len(blocks._blocks) == 2


@pytest.mark.parametrize(
    "hold",
    [
        lambda a: a[3:5],
        lambda a: a.T,
        torch.from_numpy,
        lambda a: torch.from_numpy(a)[0],
        lambda a: torch.from_numpy(a).detach().view(-1)[7:9],
        memoryview,
    ],
)
def test_what_is_held_by_a_part_stays(hold) -> None:
    first = blocks.empty(SHAPE, "float32")
    first[:] = 7
    held = hold(first)
    del first
    for _ in range(3):
        blocks.empty(SHAPE, "float32")[:] = 1
    assert (np.asarray(held) == 7).all()


def test_threads_take_different_memory() -> None:
    found: list[np.ndarray] = []

    def take() -> None:
        for _ in range(20):
            found.append(blocks.empty(SHAPE, "float32"))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({_address(array) for array in found}) == 80


def test_no_more_is_held_than_is_said(monkeypatch) -> None:
    monkeypatch.setattr(blocks, "_MOST", 5 << 20)
    for size in range(300, 900, 50):
        blocks.empty((size, 1024), "float32")
    assert sum(block.nbytes for block in blocks._blocks) <= 5 << 20
    assert blocks.empty((4, 1 << 20), "float32").base is None  # as large as all of it


def test_results_of_a_call_outlive_the_next(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GRADNINJA_CACHE", str(tmp_path))
    step = compile("def forward(x):\n    loss = (x * x).sum()\n    return loss\n")
    x = torch.randn(SHAPE)
    first, kept = step(x=x)["dx"], []
    for factor in (2, 3, 4):
        kept.append(step(x=factor * x)["dx"])
        step(x=9 * x)
    assert torch.equal(first, 2 * x)
    for factor, dx in zip((2, 3, 4), kept, strict=True):
        assert torch.allclose(dx, 2 * factor * x)
