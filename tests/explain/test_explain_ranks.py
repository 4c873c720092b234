"""`gn.explain` of what is split: why each collective stands where it stands, and what it costs."""

from __future__ import annotations

from pathlib import Path

import pytest

import gradninja as gn
from calling import call
from gradninja.errors import DeriveError

TEXT = """
def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d k"]):
    h = x @ w
    m = h.sum(0, keepdim=True)
    c = (h - m).amax(0)
    loss = (c**2).sum()
    return loss
"""


def test_each_collective_says_why() -> None:
    told = gn.explain(gn.shard(TEXT, split={"n": "data"}))
    assert "n is split over data: each rank has its share of x" in told
    part = "each rank has a part of `m`, the ranks' sum is the whole (`m = h.sum(0, keepdim=True)`)"
    assert f"# {part}; needed by: `c = (h - m).amax(0)`" in told
    assert "each rank has the largest of its share" in told
    assert "needed by: the caller, who wants the whole of `dw`" in told
    assert "all_reduce over data: 1 * k numbers" in told or "1 * " in told


def test_other_views_are_refused() -> None:
    with pytest.raises(DeriveError, match="as text alone"):
        gn.explain(gn.shard(TEXT, split={"n": "data"}), "html")


def test_the_command_line(tmp_path: Path, capsys) -> None:
    file = tmp_path / "layer.py"
    file.write_text(TEXT)
    assert call("explain", str(file), "--split", "n=data") == 0
    assert "needed by: `c = (h - m).amax(0)`" in capsys.readouterr().out
