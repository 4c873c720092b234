"""The references that fusing is held to are themselves right, and as short as they say."""

from __future__ import annotations

import pytest
import torch

from catalogue import DISTINCT, EQUAL, OTHERS, autograd, cotangents, differences, outputs_of
from fuse_targets import Target, collect

TARGETS = collect()
targets = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@targets
@pytest.mark.parametrize(
    ("sizes", "layout"), [(DISTINCT, "plain"), (OTHERS, "gapped"), (EQUAL, "plain")]
)
def test_a_reference_is_autograd(target: Target, sizes: tuple[int, ...], layout: str) -> None:
    inputs = target.program.draw(sizes, 1)
    values = target.values(inputs)
    scalar = values[target.output].ndim == 0
    truth, grads = autograd(
        target.program.function,
        inputs,
        lambda out: [torch.ones_like(o) for o in out] if scalar else cotangents(out, 2, layout),
    )
    got = target.reference(values, None if scalar else grads[0])
    assert not differences(got, truth, 1e-13)
    assert torch.equal(values[target.output], outputs_of(target.program.function(**inputs))[0])
