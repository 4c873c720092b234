"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that train made.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for a program to read.")]
