"""Every kind of mistake that people make: the right line, the right kind, a mend that mends."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from gradninja.check import check
from gradninja.check.diagnosis import Kind
from mistakes import FILES, MISTAKES, Mistake
from mutation_trial import Subject, put, recorded

PEOPLE_MAKE = {
    Kind.NO_SUM,
    Kind.SECOND_USE,
    Kind.ASSIGN_FOR_ADD,
    Kind.LOST_KEEPDIM,
    Kind.MISSING_CLONE,
    Kind.LOST_REPEATS,
    Kind.BESSEL,
    Kind.MISSING_COUNT,
    Kind.WRONG_AXIS,
    Kind.GRADIENT_FOR_VALUE,
    Kind.VALUE_FOR_GRADIENT,
    Kind.SKIPPED_LINK,
    Kind.TRANSPOSED,
    Kind.SIGN,
    Kind.TIES,
}


def test_every_kind_is_planted_in_three_models() -> None:
    files = defaultdict(set)
    for mistake in MISTAKES:
        files[mistake.kind].add(mistake.file)
    assert set(files) == PEOPLE_MAKE
    assert min(len(found) for found in files.values()) >= 3


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_said_of_what_is_right(name: str) -> None:
    assert check(FILES[name]).wrong == ()


@cache
def right_backward(name: str) -> Subject:
    return Subject(name, FILES[name].read_text())


# Nobody sees what the functions of the files do not return: these are mistakes of lines.
OF_LINES = [mistake for mistake in MISTAKES if mistake.kind is Kind.MISSING_CLONE]


@pytest.mark.parametrize("mistake", [m for m in MISTAKES if m not in OF_LINES], ids=str)
def test_mistake_is_named_and_mended(mistake: Mistake, tmp_path: Path) -> None:
    text = mistake.plant()
    file = tmp_path / "model.py"
    file.write_text(text)
    with recorded() as diagnoses:
        report = check(file, complete=True)
    (row,) = report.wrong
    assert row.name == mistake.gradient
    assert row.line in mistake.lines
    assert row.kind == mistake.kind
    assert row.diagnosis
    mended = put([row], [diagnoses.get(row.name)], text)
    assert right_backward(mistake.file).right(mended)


@pytest.mark.parametrize("mistake", OF_LINES, ids=str)
def test_a_missing_copy_is_a_mistake_where_each_gradient_is_seen(mistake: Mistake) -> None:
    text = mistake.plant()
    head = text.partition("def backward(")[0]
    body = next(n for n in ast.parse(text).body if getattr(n, "name", "") == "backward").body
    lines = "\n".join(map(ast.unparse, body[:-1]))
    (row,) = check(head, lines, complete=True).wrong
    assert (row.name, row.kind) == (mistake.gradient, mistake.kind)
    assert row.fix == ast.unparse(ast.parse(f"{row.name} = {mistake.old}"))
    assert row.fix not in lines
    assert check(head, lines.replace(row.source, row.fix), complete=True).ok
    report = check(text, complete=True)
    assert report.ok
    assert any("share memory" in note and "nobody sees that" in note for note in report.notes)
