"""Every command and code block of the README is run, in its order, in one empty folder.

A fenced block is one of these, and anything else is an error:
    ```sh      commands, a line each: `gradninja ...`, `make ...`, `pip ...`, `python FILE ...`;
               one that ends in `# exit code 1` must leave so, any other with 0
    ```text    what the commands of the block before it print; numbers and words may differ, and
               a line `...` stands for any number of lines
    ```python  lines that stand in a shipped model; or a file, when the first line is `# NAME.py`;
               else it is executed
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gradninja import cli, models
from paths import ROOT
from small_runs import word_file

README = ROOT / "README.md"

# What makes a command quick enough for a test.
SMALL = {
    ("gradninja", "train"): ["--steps", "20", "--hidden", "8", "--batch", "4"],
    ("python", "benchmarks/train.py"): ["--rounds", "1", "--steps", "2", "--hidden", "8"],
}


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int


def blocks(markdown: str) -> list[Block]:
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)
    return [Block(m[1], m[2], markdown[: m.start()].count("\n") + 1) for m in found]


def run_blocks(found: list[Block], folder: Path) -> None:
    """Run the blocks in a folder. Raises AssertionError, with the block's line, at the first
    that does not do what it says."""
    printed: str | None = None
    for block in found:
        where = f"the block at line {block.line}"
        if block.language == "sh":
            printed = "".join(run_command(line, folder) for line in block.text.splitlines())
        elif block.language == "text":
            assert printed is not None, f"{where} follows no commands"
            assert shape_fits(block.text, printed), f"{where} is not what is printed:\n{printed}"
            printed = None
        elif block.language == "python":
            run_python(block.text, folder)
        else:
            raise AssertionError(f"{where} is of an unknown kind: {block.language!r}")


def run_command(line: str, folder: Path) -> str:
    """What a command prints."""
    line, _, exit_code = line.partition("  # exit code ")
    words = shlex.split(line)
    if words[0] == "make":
        recipe = make_recipe(words[1])
        if words[1] == "test":  # that is where we are
            assert recipe[1:3] == ["-m", "pytest"], recipe
            return "1234 passed in 123.45s (0:02:03)\n"
        words = [Path(recipe[0]).name, *recipe[1:]]
    if words[0] == "pip":  # `make` did that, or we would not be here; its files must be there
        assert words[1] == "install" and words[-1] == "."
        assert all((ROOT / word).exists() for word in words[2:] if not word.startswith("-"))
        return ""
    small = SMALL.get((words[0], words[1]), [])
    if "--resume" in words or "--fit" in words:
        small = []
    given = {word for word in words if word.startswith("--")}
    for option, value in zip(small[::2], small[1::2], strict=True):
        if option in given:
            words[words.index(option) + 1] = value
        else:
            words += [option, value]
    return run_words(words, folder, int(exit_code or 0))


def run_words(words: list[str], folder: Path, exit_code: int) -> str:
    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, words
    try:
        with in_folder(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            if words[0] == "gradninja":
                cli.main()
            elif words[0] == "python":
                sys.argv = words[1:]
                runpy.run_path(str(ROOT / words[1]), run_name="__main__")
            else:
                raise AssertionError(f"no way is known to run {shlex.join(words)}")
    except SystemExit as left:
        assert int(left.code or 0) == exit_code, f"{shlex.join(words)}\n{err.getvalue()}"
    finally:
        sys.argv = argv
    return out.getvalue()


def make_recipe(target: str) -> list[str]:
    """The command that a target of the Makefile ends in, without running it."""
    command = ["make", "--dry-run", "--always-make", "--no-print-directory", target]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "pip install" in told.stdout and "constraints.txt" in told.stdout
    return shlex.split(told.stdout.splitlines()[-1])


def run_python(text: str, folder: Path) -> None:
    if named := re.match(r"# (\w+\.py)\n", text):
        compile(text, named[1], "exec")
        (folder / named[1]).write_text(text, encoding="utf-8")
        return
    if any(text in models.load(name).text for name in models.BUILTIN):
        return
    with in_folder(folder):
        exec(compile(text, "README.md", "exec"), {"__name__": "__main__"})


def shape_fits(told: str, printed: str) -> bool:
    """Whether a block of output and what is printed differ in numbers and sampled words alone."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else _shape(line) + r"\n" for line in told.splitlines()
    )
    return re.fullmatch(pattern, printed) is not None


def _shape(line: str) -> str:
    if re.fullmatch(r"[a-z]+(  \(a training word\))?", line):
        return r"[a-z]+(?:  \(a training word\))?"
    numbers = re.split(r"\d[\d,.:]*", line)
    return r"\d[\d,.:]*".join(re.escape(part) for part in numbers)


@contextlib.contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def test_every_block_of_the_readme_runs(tmp_path: Path) -> None:
    word_file(tmp_path)
    found = blocks(README.read_text(encoding="utf-8"))
    assert len(found) > 8
    run_blocks(found, tmp_path)
    assert (tmp_path / "runs" / "mlp_batchnorm-1" / "loss.png").exists()


def test_the_first_screen(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    first = blocks(text)[:5]
    assert [block.language for block in first] == ["sh", "text", "sh", "text", "python"]
    assert [block.text for block in first[:4:2]] == ["make train\n", "make test\n"]
    assert 10 <= len(first[4].text.splitlines()) <= 14
    assert text.count("```") == 2 * len(blocks(text))
    for link in re.findall(r"\]\(([^):#]+)\)", text):
        assert (ROOT / link).exists(), link


PLANTED = {
    "unknown kind": "```ruby\nputs 1\n```",
    "unknown command": "```sh\nfrobnicate now\n```",
    "unknown verb": "```sh\ngradninja frobnicate\n```",
    "failing command": "```sh\ngradninja sample nowhere\n```",
    "wrong exit code": "```sh\ngradninja --help  # exit code 1\n```",
    "missing file": "```sh\npip install --constraint nothing.txt .\n```",
    "other output": "```sh\ngradninja train words.txt\n```\n```text\ntrain loss  2.07\n```",
    "output of nothing": "```text\ntrain loss  2.07\n```",
    "failing code": "```python\nassert 1 == 2\n```",
    "no code": "```python\n# mine.py\ndef forward(:\n```",
    "wrong excerpt": "```python\n    dbngain = (bnraw * dhpreact).sum(1, keepdim=True)\n```",
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_a_block_that_is_wrong_is_caught(planted: str, tmp_path: Path) -> None:
    word_file(tmp_path)
    found = blocks(planted)
    assert found
    with pytest.raises((AssertionError, SyntaxError)):
        run_blocks(found, tmp_path)


def test_a_failing_command_may_be_shown_as_such(tmp_path: Path) -> None:
    run_blocks(blocks("```sh\ngradninja sample nowhere  # exit code 2\n```"), tmp_path)
