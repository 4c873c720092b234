"""A gate is mended by a gate, and a value in the place of its reciprocal is named."""

from __future__ import annotations

import pytest
from test_check_diagnosis_words import HEADER, only

from gradninja.check.diagnosis import Kind

GATED = (
    HEADER
    + """def forward(
    x: Float[Tensor, "n d"], W: Float[Tensor, "d k"], V: Float[Tensor, "k m"]
):
    z = x @ W
    h = z.{gate}()
    y = h @ V
    return y


def backward(x, W, V, {asked}, dy):
    dV = h.T @ dy
    dh = dy @ V.T
    dz = {dz}
    dx = dz @ W.T
    dW = x.T @ dz
"""
)


@pytest.mark.parametrize("dz", ["dh", "h * dh", "dh * h"])
@pytest.mark.parametrize("asked", ["h", "z, h"])
def test_a_gate_is_a_comparison_or_a_selection(dz: str, asked: str) -> None:
    row, _ = only(GATED.format(gate="relu", asked=asked, dz=dz))
    assert row.fix is not None and "sign" not in row.fix
    assert any(gate in row.fix for gate in ("(h > 0)", "(z > 0)", "masked_fill", "where"))


def test_a_magnitude_hands_on_a_sign() -> None:
    row, _ = only(GATED.format(gate="abs", asked="z, h", dz="dh"))
    assert row.fix is not None and "sign" in row.fix


LOGARITHM = (
    HEADER
    + """def forward(p: Float[Tensor, "n k"], q: Float[Tensor, "n k"]):
    e = p.exp()
    r = e.log()
    y = r * q
    return y


def backward(q, e, r, dy):
    dr = dy * q
    dq = dy * r
    de = {de}
    dp = de * e
"""
)


@pytest.mark.parametrize("de", ["e * dr", "dr @ torch.eye(dr.shape[1]) * e"])
def test_a_value_for_its_reciprocal_is_no_wrong_constant(de: str) -> None:
    row, found = only(LOGARITHM.format(de=de))
    assert found.kind in (Kind.RECIPROCAL, Kind.WRONG_OPERATOR)
    assert "**-1" not in (row.fix or "")


def test_a_value_for_its_reciprocal_is_named() -> None:
    row, found = only(LOGARITHM.format(de="e * dr"))
    assert (found.kind, row.fix) == (Kind.RECIPROCAL, "de = 1 / e * dr")
    assert found.text.startswith("`e` stands where its reciprocal `1 / e` belongs.")
