"""Collectives in a compiled step: calls between its loops. Ranks are threads here."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch

from gradninja.errors import RunError
from gradninja.native import Kernel, compile_training
from gradninja.ranks.simulate import Collectives, Group, Meeting

TEXT = """
import torch.distributed._functional_collectives as fc


def step(A, B, Xb, Yb, data):
    a, b = A[Xb], B.T[Xb]
    total = fc.all_reduce((a * a).sum(0), "sum", data)
    most = fc.all_reduce(a.amax(0).T, "max", data)
    least, ones = fc.all_reduce_coalesced([b.amin(0).T, b.amin()], "min", data)
    rows = fc.all_gather_tensor(a.tanh(), 0, data)
    columns = fc.all_gather_tensor(b, 2, data)
    mine = fc.reduce_scatter_tensor(a.sum(0).T, "sum", 1, data)
    loss = fc.all_reduce(mine.exp().sum(), "sum", data)
    dA = total.sum() + most.sum() * A + rows.sum(0).sum(0)
    dB = least.mean() + ones + (columns[:, :, 1:].sum() - columns.sum(1).amax()) * B
    return locals()
"""
STREAM = np.array([1, 2, 0, 2, 1, 1, 0, 2, 2, 0, 1, 2], np.uint8)
RANKS, BATCH, STEPS = 2, 4, 3
POSITIONS = np.arange(STEPS * BATCH).reshape(STEPS, BATCH)[:, ::-1]
RATE = 1e-3


def parameters() -> dict[str, np.ndarray[Any, Any]]:
    drawn = np.random.default_rng(3)
    return {name: drawn.normal(size=(3, 3)).astype(np.float32) for name in "AB"}


def kernel(functions: Any, group: Any, context: int = 2) -> Kernel:
    share = BATCH // RANKS
    batch = {"Xb": np.zeros((share, context), np.int64), "Yb": np.zeros(share, np.int64)}
    values = {**parameters(), **batch, "data": group}
    return compile_training(TEXT, values, ("A", "B"), collectives=functions, ranks=RANKS)


def truth() -> tuple[dict[str, np.ndarray[Any, Any]], list[float]]:
    """The same steps on the whole batch, in PyTorch's words."""
    held = {name: torch.from_numpy(value) for name, value in parameters().items()}
    losses = []
    for row in POSITIONS:
        A, B = held["A"].clone(), held["B"].clone()
        Xb = torch.zeros(BATCH, 2, dtype=torch.int64)
        for example, position in enumerate(row.tolist()):
            for back in (1, 2):
                if position < back or STREAM[position - back] == 0:
                    break
                Xb[example, -back] = int(STREAM[position - back])
        a, b = A[Xb], B.T[Xb]
        losses.append(a.sum(0).exp().sum().item())
        columns = torch.cat(b.chunk(RANKS), 2)
        held["A"] -= RATE * ((a * a).sum() + a.amax(0).sum() * A + a.tanh().sum((0, 1)))
        slope = columns[:, :, 1:].sum() - columns.sum(1).amax()
        held["B"] -= RATE * (b.amin(0).mean() + b.amin() + slope * B)
    return {name: value.numpy() for name, value in held.items()}, losses


def test_each_rank_has_what_the_whole_batch_gives() -> None:
    meeting = Meeting(range(RANKS), patience=30)
    ends = [parameters() for _ in range(RANKS)]
    losses = np.zeros((RANKS, STEPS), np.float32)

    def rank_main(rank: int) -> None:
        made = kernel(Collectives, Group(meeting, rank, lambda call, tensor: None))
        share = POSITIONS[:, rank * 2 : rank * 2 + 2]
        made.run(ends[rank], STREAM, share, np.full(STEPS, RATE), losses[rank])

    threads = [threading.Thread(target=rank_main, args=(rank,)) for rank in range(RANKS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    weights, expected = truth()
    for rank in range(RANKS):
        np.testing.assert_allclose(losses[rank], expected, rtol=1e-5)
        for name, value in weights.items():
            np.testing.assert_allclose(ends[rank][name], value, rtol=2e-5, atol=1e-6)


class Lost:
    """A rank's collectives where the others have gone."""

    def all_reduce(self, tensor: torch.Tensor, op: str, group: object) -> torch.Tensor:
        raise RunError(f"rank {group} waits")


def test_what_a_collective_raises_goes_through_the_compiled_code() -> None:
    made = kernel(Lost(), 7)
    before = parameters()
    with pytest.raises(RunError, match="rank 7 waits"):
        made.run(before, STREAM, POSITIONS[:, :2], np.full(STEPS, RATE), np.zeros(STEPS))
    assert np.array_equal(before["A"], parameters()["A"])
