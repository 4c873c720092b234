"""The counter of full-size operations, on code whose counts are plain to see."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from counting import count, elements

N, D = 20, 22
FULL = N * D
x, w = torch.randn(N, D), torch.randn(D)
y = torch.randint(0, N, (N,))
heads = torch.randn(2, 3, 20, 22)


def in_place() -> None:
    dlogits = x.softmax(1).clone()
    dlogits[range(N), y] -= 1
    dlogits /= N


# What runs, the operations on full-size arrays, the elements that are moved by all.
CASES: list[tuple[Callable[[], object], list[str], int]] = [
    (lambda: x * 2 + 1, ["mul", "add"], 4 * FULL),
    (lambda: x * w, ["mul"], 2 * FULL + D),
    (lambda: x.sum(0), ["sum"], FULL + D),
    (lambda: w * w + 1, [], 5 * D),
    (lambda: x.T.view(-1)[3:].unsqueeze(0) if x.T.is_contiguous() else x.T, [], 0),
    (lambda: x.T.contiguous(), ["clone"], 2 * FULL),
    (lambda: x.contiguous(), [], 0),
    (lambda: w.expand(N, D) * x, ["mul"], 2 * FULL + D),
    (lambda: w.expand(N, D).sum(1), [], D + N),
    (lambda: x @ x.T, ["mm"], 2 * FULL + N * N),
    (lambda: heads @ heads.mT, ["bmm"], 6 * (2 * FULL + N * N)),
    (lambda: torch.einsum("nd,nd->n", x, x), ["bmm"], 2 * FULL + N),
    (lambda: x[range(N), y], [], 3 * N),
    (lambda: x.gather(1, y[:, None]), [], 2 * N),
    (lambda: torch.zeros_like(x).scatter_(1, y[:, None], 1.0), ["zeros_like"], FULL + N),
    (lambda: torch.zeros_like(x).index_add_(0, y, x), ["zeros_like", "index_add_"], 2 * FULL + N),
    (lambda: x - F.one_hot(y, D), ["zeros", "sub"], 4 * FULL + N + N + 2),
    (in_place, ["_softmax", "clone", "div_"], 6 * FULL + 8 * N),
    (lambda: F.gelu(x), ["gelu"], 2 * FULL),
    (lambda: torch.empty_like(x), [], 0),
    (lambda: x.clone().add_(1).mul_(x), ["clone", "add_", "mul_"], 7 * FULL),
    (lambda: x.clone().T.add_(1), ["clone", "add_"], 4 * FULL),
]


@pytest.mark.parametrize(("run", "full_size", "moved"), CASES)
def test_what_is_counted(run: Callable[[], object], full_size: list[str], moved: int) -> None:
    counted = count(run)
    of = 6 * FULL if "bmm" in full_size and moved > 9 * FULL else FULL
    assert counted.full_size(of) == full_size
    assert counted.traffic == moved


def test_an_expanded_axis_is_one_element_long() -> None:
    assert elements(w.expand(N, D)) == D
    assert elements(torch.zeros(()).expand(N, D)) == 1
    assert elements(x.T) == FULL
    assert elements(torch.zeros(0, 3)) == 0


def test_full_size_is_more_than_a_quarter() -> None:
    assert count(lambda: x + 1).full_size(4 * FULL) == []
    assert count(lambda: x + 1).full_size(4 * FULL - 1) == ["add"]
