"""The Functions of tests/functions, as they stand and with a mistake planted."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gradninja.check import Report, check
from paths import ROOT

FOLDER = ROOT / "tests" / "functions"
MISTAKE = re.compile(r"^#! (.*?) => (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Planted:
    """One place of a file changed; `line` is where."""

    name: str
    right: str
    text: str
    line: int


def texts() -> dict[str, str]:
    """Name -> text, without the mistakes that are listed at its end."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.py"))}


def planted(name: str) -> Iterator[Planted]:
    """The file with each of its mistakes, which its last lines list as `#! right => wrong`."""
    text = texts()[name]
    body = text[: text.index("#! ")]
    for old, new in MISTAKE.findall(text):
        at = body.rindex(old)  # the backward stands below the forward
        wrong = body[:at] + new.strip() + body[at + len(old) :]
        yield Planted(name, body, wrong, _first_line(body, body[:at].count("\n") + 1))


def _first_line(text: str, line: int) -> int:
    """Where the statement begins that a line is a part of."""
    nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.stmt)]
    around = [n.lineno for n in nodes if n.lineno <= line <= (n.end_lineno or n.lineno)]
    return max(around)


def judged(text: str, folder: Path) -> Report:
    path = folder / "given.py"
    path.write_text(text, encoding="utf-8")
    return check(path)


def mended(text: str, report: Report) -> str:
    """The text with every mend of a report put where it says that it stands."""
    lines = text.split("\n")
    for row in sorted(report.wrong, key=lambda row: row.line or 0, reverse=True):
        if not row.fix or not row.place:
            continue
        taken = re.search(r"in place of lines? (\d+)(?:-(\d+))?", row.place)
        after = re.search(r"after line (\d+)", row.place)
        if taken:
            first, last = int(taken[1]), int(taken[2] or taken[1])
        elif after:
            first, last = int(after[1]) + 1, int(after[1])
        else:
            continue
        beside = lines[first - 1 if taken else first - 2]
        indent = beside[: len(beside) - len(beside.lstrip())]
        lines[first - 1 : last] = [indent + part for part in row.fix.split("\n")]
    return "\n".join(lines)


def without_inputs(text: str) -> str:
    """The same lines in the same places, but for `inputs()`."""
    lines = text.split("\n")
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == "inputs":
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "\n".join(lines)
