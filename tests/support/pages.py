"""The fenced blocks of a page, run one after the other in a folder of their own.

A block is one of these, and anything else is an error:
    ```sh      commands, a line each: `gradninja ...`, `make ...`, `pip ...`, `python FILE ...`,
               `git clone ...`; one that ends in `# exit code 1` must leave so, any other with 0
    ```text    what the commands of the block before it print; numbers and words may differ, and
               a line `...` stands for any number of lines
    ```python  lines that stand in a shipped model; or a file, when the first line is `# NAME.py`;
               else it is executed, with the names of the page's blocks before it
"""

from __future__ import annotations

import contextlib
import io
import linecache
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradninja import cli, models
from paths import ROOT
from small_runs import word_file

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


def prepare(folder: Path) -> None:
    """What a reader has who stands in a clone: the examples, and a list of words."""
    word_file(folder)
    shutil.copytree(ROOT / "examples", folder / "examples")


def run_blocks(found: list[Block], folder: Path, page: str = "page") -> None:
    """Run the blocks in a folder. Raises AssertionError, with the block's line, at the first
    that does not do what it says."""
    printed: str | None = None
    scope: dict[str, Any] = {"__name__": "__main__"}
    for block in found:
        where = f"the block at line {block.line} of {page}"
        if block.language == "sh":
            printed = "".join(run_command(line, folder) for line in block.text.splitlines())
        elif block.language == "text":
            assert printed is not None, f"{where} follows no commands"
            assert shape_fits(block.text, printed), f"{where} is not what is printed:\n{printed}"
            printed = None
        elif block.language == "python":
            run_python(block, folder, scope, page)
        else:
            raise AssertionError(f"{where} is of an unknown kind: {block.language!r}")


def run_command(line: str, folder: Path) -> str:
    """What a command prints."""
    line, _, exit_code = line.partition("  # exit code ")
    words = shlex.split(line)
    if words[:2] == ["git", "clone"]:  # that has been done, or we would not be here
        assert f'Repository = "{words[2]}"' in (ROOT / "pyproject.toml").read_text()
        assert words[3:] == ["&&", "cd", Path(words[2]).name]
        return ""
    if words[0] == "make":
        recipe = make_recipe(words[1])
        if words[1] == "test":  # that is where we are
            assert recipe[1:3] == ["-m", "pytest"], recipe
            return "1234 passed in 123.45s (0:02:03)\n"
        words = [Path(recipe[0]).name, *recipe[1:]]
    if words[0] == "pip":  # `make` did that, or we would not be here; its files must be there
        assert words[1] == "install" and words[-1].startswith(".")
        assert all((ROOT / word).exists() for word in words[2:-1] if not word.startswith("-"))
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


def run_python(block: Block, folder: Path, scope: dict[str, Any], page: str) -> None:
    text, name = "\n" * block.line + block.text, f"{page}, block at {block.line}"
    if named := re.match(r"# (\w+\.py)\n", block.text):
        compile(text, named[1], "exec")
        (folder / named[1]).write_text(block.text, encoding="utf-8")
        return
    if any(block.text in models.load(name).text for name in models.BUILTIN):
        return
    # Where a class's methods have their text from, as in a notebook.
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    with in_folder(folder):
        exec(compile(text, name, "exec"), scope)


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
