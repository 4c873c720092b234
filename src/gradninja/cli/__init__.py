"""The command line: arguments and printing only.

Each verb is a function in a file of its own; it is added to a panel by one word here. Verbs import
what they need inside the function, so that `gradninja --help` does not wait for torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from gradninja import __version__
from gradninja.cli.check import check
from gradninja.cli.compile import compile
from gradninja.cli.derive import derive
from gradninja.cli.evaluate import evaluate
from gradninja.cli.explain import explain
from gradninja.cli.export import export
from gradninja.cli.fuse import fuse
from gradninja.cli.hint import hint
from gradninja.cli.learn import learn
from gradninja.cli.sample import sample
from gradninja.cli.shard import shard
from gradninja.cli.shared.launching import told
from gradninja.cli.train import train
from gradninja.errors import GradninjaError

EXAMPLES = """
To try first:

- `gradninja learn` opens a workbook in the browser

- `gradninja check layer.py` judges `backward` against `forward`, line by line

- `gradninja derive layer.py` writes it; `-` takes the standard input

- `gradninja train words.txt` learns from a list of words

`gradninja VERB --help` shows what a verb takes.
"""

app = typer.Typer(
    name="gradninja",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Learn": (learn, hint, explain),
    "Write": (derive, fuse, shard, compile),
    "Judge": (check,),
    "Run": (train, sample, evaluate, export),
}
for panel, verbs in PANELS.items():
    for verb in verbs:
        app.command(rich_help_panel=panel)(verb)


def _version(asked: bool) -> None:
    if asked:
        print(f"gradninja {__version__}")
        raise typer.Exit


@app.callback(epilog=EXAMPLES)
def gradninja(
    called: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Write the forward. Own the backward."""
    if called.invoked_subcommand is None:
        print(called.get_help())


WRONG = 2  # exit code when a person's input cannot be used


def _verb_of(first: list[str]) -> None:
    """A file where a verb belongs. Raises GradninjaError with what to write."""
    for word in first:
        if word.endswith((".py", ".ipynb")):
            raise GradninjaError(
                f"what is to be done with {word}?",
                hint=f"gradninja check {word} judges its backward, derive {word} writes one",
            )


def main() -> None:
    """Run the command line. Errors for the person are printed without a traceback."""
    try:
        _verb_of(sys.argv[1:2])
        app()
    except GradninjaError as error:
        if not told(error):  # one of several ranks tells what started it
            print(f"error: {error}", file=sys.stderr)
        sys.exit(WRONG)
    except MemoryError as error:
        print(f"error: there is not enough memory for this: {error}", file=sys.stderr)
        sys.exit(WRONG)
