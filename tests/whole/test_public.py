"""What the package shows of itself: its verbs, and words that are none of an option."""

from __future__ import annotations

import pydoc
from dataclasses import fields
from typing import get_args, get_type_hints

import pytest

import gradninja as gn
from gradninja.algebra.measure.prices import PREFER
from gradninja.check.tell.findings import SCHEMA, LineReport, LineRow, Report, ReportRow
from gradninja.explain import VIEWS

FORWARD = "def forward(x: Float[Tensor, 'n']):\n    y = 2 * x\n    return y\n"


def test_help_shows_the_verbs() -> None:
    told = pydoc.render_doc(gn, renderer=pydoc.plaintext)
    assert told.index("derive(forward)") < told.index("PACKAGE CONTENTS")
    functions = told[told.index("\nFUNCTIONS\n") :]
    for verb in (name for name in gn.__all__ if name.islower()):
        assert f" {verb}(" in (gn.__doc__ or ""), verb
        assert verb == "rule" or f"\n    {verb}(" in functions  # rule is a book's method
    assert set(gn.__all__) <= set(dir(gn))


def test_errors_are_at_hand() -> None:
    assert issubclass(gn.errors.ReadError, gn.GradninjaError)
    assert gn.errors.GradninjaError is gn.GradninjaError


@pytest.mark.parametrize(
    ("verb", "option", "words"),
    [
        (gn.derive, "style", ("readable", "exact")),
        (gn.fuse, "prefer", tuple(PREFER)),
        (gn.fuse, "style", ("readable", "in place")),
        (gn.explain, "as_", tuple(VIEWS)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_option_is_one_of_its_words(verb: object, option: str, words: tuple[str, ...]) -> None:
    assert get_args(get_type_hints(verb)[option]) == words
    for word in words:
        assert verb(FORWARD, **{option: word})  # type: ignore[operator]
    with pytest.raises(gn.GradninjaError, match="there is no") as error:
        verb(FORWARD, **{option: "fast"})  # type: ignore[operator]
    assert all(word in str(error.value) for word in words)


def test_a_report_has_the_rows_that_its_types_say() -> None:
    assert list(LineRow.__annotations__) == [field.name for field in fields(LineReport)]
    row = Report("layer.py", ()).to_dict()
    assert set(row) == set(ReportRow.__annotations__) and row["schema"] == SCHEMA
