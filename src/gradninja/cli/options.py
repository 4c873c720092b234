"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that train made.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for a program to read.")]
ForwardFile = Annotated[
    str,
    typer.Argument(
        metavar="FILE.py[:NAME]",
        help="A file with a forward; NAME is its function's name, `forward` by default.",
    ),
]


def show_source(text: str) -> None:
    """Print Python text, in colour on a terminal and as it is to a pipe."""
    from rich.console import Console
    from rich.syntax import Syntax

    console = Console()
    if console.is_terminal:
        console.print(Syntax(text, "python", background_color="default", word_wrap=True))
    else:
        print(text, end="" if text.endswith("\n") else "\n")
