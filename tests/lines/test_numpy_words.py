"""PyTorch's words in NumPy's: each expression has, in NumPy, the values that it has in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradninja.lines.ndarray import said
from gradninja.lines.ndarray.phrases import Unsayable

SAME = [
    "torch.zeros(2, 3)",
    "torch.ones((3, 2), dtype=torch.float64)",
    "torch.zeros(x.shape)",
    "torch.full((2, 3), 1.5)",
    "torch.eye(3)",
    "torch.arange(1, 9, 2)",
    "torch.linspace(0, 1, 5)",
    "torch.tensor([[1.0, 2.0], [3.0, 4.0]])",
    "torch.as_tensor(x)",
    "torch.zeros_like(x) + x.new_zeros(2, 3, 4)",
    "F.pad(x, (1, 2))",
    "F.pad(x, (0, 1, 2, 3))",
    "F.pad(x, (1, 0, 2, 3, 1, 1), value=2.5)",
    "F.pad(x, (-1, 0))",
    "F.pad(x, (0, -2, -1, -1))",
    "x.flatten()",
    "x.flatten(1)",
    "x.flatten(0, 1)",
    "x.flatten(1, -1)",
    "x.select(1, 2)",
    "x.select(-1, 0)",
    "x.narrow(2, 1, 2)",
    "x.narrow(-2, 0, 1)",
    "x.permute(2, 0, 1)",
    "x.flip(0)",
    "torch.flip(x, (0, 2))",
    "x[:, :1].expand(2, 3, 4)",
    "x.to(torch.float32)",
    "F.softmax(x, 1)",
    "torch.softmax(x, dim=-1)",
    "x.sum(1, keepdim=True)",
    "x.var(2, unbiased=False)",
    "x.std(0)",
    "x.amax((0, 2))",
    "torch.cat([x, x], dim=1)",
    "torch.maximum(x, x.flip(0))",
]


@pytest.mark.parametrize("text", SAME)
def test_it_is_the_same_in_numpy(text: str) -> None:
    values = np.random.default_rng(0).standard_normal((2, 3, 4))
    true = eval(text, {"torch": torch, "F": F, "x": torch.from_numpy(values)})
    written = said(text)
    found = eval(written, {"np": np, "x": values})
    assert "torch" not in written and isinstance(found, np.ndarray)
    assert found.shape == tuple(true.shape), written
    np.testing.assert_allclose(found, true.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "F.pad(x, (1, 2), 'reflect')",
        "F.pad(x, (1, 2), mode='circular')",
        "F.pad(x, widths)",
        "F.pad(x, (1, -1))",
        "x.zeros(3)",
        "x.expand(-1, 3, 4)",
    ],
)
def test_what_numpy_has_no_words_for_is_no_word_of_numpys(text: str) -> None:
    with pytest.raises(Unsayable):
        said(text)
