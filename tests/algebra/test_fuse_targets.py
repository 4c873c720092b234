"""The references of the fusing targets are right, and their operations are counted rightly."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import gradninja as gn
from catalogue import autograd, cotangents, differences
from full_size import count, largest
from fuse_targets import Target, collect

# What PyTorch thinks of a deprecated spelling is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")

TARGETS = collect()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_references_are_right(target: Target) -> None:
    back = gn.derive(target.function, wrt=target.wanted)
    for seed in (1, 2):
        inputs = target.draw(seed=seed)
        truth, grads = autograd(
            target.function,
            inputs,
            lambda outputs, seed=seed: (
                [torch.ones_like(outputs[0])]
                if back.scalar
                else cotangents(outputs, 100 + seed, "plain")
            ),
            target.wanted,
        )
        values = {**back.forward_values(inputs), **dict(zip(back.cotangents, grads, strict=True))}
        assert not differences(target.reference(values), truth, 1e-13, share=1e-6)


def test_a_wrong_reference_is_seen() -> None:
    target = next(t for t in TARGETS if t.name == "normalisation.batchnorm_unbiased")
    inputs = target.draw()
    truth, grads = autograd(target.function, inputs, lambda o: cotangents(o, 101, "plain"))
    values = gn.derive(target.function).forward_values(inputs)
    values |= {"dhpreact": grads[0]}
    assert not differences(target.reference(values), truth, 1e-13)
    assert differences(target.reference({**values, "n": values["n"] + 1}), truth, 1e-13)


def test_full_size_operations_are_counted() -> None:
    x, row, Yb = torch.randn(6, 5), torch.randn(5), torch.tensor([0, 1, 2, 3, 4, 4])
    values = {"x": x, "row": row, "Yb": Yb}
    assert largest(values) == 30

    def operations(function: object) -> int:
        return len(count(function, values, 30))

    assert operations(lambda x, row: (x * row + 1).sum(0) * row) == 3
    assert operations(lambda x: x.T.reshape(5, 6)[:, None].expand(5, 6, 6).mT) == 0
    assert operations(lambda x: x.T.reshape(30)) == 1  # a copy
    assert operations(lambda x, row: x @ row) == 1
    assert operations(lambda row: row[:, None] * row.expand(6, 5).T) == 1  # by what it writes
    assert operations(lambda row: (row * 2).sum()) == 0
    assert operations(lambda x, Yb: (F.softmax(x, 1) - F.one_hot(Yb, 5)) / 6) == 4

    def in_place(x: Tensor, Yb: Tensor) -> None:
        g = F.softmax(x, 1)
        g[range(6), Yb] -= 1
        g /= 6

    assert operations(in_place) == 2
    assert operations(lambda x, Yb: torch.zeros_like(x).index_add_(0, Yb, x)) == 2
    assert operations(lambda x, Yb: x[Yb]) == 1
    assert operations(lambda x, Yb: x[Yb, Yb]) == 0
