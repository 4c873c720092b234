"""A fused backward explained: the steps of the algebra under the lines that they led to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_explain import Page

import gradninja as gn
from calling import call
from gradninja.explain.latex import latex
from gradninja.explain.latex_steps import formula

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
    assert "$$" not in told  # GitHub reads it as Markdown before it is set as a formula
    shown = told._repr_markdown_()
    assert shown.count("$$") == 2 * told.count("```math") > 0 and "```math" not in shown
    for step in fused.steps:
        if formula(step) is not None:
            assert f"   ```math\n   {step.latex}\n   ```" in told
            assert f"   $$\n   {step.latex}\n   $$" in shown
            assert step.latex.count("{") == step.latex.count("}")
    assert "operatorname" not in told + gn.explain(gn.derive(BATCHNORM), "markdown")


def test_a_step_s_formula_says_what_its_latex_says(fused: gn.Fused) -> None:
    read = [latex(found) for step in fused.steps if (found := formula(step)) is not None]
    said = [step.latex for step in fused.steps if formula(step) is not None]
    assert len(read) > 8
    for one, other in zip(read, said, strict=True):
        letters = [re.sub(r"\\(mathrm|mathit|text)|[\s{}\\,]", "", text) for text in (one, other)]
        assert letters[0] == letters[1]


def test_the_page_is_well_formed_with_rules_and_algebra_in_lists_of_their_own(
    fused: gn.Fused,
) -> None:
    told = gn.explain(fused, "html")
    page = Page()
    page.feed(told)
    assert page.open == [] and page.fetched == []
    algebra = re.findall(r'<ol class="algebra">(.*?)</ol>', told)
    rules = re.findall(r'<ul class="why">(.*?)</ul>', told)
    assert any("<munder>" in part for part in algebra) and not any("<math" in p for p in rules)
    assert "folds back into bnraw" in "".join(algebra) and "folds" not in "".join(rules)


def test_the_walk_comes_before_the_graph_and_is_said_to_be_read_first(fused: gn.Fused) -> None:
    told = gn.explain(fused, "html")
    assert told.index('class="walk"') < told.index('class="graph"')
    for view in ("text", "markdown", "html"):
        assert "Read first how line 11 is answered" in gn.explain(fused, view)


def test_inputs_in_the_view_s_place_are_told(fused: gn.Fused) -> None:
    with pytest.raises(gn.GradninjaError, match="the second argument is the view"):
        gn.explain(BATCHNORM, {"n": 3})  # type: ignore[arg-type]


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
