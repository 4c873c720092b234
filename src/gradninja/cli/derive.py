"""`gradninja derive`: the backward pass of a forward, as plain PyTorch lines."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from gradninja.cli.limits import Timeout, running
from gradninja.cli.options import As, Form, ForwardFile, Json, Wrt, show_source

if TYPE_CHECKING:
    from gradninja.derive import Backward


class Style(StrEnum):
    """How the lines are written."""

    READABLE = "readable"
    EXACT = "exact"


def derive(
    file: ForwardFile,
    wrt: Wrt = None,
    style: Annotated[
        Style,
        typer.Option(help="As a person would write it, or equal to autograd bit for bit."),
    ] = Style.READABLE,
    form: As = Form.LINES,
    timeout: Timeout = 60.0,
    as_json: Json = False,
) -> None:
    """Write the backward of a forward, one line at a time."""
    from gradninja.derive import derive as derived

    with running(file, timeout) as path:
        back = derived(path, wrt=wrt or None, style=style.value)
    if as_json:
        print(json.dumps(_row(back), ensure_ascii=False))
    else:
        show_source(back.annotated if form is Form.LINES else back.function_source)


def _row(back: Backward) -> dict[str, object]:
    lines = [
        {
            "name": line.name,
            "of": line.of,
            "source": line.source,
            "forward": {"line": line.forward.number, "source": line.forward.source},
            "rules": line.rules,
            "why": line.why,
            "shape": line.shape,
            "axes": line.axes,
        }
        for line in back.lines
    ]
    return {
        "source": back.source,
        "style": back.style,
        "lines": lines,
        "kept": back.kept,
        "not_kept": back.not_kept,
    }
