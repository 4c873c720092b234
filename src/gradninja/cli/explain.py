"""`gradninja explain`: a backward pass to be read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradninja.choices import View
from gradninja.cli.shared.limits import Timeout, running
from gradninja.cli.shared.options import ForwardFile, Split, parsed, tell
from gradninja.errors import RunError

NARROWEST = 40  # columns that words are broken to, however narrow the terminal is


def explain(
    file: ForwardFile,
    view: Annotated[
        View,
        typer.Option(
            "--as", help="Text, Markdown as GitHub shows it, or one HTML page with the graph."
        ),
    ] = "text",
    steps: Annotated[
        bool,
        typer.Option("--steps", help="Walk the fused backward, with the steps that led to it."),
    ] = False,
    split: Split = None,
    timeout: Timeout = 300.0,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file.", show_default="print")
    ] = None,
) -> None:
    """Walk through a backward pass: each line, its rule, its shapes."""
    from rich.console import Console

    from gradninja.algebra import fuse
    from gradninja.derive import derive
    from gradninja.explain import Walkthrough, text
    from gradninja.explain import explain as explained
    from gradninja.ranks import shard

    with running(file, timeout) as path:
        back = fuse(path) if steps else derive(path)
        found = shard(back, split=parsed(split)) if split else None
    tell(back.program.notes)
    console = Console()
    if found is None and out is None and view == "text" and console.is_terminal:
        print(text(Walkthrough(back), colour=True, width=max(console.width, NARROWEST)), end="")
        return
    told = explained(back, view) if found is None else explained(found, view)
    if out is None:
        print(told, end="" if told.endswith("\n") else "\n")
        return
    try:
        out.write_text(told, encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror}") from None
    print(f"wrote {out}")
