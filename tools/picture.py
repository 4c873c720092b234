"""Draw the README's picture, a report with its red line and the mend: `python tools/picture.py`.

The report is that of `gradninja check examples/layer.py`, without its notes; rich draws it. A test
holds the words of the picture to the words of the report.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

import gradninja as gn
from gradninja.check.tell.report import show

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = "examples/layer.py"
PICTURE = ROOT / "docs" / "check.svg"
WIDTH = 74  # columns: a phone shows the picture whole

# Colours of a dark terminal, each with at least 4.5:1 against the background.
THEME = TerminalTheme(
    (13, 17, 23),
    (230, 237, 243),
    [
        *((72, 79, 88), (255, 123, 114), (86, 211, 100), (227, 179, 65)),
        *((121, 192, 255), (210, 168, 255), (86, 212, 221), (177, 186, 196)),
    ],
)
# Rich's own frame without the fonts that it asks another host for: a picture in a README gets none.
FRAME = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>gradninja check: one line is red, and below it stands the line to write</title>
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px;
}}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def printed() -> Console:
    """A console that recorded the command and its report."""
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        report = gn.check(EXAMPLE)
    finally:
        os.chdir(before)
    brief = replace(
        report, lines=tuple(replace(line, notes=()) for line in report.lines), tolerance=""
    )
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False
    )
    console.print(Text(f"$ gradninja check {EXAMPLE}\n", style="bold"))
    show(brief, console)
    return console


def words(svg: str) -> list[str]:
    """The lines of text in the terminal of a picture."""
    rows: dict[float, list[tuple[float, str]]] = {}
    for x, y, text in re.findall(r'<text [^>]*x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)<', svg):
        rows.setdefault(float(y), []).append((float(x), unescape(text).replace("\xa0", " ")))
    joined = ("".join(text for _, text in sorted(row)) for _, row in sorted(rows.items()))
    return [line.rstrip() for line in joined if line.strip()]


def draw() -> str:
    """The picture."""
    return printed().export_svg(title="gradninja", theme=THEME, code_format=FRAME, unique_id="gn")


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(ROOT)}")
