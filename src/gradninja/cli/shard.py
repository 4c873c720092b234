"""`gradninja shard`: forward and backward as one rank of many has them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from gradninja.cli.shared.limits import Timeout, running
from gradninja.cli.shared.options import ForwardFile, Json, Split, Wrt, parsed, show_source
from gradninja.errors import GradninjaError

if TYPE_CHECKING:
    from gradninja.ranks import Sharded


def shard(
    file: ForwardFile,
    split: Split = None,
    fused: Annotated[
        bool, typer.Option("--fused", help="The backward all in one go, in place of line by line.")
    ] = False,
    wrt: Wrt = None,
    timeout: Timeout = 60.0,
    as_json: Json = False,
) -> None:
    """Split named axes over ranks, with all_reduce where it must be."""
    from gradninja.algebra.fuse import fuse
    from gradninja.derive import derive
    from gradninja.ranks import shard as sharded

    asked = parsed(split or [])
    if not asked:
        raise GradninjaError(
            "nothing is to be split",
            hint="name an axis of an annotation, and the ranks it is split over: --split n=data",
        )
    with running(file, timeout) as path:
        back = (fuse if fused else derive)(path, wrt=wrt or None)
        found = sharded(back, split=asked)
    if as_json:
        print(json.dumps(_row(found), ensure_ascii=False))
    else:
        show_source(found.annotated)


def _row(found: Sharded) -> dict[str, object]:
    return {
        "forward": found.forward_source,
        "backward": found.source,
        "step": found.step_source,
        "inputs": {i.name: list(found.declared(i.name)) for i in found.program.inputs},
        "collectives": [
            {
                "kind": call.kind,
                "names": call.names,
                "over": call.mesh_axis,
                "shapes": call.shapes,
                "why": call.why,
            }
            for call in found.collectives
        ],
    }
