"""`gradninja export`: a trained network for elsewhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gradninja.cli.shared.options import RunPath
from gradninja.errors import RunError


class Format(StrEnum):
    """What a network can be written as."""

    onnx = "onnx"
    json = "json"
    html = "html"


def export(
    run: RunPath,
    format: Annotated[  # the option's name
        Format | None,
        typer.Option(
            help="A page that samples in the browser, plain JSON, or ONNX.",
            show_default="as --out ends, else html",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file.", show_default="in the run folder"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
) -> None:
    """Write a trained network as ONNX, JSON or a web page."""
    from gradninja.training import load_network
    from gradninja.training.export import to_html, to_json, to_onnx
    from gradninja.training.folder import write_whole

    network = load_network(run)
    format = format or _ending(out)
    path = out or run / f"network.{format.value}"
    if path.exists() and not overwrite:
        raise RunError(f"{path} is there already", hint="Replace it with --overwrite.")
    if format == Format.onnx:
        data = to_onnx(network)
    else:
        data = (to_json if format == Format.json else to_html)(network).encode()
    try:
        write_whole(path, data)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from None
    print(f"{path}: {len(data):,} bytes")


def _ending(out: Path | None) -> Format:
    """The format that a file's name ends in; html where it names none."""
    ending = "" if out is None else out.suffix.removeprefix(".").lower()
    return Format(ending) if ending in [kind.value for kind in Format] else Format.html
