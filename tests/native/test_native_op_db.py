"""PyTorch's own samples, lowered: right or refused, none wrong; what is no value to fix."""

from __future__ import annotations

import warnings
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradninja.errors import GradninjaError
from gradninja.native import compile
from gradninja.native.calls.given_arrays import arrays_of
from native_plain import lowered_forward, run
from op_db_samples import WAYS, Sample, entries, samples

MOST = 6  # samples of an op
TOLERANCE = 1e-9


def _outputs(sample: Sample) -> tuple[torch.Tensor, ...]:
    scope: dict[str, Any] = {"torch": torch, "F": F}
    exec(sample.text, scope)
    with torch.no_grad():
        found = scope["forward"](**sample.inputs)
    return found if isinstance(found, tuple) else (found,)


def _judge(sample: Sample) -> bool | None:
    """Whether it comes out right; None where it is refused."""
    arrays = {name: value.resolve_neg().numpy() for name, value in sample.inputs.items()}
    try:
        found = run(lowered_forward(sample.text, sample.inputs), arrays)
    except GradninjaError:
        return None
    except IndexError as error:  # an index from the end
        assert "is outside of" in str(error), sample.text
        return None
    for array, output in zip(found.values(), _outputs(sample), strict=True):
        true = output.numpy()
        size = np.abs(true[np.isfinite(true)]).max(initial=1)
        if not np.allclose(array, true, rtol=TOLERANCE, atol=TOLERANCE * size, equal_nan=True):
            return False
    return True


def test_pytorchs_samples() -> None:
    verdicts: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in WAYS:
            for op in entries().get(name, ()):
                torch.manual_seed(0)
                for sample in islice(samples(op, WAYS[name]), MOST):
                    verdicts[_judge(sample)].append(f"{name}: {sample.text}")
    assert not verdicts[False], "\n".join(verdicts[False])
    assert len(verdicts[True]) >= 1100  # the share falls with each row that is not compiled


# Of `i` and `s`, tensors, only elements may count. Where a size, an axis or a count is taken of
# them, what is compiled would hold for one value alone.
TAKEN = [
    "x[i].sum()", "torch.full((3,), s).sum() * x.sum()", "x.clamp(max=s).sum()",
    "torch.where(x > s, x, s).sum()", "x.masked_fill(x > 0, s).sum()",
    "torch.full_like(x, s).mul(x).sum()", "torch.lerp(x, x * x, s).sum()", "(x.abs() ** s).sum()",
    "(x**i).sum()", "x.gather(0, i.expand(1, 3)).sum()", "(x / i).sum()", "x.sum() * i.ndim",
]  # fmt: skip
REFUSED = [
    "x[:i].sum()", "x.narrow(0, i, 1).sum()", "x.roll(i).sum()", "x.expand(i, 4, 3).sum()",
    "x.repeat(i, 1).sum()", "torch.zeros(i, 2).sum() + x.sum()", "F.pad(x, (1, i)).sum()",
    "x.softmax(i).log().sum()", "x.cumsum(i).sum()", "x.flip(i).sum()", "x.var(i).sum()",
    "x.tril(i).sum()", "x.diagonal(i).sum()", "torch.topk(x, i).values.sum()",
    "x.std(correction=i)", "x.movedim(i, 0).sum()", "x.chunk(i)[0].sum()",
    "torch.arange(i).sum() * x.sum()", "F.one_hot(i, i + 1).sum() * x.sum()",
    "(x * torch.tensor(s)).sum()", "torch.add(x, x, alpha=s.detach()).sum()",
]  # fmt: skip


def _given(i: int, s: float) -> dict[str, torch.Tensor]:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).double()
    return {"x": x, "i": torch.tensor(i), "s": torch.tensor(s).double()}


@pytest.mark.parametrize("expression", TAKEN)
def test_elements_count_anew_with_each_call(expression: str) -> None:
    text = f"def forward(x, i, s):\n    return {expression}\n"
    made = compile(text).specialised(**_given(1, 0.7))
    other = _given(2, 0.9)
    scope: dict[str, Any] = {"torch": torch, "F": F}
    exec(text, scope)
    found = run(made, arrays_of(dict(other)))["loss"]
    np.testing.assert_allclose(found, scope["forward"](**other).numpy(), rtol=1e-12)


@pytest.mark.parametrize("expression", REFUSED)
def test_what_would_hold_for_one_value_alone_is_refused(expression: str) -> None:
    with warnings.catch_warnings(), pytest.raises(GradninjaError):
        warnings.simplefilter("ignore")
        compile(f"def forward(x, i, s):\n    return {expression}\n").specialised(**_given(1, 0.7))
