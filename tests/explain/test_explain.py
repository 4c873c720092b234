"""The views of a backward: complete, in order, well formed, and alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import gradninja as gn
from gradninja import models
from gradninja.explain.walkthrough import BROADCAST_TO_SUM, SUM_TO_BROADCAST
from paths import ROOT

FOLDER = ROOT / "tests" / "support" / "programs"
LECTURE = Path(models.__file__).parent / "mlp_batchnorm.py"
ODD = """\
def forward(x_1: Float[Tensor, "n d"], W_q2: Float[Tensor, "d k"], t: Float[Tensor, "k"]):
    x_1 = x_1 @ W_q2
    a, b = x_1.max(1)
    x_1 = torch.where(x_1 < 1, x_1 * t, x_1)
    return x_1, a, b
"""
FORWARDS = {
    "the lecture": LECTURE,
    "attention": f"{FOLDER / 'attention.py'}:attention",
    "a block of GPT": f"{FOLDER / 'attention.py'}:gpt_block",
    "odd names": ODD,
}
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Holds a page to tags that balance, and gathers what it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.fetched += [
            value
            for name, value in attrs
            if name in {"src", "href", "data"} and value and not value.startswith("#")
        ]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module", params=FORWARDS, ids=str)
def back(request: pytest.FixtureRequest) -> gn.Backward:
    return gn.derive(FORWARDS[request.param])


def in_order(needles: list[str], text: str) -> None:
    at = 0
    for needle in needles:
        found = text.find(needle, at)
        assert found >= 0, f"{needle!r} is missing, or out of order"
        at = found


def answered(back: gn.Backward) -> list[str]:
    return [line.source for line in back.lines]


def test_text_has_every_line_in_the_order_of_the_walk(back: gn.Backward) -> None:
    in_order(answered(back), gn.explain(back, "text"))


def test_markdown_has_every_line_and_whole_formulas(back: gn.Backward) -> None:
    text = gn.explain(back, "markdown")
    in_order(answered(back), text)
    formulas = re.findall(r"```math\n(.+?)\n```", text, re.DOTALL)
    assert len(formulas) >= len(back.lines)
    for formula in formulas:
        bare = formula.replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}"), formula
        assert formula.count(r"\left") == formula.count(r"\right"), formula
        assert "$" not in formula and "\n\n" not in formula
    for known in (SUM_TO_BROADCAST, BROADCAST_TO_SUM):
        assert text.count(f"**{known}**") == text.count(known) > 0


def test_html_is_whole_and_alone(back: gn.Backward) -> None:
    text = gn.explain(back, "html")
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    assert page.fetched == []
    assert "<script" not in text and "@import" not in text
    assert not re.search(r"https?://(?!www\.w3\.org/)", text)
    in_order(answered(back), "".join(page.text))


def test_a_notebook_shows_the_same(back: gn.Backward) -> None:
    page = Page()
    page.feed(back._repr_html_())
    assert page.open == []
    in_order(answered(back), "".join(page.text))


def test_what_was_broadcast_and_summed_is_named() -> None:
    text = gn.explain(LECTURE)
    assert re.search(r"dbnvar_inv \(1, hidden\) = sum over n of \(n, hidden\)", text)
    flat = " ".join(text.split())
    assert "a sum in the forward is a broadcast in the backward" in flat
    assert "a broadcast in the forward is a sum in the backward" in flat


def test_an_unknown_view_is_told() -> None:
    with pytest.raises(gn.GradninjaError, match="no view 'pdf'"):
        gn.explain(ODD, "pdf")
