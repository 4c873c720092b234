"""The README: every block does what it says, the picture is what is printed, and it stays short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gradninja.cli import PANELS
from pages import blocks, prepare, run_blocks
from paths import ROOT
from picture import EXAMPLE, PICTURE, printed, words

README = ROOT / "README.md"
MOST_LINES = 150  # a screen and a half of a page that is read on GitHub


def test_every_block_of_the_readme_runs(tmp_path: Path) -> None:
    prepare(tmp_path)
    found = blocks(README.read_text(encoding="utf-8"))
    assert len(found) > 8
    run_blocks(found, tmp_path, "README.md")
    assert (tmp_path / "runs" / "mlp_batchnorm-1" / "loss.png").exists()


def test_the_first_screen() -> None:
    text = README.read_text(encoding="utf-8")
    first = blocks(text)[:5]
    assert [block.language for block in first] == ["sh", "text", "sh", "text", "sh"]
    assert [block.text.splitlines()[-1] for block in first[:4:2]] == ["make train", "make test"]
    assert first[0].text.startswith("git clone ") and first[4].text.startswith("pip install ")
    assert text.index(f"]({PICTURE.relative_to(ROOT)})") < text.index("```")
    assert len(text.splitlines()) <= MOST_LINES
    assert text.count("```") == 2 * len(blocks(text))
    for verb in (verb for verbs in PANELS.values() for verb in verbs):
        assert f"| `gradninja {verb.__name__}` |" in text, verb.__name__
    for link in re.findall(r"\]\(([^):#]+)\)", text):
        assert (ROOT / link).exists(), link


def test_the_picture_is_what_is_printed() -> None:
    shown = words(PICTURE.read_text(encoding="utf-8"))
    told = words(printed().export_svg(title="gradninja"))
    assert _known(shown) == _known(told)
    assert any(EXAMPLE in line for line in shown)
    assert any("write: dx += " in line for line in shown)


def _known(lines: list[str]) -> list[str]:
    """Without what rounding decides: digits, and how exact a right line is."""
    rough = [re.sub(r"(exact|close)\W*(True|False)\W*True.*", "right", line) for line in lines]
    return [re.sub(r"\d[\d.e+-]*", "0", line) for line in rough]


PLANTED = {
    "unknown kind": "```ruby\nputs 1\n```",
    "unknown command": "```sh\nfrobnicate now\n```",
    "unknown verb": "```sh\ngradninja frobnicate\n```",
    "failing command": "```sh\ngradninja sample nowhere\n```",
    "wrong exit code": "```sh\ngradninja --help  # exit code 1\n```",
    "missing file": "```sh\npip install --constraint nothing.txt .\n```",
    "other clone": "```sh\ngit clone https://github.com/nobody/else && cd else\n```",
    "other output": "```sh\ngradninja train words.txt\n```\n```text\ntrain loss  2.07\n```",
    "output of nothing": "```text\ntrain loss  2.07\n```",
    "failing code": "```python\nassert 1 == 2\n```",
    "no code": "```python\n# mine.py\ndef forward(:\n```",
    "wrong excerpt": "```python\n    dbngain = (bnraw * dhpreact).sum(1, keepdim=True)\n```",
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_a_block_that_is_wrong_is_caught(planted: str, tmp_path: Path) -> None:
    prepare(tmp_path)
    found = blocks(planted)
    assert found
    with pytest.raises((AssertionError, SyntaxError)):
        run_blocks(found, tmp_path)


def test_a_failing_command_may_be_shown_as_such(tmp_path: Path) -> None:
    run_blocks(blocks("```sh\ngradninja sample nowhere  # exit code 2\n```"), tmp_path)
