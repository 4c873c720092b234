"""The command line: arguments and printing only.

A verb is a function in a file beside this one, and a line at the end of this file. Those files
import torch and our other parts inside their functions, so that `--help` comes at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gradninja import __version__
from gradninja.cli import evaluate, sample, train
from gradninja.errors import GradninjaError

app = typer.Typer(
    name="gradninja",
    help="Write the forward. Own the backward.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback is ours to read, and plain
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The `gradninja` command. Exit code 2: a mistake of the person's, told without a traceback."""
    try:
        app()
    except GradninjaError as error:
        print(f"gradninja: {error}", file=sys.stderr)
        sys.exit(2)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)
    ] = False,
) -> None:
    if version:
        print(f"gradninja {__version__}")
        raise typer.Exit


app.command()(train.train)
app.command()(sample.sample)
app.command()(evaluate.evaluate)
