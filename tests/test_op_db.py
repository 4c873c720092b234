"""PyTorch's own sample inputs for every op of the rule book: right in float64, or refused by us."""

from __future__ import annotations

import ast
from collections import Counter
from typing import Any

import pytest
import torch

import gradninja as gn
from catalogue import autograd, call, cotangents, differences
from gradninja.errors import GradninjaError
from gradninja.rules import BOOK
from op_db_samples import Sample, entries, op_names, samples

MOST_SAMPLES = 20  # of one op, the first ones

# Names in the rule book that PyTorch keeps no samples of.
NO_SAMPLES: frozenset[str] = frozenset()
# How many of the samples of an op (and its variant) we refuse, and why. Refusals cannot grow
# unseen: every number here is exact, and what is not here is refused nowhere.
REFUSALS: dict[str, int] = {}


def _way(spelling: str) -> str:
    node = ast.parse(spelling, mode="eval").body
    if isinstance(node, ast.BinOp):
        return ast.unparse(node).split()[1]
    if isinstance(node, ast.Attribute):
        return "attribute"
    if isinstance(node, ast.Call):
        owner = ast.unparse(node.func).partition(".")[0]
        return owner if owner in {"torch", "F"} else "method"
    return "operator"


def _ways() -> dict[str, set[str]]:
    """Name in op_db -> the ways in which the book spells it."""
    found: dict[str, set[str]] = {}
    for row in BOOK:
        for spelling in row.spellings:
            for name in op_names(spelling):
                found.setdefault(name, set()).add(_way(spelling))
    return found


WAYS = _ways()


def _label(name: str, op: Any) -> str:
    return f"{name}.{op.variant_test_name}".rstrip(".")


def _labels(name: str) -> set[str]:
    return {_label(name, op) for op in entries().get(name, [])}


def judge(sample: Sample, seed: int) -> str:
    """ "right", "refused", "no gradient", or what is wrong, in words."""
    scope: dict[str, Any] = {"torch": torch, "F": torch.nn.functional}
    exec(sample.text, scope)
    truth, grads = autograd(
        scope["forward"], sample.inputs, lambda out: cotangents(out, seed, "gapped")
    )
    try:
        back = gn.derive(sample.text, inputs=sample.inputs)
        got = call(back, sample.inputs, grads)
    except GradninjaError as error:
        return "wrong: " + error.message if "not autograd's" in error.message else "refused"
    except Exception as error:
        return f"wrong: crash, {type(error).__name__}: {error}"
    wrong = differences(got, truth, tolerance=1e-9)
    return "wrong: " + "; ".join(wrong) if wrong else "right"


@pytest.mark.parametrize("name", sorted(WAYS))
def test_samples(name: str, record_property: Any) -> None:
    """Every sample right or refused; an op refused as a whole is named above."""
    found = entries().get(name, [])
    assert bool(found) != (name in NO_SAMPLES)
    for op in found:
        if not op.supports_autograd:
            continue
        count: Counter[str] = Counter()
        wrong = []
        for seed, sample in enumerate(samples(op, WAYS[name], MOST_SAMPLES)):
            verdict = judge(sample, seed)
            count[verdict.partition(":")[0]] += 1
            if verdict.startswith("wrong"):
                shapes = {key: (t.dtype, *t.shape) for key, t in sample.inputs.items()}
                wrong.append(f"{sample.text}{shapes}\n{verdict}")
        label = _label(name, op)
        record_property("op_db", (label, count["right"], count["refused"]))
        assert not wrong, "\n\n".join(wrong)
        assert count["right"] + count["refused"] > 0, f"{label}: no sample is written so"
        assert count["refused"] == REFUSALS.get(label, 0), f"{label}: {dict(count)}"


def test_every_refusal_is_of_an_op_that_there_is() -> None:
    assert not set(REFUSALS) - {label for name in WAYS for label in _labels(name)}


def test_a_wrong_gradient_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge above must tell wrong from right: a backward that is twice too large."""
    sample = next(samples(entries()["tanh"][0], {"torch"}, 1))
    assert judge(sample, 0) == "right"
    call = gn.Backward.__call__
    monkeypatch.setattr(
        gn.Backward,
        "__call__",
        lambda self, *given: {name: 2 * grad for name, grad in call(self, *given).items()},
    )
    assert judge(sample, 0).startswith("wrong: dx0: off by")
