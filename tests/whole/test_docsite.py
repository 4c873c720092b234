"""What the site's pages are completed with is whole: every row, every verb, every page."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import pytest

import docsite
from gradninja.cli import PANELS
from paths import ROOT
from rule_inputs import book_rows

CONFIG = SimpleNamespace(repo_url="https://github.com/gradninja/gradninja")


def completed(page: str) -> str:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return docsite.on_page_markdown(text, config={"repo_url": CONFIG.repo_url})


def test_the_rule_book_has_every_row_whole() -> None:
    page = completed("rulebook.md")
    rows = re.findall(r'<tr id="rule-([^"]+)">(.*?)</tr>', page, re.DOTALL)
    assert len(rows) == len({name for name, _ in rows}) == len(book_rows())
    for row, (_, html) in zip(book_rows(), rows, strict=True):
        said = unescape(re.sub(r"<[^>]+>", "\n", html))
        assert all(spelling in said for spelling in row.spellings), row.name
        assert row.why[1:] in said and row.source[1:] in said
        for formal, text in row.backward.items():
            if all(isinstance(one, str) for one in row.backward.values()):
                assert text in said or f"d{formal}{text[1:]}" in said, row.name
            else:
                assert re.search(r"\bd\w+(\[| [-+]?=|\.\w+_\()", said), row.name
    assert "\n\n" not in page[page.index("<table") : page.index("</table>")]


def test_the_command_line_has_every_verb_and_option() -> None:
    page = completed("cli.md")
    for verb in (verb for verbs in PANELS.values() for verb in verbs):
        section = page.split(f"\n## {verb.__name__}\n", 1)[1].split("\n## ", 1)[0]
        assert f"`gradninja {verb.__name__}" in section
    assert "| `--prefer` |" in page and "| `--bessel, --no-bessel` |" in page


def test_a_link_out_of_the_docs_leads_to_a_file(tmp_path: Path) -> None:
    config = {"repo_url": CONFIG.repo_url}
    link = docsite.on_page_markdown("[it](../CONTRIBUTING.md#the-house)", config=config)
    assert link == f"[it]({CONFIG.repo_url}/blob/main/CONTRIBUTING.md#the-house)"
    with pytest.raises(ValueError, match="there is no such file"):
        docsite.on_page_markdown("[it](../nowhere.md)", config=config)


def test_the_readers_way_leads_to_every_page() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"([\w./-]+\.md)$", text, re.MULTILINE)
    there = (ROOT / "docs").rglob("*.md")
    assert sorted(listed) == sorted(path.relative_to(ROOT / "docs").as_posix() for path in there)
