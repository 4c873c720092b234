"""Loops over what has as many turns as a size: at another size autograd's numbers, or refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import gradninja as gn
from catalogue import autograd, differences
from gradninja.errors import DeriveError

LOOPS = (
    "for i, n in enumerate(range(x.shape[0])):\n        y = y + x[i] * n",
    "for i, n in enumerate(x.shape):\n        y = y + x[i] * n",
    "for a, b in zip(range(x.shape[0]), range(3)):\n        y = y + x[a] * b",
    "for i in reversed(range(x.shape[0])):\n        y = y * x[i] + i",
    "for row in x:\n        y = y * row",
    "for i, row in enumerate(x):\n        y = y + row * i",
    "for row, other in zip(x, x * 2):\n        y = y + row * other",
    "for row, scale in zip(x, (1.0, 2.0, 3.0)):\n        y = y + row * scale",
    "for row in reversed(list(x)):\n        y = y * row",
    "for i, (row, other) in enumerate(zip(x, x)):\n        y = y + row * other * i",
    "y = y + sum(row * i for i, row in enumerate(x))",
    "y = torch.stack([row * i for i, row in enumerate(x)])",
    "y = torch.stack([*x, y])",
)


@pytest.mark.parametrize("verb", [gn.derive, gn.fuse], ids=["derive", "fuse"])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_over_a_size_holds_for_that_size(loop: str, verb: Any) -> None:
    text = f"def forward(x):\n    y = x[0]\n    {loop}\n    return (y * y).sum()\n"
    scope = {"torch": torch}
    exec(text, scope)
    back = verb(text, {"x": torch.rand(3, 4)})
    for rows in (3, 2, 4, 5):
        inputs = {"x": torch.rand(rows, 4, dtype=torch.float64)}
        forward: Any = scope["forward"]
        try:
            got = back(inputs)
        except DeriveError:
            assert rows != 3
            continue
        truth, _ = autograd(forward, inputs, lambda out: [torch.ones_like(out[0])])
        assert not differences(got, truth), rows
