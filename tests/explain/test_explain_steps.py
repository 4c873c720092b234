"""A fused backward explained: the steps of the algebra under the lines that they led to."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_explain import Page

import gradninja as gn
from calling import call

BATCHNORM = """
def forward(
    hprebn: Float[Tensor, "n d"], bngain: Float[Tensor, "1 d"], bnbias: Float[Tensor, "1 d"]
):
    n = hprebn.shape[0]
    bnmeani = 1 / n * hprebn.sum(0, keepdim=True)
    bndiff = hprebn - bnmeani
    bnvar = 1 / (n - 1) * (bndiff**2).sum(0, keepdim=True)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = bndiff * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    return hpreact
"""
VANISHES = "the sum of bndiff over n is 0, so this term vanishes"


@pytest.fixture(scope="module")
def fused() -> gn.Fused:
    return gn.fuse(BATCHNORM)


@pytest.mark.parametrize("view", ["text", "markdown", "html"])
def test_every_view_tells_the_steps(view: str, fused: gn.Fused) -> None:
    told = gn.explain(fused, view)
    assert VANISHES in told and "folds back into bnraw" in told
    assert VANISHES not in gn.explain(gn.derive(BATCHNORM), view)


def test_markdown_has_the_steps_as_formulas(fused: gn.Fused) -> None:
    told = gn.explain(fused, "markdown")
    assert told.count("$$") % 2 == 0
    for step in fused.steps:
        if step.text not in {line.source for line in fused.lines}:
            assert f"   $$\n   {step.latex}\n   $$" in told
            assert step.latex.count("{") == step.latex.count("}")


def test_the_page_is_well_formed(fused: gn.Fused) -> None:
    page = Page()
    page.feed(gn.explain(fused, "html"))
    assert page.open == [] and page.fetched == []


def test_what_is_answered_in_one_go_is_not_said_to_have_no_gradient(fused: gn.Fused) -> None:
    rest = gn.explain(fused).partition("No gradient flows through these lines")[2]
    assert "n = hprebn.shape[0]" in rest
    assert "bndiff" not in rest and "bnvar" not in rest


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "norm.py"
    path.write_text("from jaxtyping import Float\nfrom torch import Tensor\n" + BATCHNORM)
    assert call("explain", str(path), "--steps") == 0
    assert VANISHES in capsys.readouterr().out
    assert call("explain", str(path)) == 0
    assert VANISHES not in capsys.readouterr().out
