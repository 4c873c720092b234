"""`gradninja derive`: the backward pass of a forward, as plain PyTorch lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from gradninja.choices import Style
from gradninja.cli.shared.limits import Timeout, running
from gradninja.cli.shared.options import As, ForwardFile, Json, Wrt, show_source, tell

if TYPE_CHECKING:
    from gradninja.derive import Backward


def derive(
    file: ForwardFile,
    wrt: Wrt = None,
    style: Annotated[
        Style,
        typer.Option(help="As a person would write it, or equal to autograd bit for bit."),
    ] = "readable",
    form: As = "lines",
    timeout: Timeout = 60.0,
    as_json: Json = False,
) -> None:
    """Write the backward of a forward, one line at a time."""
    from gradninja.derive import derive as derived

    with running(file, timeout) as path:
        back = derived(path, wrt=wrt or None, style=style)
        loops = back.looped if form == "lines" and style == "readable" and not as_json else ""
    tell(back.program.notes)
    if as_json:
        print(json.dumps(_row(back), ensure_ascii=False))
    else:
        show_source(loops or (back.annotated if form == "lines" else back.function_source))


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
        "notes": back.program.notes,
    }
