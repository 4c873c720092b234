"""`gradninja fuse`: the backward pass all in one go, as plain PyTorch lines."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from gradninja.choices import FusedStyle, Prefer
from gradninja.cli.shared.limits import Timeout, running
from gradninja.cli.shared.options import As, ForwardFile, Json, Wrt, show_source, tell

if TYPE_CHECKING:
    from gradninja.algebra import Fused


def fuse(
    file: ForwardFile,
    wrt: Wrt = None,
    prefer: Annotated[
        Prefer,
        typer.Option(help="Least memory traffic, least memory held, or fewest operations."),
    ] = "speed",
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Change a line's own arrays; make no one-hot.")
    ] = False,
    steps: Annotated[
        bool, typer.Option("--steps", help="Tell the steps that led to each line, in words.")
    ] = False,
    form: As = "lines",
    timeout: Timeout = 300.0,
    as_json: Json = False,
) -> None:
    """Write it all in one go: the short formula, found by algebra."""
    from gradninja.algebra import fuse as fused

    style: FusedStyle = "in place" if in_place else "readable"
    with running(file, timeout) as path:
        back = fused(path, wrt=wrt or None, prefer=prefer, style=style)
    tell(back.program.notes)
    for pass_ in back.dropped:
        print(f"not taken: {pass_.name or 'the whole'}: {pass_.why}", file=sys.stderr)
    if as_json:
        print(json.dumps(_row(back, prefer), ensure_ascii=False))
        return
    show_source(back.source if form == "lines" else back.function_source)
    if steps:
        print(_told(back))


def _told(back: Fused) -> str:
    """The steps in words, those that lead to one line under its name."""
    lines: list[str] = []
    for of, steps in groupby(back.steps, key=lambda step: step.of):
        lines += ["", f"{of}:", *(f"  - {step.text}" for step in steps)]
    return "\n".join(lines)


def _row(back: Fused, prefer: Prefer) -> dict[str, object]:
    return {
        "source": back.source,
        "prefer": prefer,
        "lines": [
            {
                "name": line.name,
                "of": line.of,
                "source": line.source,
                "forward": {"line": line.forward.number, "source": line.forward.source},
                "shape": line.shape,
                "axes": line.axes,
            }
            for line in back.lines
        ],
        "steps": [{"of": one.of, "text": one.text, "latex": one.latex} for one in back.steps],
        "dropped": [{"name": one.name, "why": one.why} for one in back.dropped],
        "cost": {
            "work": back.cost.work,
            "traffic": back.cost.traffic,
            "calls": back.cost.calls,
            "kept": back.cost.kept,
            "peak": back.cost.peak,
        },
        "float32_errors": [
            {"name": one.name, "fused": one.fused, "derived": one.derived} for one in back.errors
        ],
        "kept": back.kept,
        "not_kept": back.not_kept,
        "notes": back.program.notes,
    }
