"""docs/mistakes/: each wrong line is the mistake that it stands for, each right one is right."""

from __future__ import annotations

import re

import pytest
from test_attempts import ATTEMPTS, PEAK

from gradninja.learn.workbook.chapters import LECTURE, Chapter
from gradninja.learn.workbook.exercise import Exercise, exercise
from paths import ROOT

FOLDER = ROOT / "docs" / "mistakes"
LINES = re.compile(r"# (.+)\n\n.+\n\n- of: `(.+)`\n- wrong: `(.+)`\n- right: `(.+)`\n")
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}
TOLD = [found.groups() for text in PAGES.values() if (found := LINES.match(text))]


def test_each_kind_has_its_page_with_a_picture() -> None:
    kinds = {kind for kind, _, _ in ATTEMPTS}
    assert PAGES.keys() == {kind.name.lower().replace("_", "-") for kind in kinds}
    assert {kind for kind, *_ in TOLD} == {str(kind) for kind in kinds}
    assert all("\n\n    " in text for text in PAGES.values())


def test_the_table_leads_to_each_page() -> None:
    table = FOLDER.with_suffix(".md").read_text(encoding="utf-8")
    left = dict(PAGES)
    for kind, path in re.findall(r"^\| \[(.+)\]\(mistakes/(.+)\.md\) \|", table, re.M):
        assert left.pop(path).startswith(f"# {kind}\n")
    assert not left


@pytest.mark.parametrize(("kind", "of", "wrong", "right"), TOLD, ids=lambda text: text[:20])
def test_a_page_s_lines_are_what_they_are_said_to_be(
    kind: str, of: str, wrong: str, right: str
) -> None:
    found = exercise("exercise-1")
    if kind == "max ties":  # the lecture's own maximum takes itself away again
        head, _, _ = LECTURE.forward.partition("logits = h @ W2")
        found = Exercise(Chapter("ties", "", "", LECTURE.setup, head + PEAK.lstrip()))
    assert found.judge(of, right)["verdict"] == "right"
    told = found.judge(of, wrong)
    assert told["verdict"] != "right"
    assert told["kind"] == kind
