"""The command line: arguments and printing only.

Each verb is a function in a file of its own; it is added to the app by one line here. Verbs import
what they need inside the function, so that `gradninja --help` does not wait for torch.
"""

from __future__ import annotations

import sys

import typer

from gradninja.cli.check import check
from gradninja.cli.compile import compile
from gradninja.cli.derive import derive
from gradninja.cli.evaluate import evaluate
from gradninja.cli.explain import explain
from gradninja.cli.fuse import fuse
from gradninja.cli.hint import hint
from gradninja.cli.learn import learn
from gradninja.cli.sample import sample
from gradninja.cli.train import train
from gradninja.errors import GradninjaError

app = typer.Typer(
    name="gradninja",
    help="Write the forward. Own the backward.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command()(train)
app.command()(sample)
app.command()(evaluate)
app.command()(derive)
app.command()(fuse)
app.command()(explain)
app.command()(check)
app.command()(hint)
app.command()(learn)
app.command()(compile)

WRONG = 2  # exit code when a person's input cannot be used


def main() -> None:
    """Run the command line. Errors for the person are printed without a traceback."""
    try:
        app()
    except GradninjaError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(WRONG)
    except MemoryError as error:
        print(f"error: there is not enough memory for this: {error}", file=sys.stderr)
        sys.exit(WRONG)
