"""docs/mistakes.md: each wrong line is the mistake that it stands for, each right one is right."""

from __future__ import annotations

import re

import pytest
from test_attempts import ATTEMPTS, PEAK

from gradninja.learn.workbook.chapters import LECTURE, Chapter
from gradninja.learn.workbook.exercise import Exercise, exercise
from paths import ROOT

PAGE = (ROOT / "docs" / "mistakes.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^## (.+)\n\n- of: `(.+)`\n- wrong: `(.+)`\n- right: `(.+)`$", re.M)
SECTIONS = SECTION.findall(PAGE)


def test_each_kind_has_its_section_with_a_picture() -> None:
    assert {kind for kind, *_ in SECTIONS} == {str(kind) for kind, _, _ in ATTEMPTS}
    assert all("\n\n    " in part for part in PAGE.split("\n## ")[1:-1])


@pytest.mark.parametrize(("kind", "of", "wrong", "right"), SECTIONS, ids=lambda text: text[:20])
def test_a_section_s_lines_are_what_they_are_said_to_be(
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
