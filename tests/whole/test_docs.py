"""Every code block of the pages in docs/, and of CONTRIBUTING, is run, one after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradninja.rules import BOOK
from pages import blocks, prepare, run_blocks
from paths import ROOT

PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]


@pytest.fixture
def book() -> object:
    """The rule book, without what a page adds to it."""
    rows = set(BOOK.rows)
    yield BOOK
    for name in set(BOOK.rows) - rows:
        BOOK.remove(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs(page: Path, book: object, tmp_path: Path) -> None:
    prepare(tmp_path)
    run_blocks(blocks(page.read_text(encoding="utf-8")), tmp_path, page.name)
