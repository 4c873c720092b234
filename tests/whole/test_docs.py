"""Every code block of the pages in docs/, and of CONTRIBUTING, is run, one after the other."""

from __future__ import annotations

import linecache
from pathlib import Path

import pytest
from test_readme import blocks

from gradninja.rules import BOOK
from paths import ROOT

PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]


@pytest.fixture
def book() -> object:
    """The rule book, without what a page adds to it."""
    rows = set(BOOK.rows)
    yield BOOK
    for name in set(BOOK.rows) - rows:
        BOOK.remove(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs(page: Path, book: object) -> None:
    found = [b for b in blocks(page.read_text(encoding="utf-8")) if b.language != "text"]
    assert found
    scope: dict = {"__name__": "__main__"}
    for block in found:
        assert block.language == "python", f"line {block.line} of {page.name}"
        text, name = "\n" * block.line + block.text, f"{page.name}, block at {block.line}"
        # Where a class's methods have their text from, as in a notebook.
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), scope)
