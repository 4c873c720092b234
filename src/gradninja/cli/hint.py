"""`gradninja hint`: what leads on to one gradient, a stage at a time."""

from __future__ import annotations

from typing import Annotated

import typer

from gradninja.cli.shared.limits import Timeout, running
from gradninja.cli.shared.options import ForwardFile


def hint(
    file: ForwardFile,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A gradient, dhprebn, or its variable, hprebn.")
    ],
    stage: Annotated[
        int,
        typer.Option(
            min=1,
            max=5,
            help="1 a question, 2 the rule, 3 the shapes, 4 half of the line, 5 the line.",
        ),
    ] = 1,
    timeout: Timeout = 300.0,
) -> None:
    """Lead on to one gradient, without telling it before you ask."""
    from gradninja.derive import derive
    from gradninja.learn import hints

    with running(file, timeout) as path:
        back = derive(path)
    print(hints(back, name, stage))
