"""Options that several verbs share."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from gradninja.choices import Form
from gradninja.errors import GradninjaError

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that train made.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for a program to read.")]
ForwardFile = Annotated[
    str,
    typer.Argument(
        metavar="FILE.py[:NAME]",
        help="A file with a forward, or - for the standard input; NAME is the function or class, "
        "`forward` by default.",
    ),
]
Wrt = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="An input that a gradient is wanted for; can be given again. All by default.",
        show_default=False,
    ),
]


As = Annotated[Form, typer.Option("--as", help="A plain function, or a torch.autograd.Function.")]


def show_source(text: str) -> None:
    """Print Python text, in colour on a terminal and as it is to a pipe."""
    from rich.console import Console
    from rich.syntax import Syntax

    console = Console()
    if console.is_terminal:
        console.print(Syntax(text, "python", background_color="default", word_wrap=True))
    else:
        print(text, end="" if text.endswith("\n") else "\n")


def tell(notes: Iterable[str]) -> None:
    """Say beside what is printed what its reader should know."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


Split = Annotated[
    list[str] | None,
    typer.Option(
        metavar="AXIS=MESH",
        help="An axis that an annotation names, and the ranks that it is split over: n=data.",
        show_default=False,
    ),
]


def parsed(given: list[str]) -> dict[str, str]:
    """`["n=data"]` as `{"n": "data"}`. Raises GradninjaError for what is no such pair."""
    found: dict[str, str] = {}
    for text in given:
        axis, equals, mesh = text.partition("=")
        if not (axis and equals and mesh.isidentifier()):
            raise GradninjaError(
                f"--split {text} names no two axes", hint="as in --split n=data: axis=mesh axis"
            )
        found[axis] = mesh
    return found
