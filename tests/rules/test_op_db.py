"""PyTorch's own sample inputs for every op of the rule book: right in float64, or refused by us."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

import gradninja as gn
from catalogue import autograd, call, cotangents, differences
from gradninja.errors import GradninjaError
from op_db_samples import WAYS, Sample, entries, samples

# What PyTorch thinks of a deprecated spelling or of few elements is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")

# Names in the rule book of which PyTorch keeps no sample that can be written as text, or hundreds
# for what another name has already been tried on (max_pool3d).
NO_SAMPLES = frozenset(
    """
    to type type_as nn.functional.fold nn.functional.rrelu special.polygamma
    nn.utils.rnn.pad_sequence chain_matmul slogdet linalg.pinv
    as_tensor nn.functional.dropout1d nn.functional.dropout
    segment_reduce nn.functional.affine_grid nn.functional.max_pool3d special.zeta
    """.split()
)

# How many of the samples of an op (and its variant) we refuse, and why. Refusals cannot grow
# unseen: every number here is exact, and what is not here is refused nowhere.
REFUSALS: dict[str, int] = {
    # rounding: the gradient is zero wherever it exists
    "div.trunc_rounding": 9,
    "div.floor_rounding": 9,
    "divide.trunc_rounding": 9,
    "divide.floor_rounding": 9,
    # running statistics are changed in place
    "nn.functional.batch_norm": 5,
    "nn.functional.batch_norm.without_cudnn": 5,
    "nn.functional.instance_norm": 8,
    # padding that is uneven, or less than nothing
    "nn.functional.pad.circular": 1,
    "conv2d": 2,
    "conv3d": 4,
    "conv_transpose2d": 2,
    "nn.functional.conv2d": 2,
    "nn.functional.conv3d": 4,
    "nn.functional.conv_transpose2d": 2,
    # norms of matrices and of odd powers
    "linalg.norm": 36,
    "linalg.norm.subgradients_at_zero": 28,
    "norm.nuc": 2,
    "nn.functional.normalize": 5,
    "nn.functional.pairwise_distance": 1,
    # dropout inside
    "nn.functional.alpha_dropout": 6,
    "nn.functional.dropout2d": 5,
    "nn.functional.dropout3d": 5,
    "nn.functional.feature_alpha_dropout.with_train": 4,
    "nn.functional.scaled_dot_product_attention": 12,
    # factors and solutions beyond the matrix's own rank; powers below 1
    "linalg.svd": 72,
    "linalg.lstsq": 12,
    "linalg.lstsq.grad_oriented": 12,
    "linalg.qr": 12,
    # triangular factors of what is not square; solutions from the right, or of what is turned
    "linalg.lu": 16,
    "linalg.lu_factor": 16,
    "linalg.lu_solve": 243,
    "lu_unpack": 16,
    "linalg.matrix_power": 9,
    "matrix_power": 9,
    # more differences in turn than the axis is long
    "diff": 12,
    # the angle of a real number is a step
    "angle": 1,
    # weights, several quantiles at once, products, distances of other powers, sparse tables
    "cov": 27,
    "dist": 25,
    "nn.functional.embedding_bag": 32,
    "nn.functional.triplet_margin_loss": 1,
    "quantile": 46,
    "scatter_reduce.prod": 22,
    "trapezoid": 1,
    "trapz": 1,
    # the terms that `full=True` adds, variances of another rank
    "nn.functional.gaussian_nll_loss": 108,
    "nn.functional.poisson_nll_loss": 36,
    # places beside the values
    "nn.functional.adaptive_max_pool1d": 4,
    "nn.functional.adaptive_max_pool2d": 12,
    # several tensors at once
    "atleast_1d": 1,
    "atleast_2d": 1,
    "atleast_3d": 1,
    # forms that nobody writes: negative indices, no axis at all
    "cross": 1,
    "cumprod": 1,
    "cumsum": 1,
    "index_fill": 3,
    "nn.functional.cosine_similarity": 1,
    "permute": 1,
    "repeat_interleave": 1,
    "take_along_dim": 1,
}


def _label(name: str, op: Any) -> str:
    return f"{name}.{op.variant_test_name}".rstrip(".")


def _labels(name: str) -> set[str]:
    return {_label(name, op) for op in entries().get(name, [])}


def judge(sample: Sample, seed: int) -> str:
    """The word "right" or "refused", or what is wrong."""
    scope: dict[str, Any] = {"torch": torch, "F": torch.nn.functional}
    exec(sample.text, scope)
    truth, grads = autograd(
        scope["forward"], sample.inputs, lambda out: cotangents(out, seed, "gapped"), sample.wrt
    )
    try:
        back = gn.derive(sample.text, inputs=sample.inputs, wrt=sample.wrt)
        got = call(back, sample.inputs, grads)
    except GradninjaError as error:
        return "wrong: " + error.message if "not autograd's" in error.message else "refused"
    except Exception as error:
        return f"wrong: crash, {type(error).__name__}: {error}"
    wrong = differences(got, truth, tolerance=1e-9)
    return "wrong: " + "; ".join(wrong) if wrong else "right"


@pytest.mark.parametrize("name", sorted(set(WAYS) - NO_SAMPLES))
def test_samples(name: str, record_property: Any) -> None:
    """Every sample right, or refused as often as said above."""
    tried = 0
    for op in entries().get(name, []):
        if not op.supports_autograd:
            continue
        count: Counter[str] = Counter()
        wrong = []
        for seed, sample in enumerate(samples(op, WAYS[name], name)):
            verdict = judge(sample, seed)
            count[verdict.partition(":")[0]] += 1
            if verdict.startswith("wrong"):
                shapes = {key: (t.dtype, *t.shape) for key, t in sample.inputs.items()}
                wrong.append(f"{sample.text}{shapes}\n{verdict}")
        label = _label(name, op)
        record_property("op_db", (label, count["right"], count["refused"]))
        assert not wrong, "\n\n".join(wrong)
        assert count["refused"] == REFUSALS.get(label, 0), f"{label}: {dict(count)}"
        tried += count["right"] + count["refused"]
    assert tried, "PyTorch keeps no samples of this: it belongs into NO_SAMPLES"


def test_every_refusal_is_of_an_op_that_there_is() -> None:
    assert not set(REFUSALS) - {label for name in WAYS for label in _labels(name)}


def test_a_wrong_gradient_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge above must tell wrong from right: a backward that is twice too large."""
    sample = next(samples(entries()["tanh"][0], {"torch"}))
    assert judge(sample, 0) == "right"
    call = gn.Backward.__call__
    monkeypatch.setattr(
        gn.Backward,
        "__call__",
        lambda self, *given: {name: 2 * grad for name, grad in call(self, *given).items()},
    )
    assert judge(sample, 0).startswith("wrong: dx0: off by")
