"""`gradninja learn`: the workbook, on a page of this machine's own."""

from __future__ import annotations

import contextlib
import webbrowser
from pathlib import Path
from typing import Annotated

import typer


def learn(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8718,
    progress: Annotated[
        Path, typer.Option(help="The file that keeps what you have written.")
    ] = Path("gradninja-learn.json"),
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page.")] = True,
) -> None:
    """Open the workbook: backpropagation by hand, judged as you type.

    Hints come in stages. It is a page in the browser, served to this machine only. Ctrl-C ends it;
    what you have written is kept.
    """
    from gradninja.learn.workbook.server import Server, Workbook

    server = Server(Workbook(progress), port)
    print(f"the workbook: {server.address}\nyour progress: {progress}; Ctrl-C ends it", flush=True)
    if show:
        webbrowser.open(server.address)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    server.book.worker.stop()
