"""Why each collective stands where it stands, and what it costs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gradninja.ranks.rank_lines import Collective, RankLine
from gradninja.ranks.sharded import Part, Sharded, sent

ACTS = {
    "all_reduce": "each rank has a part of {it}, the ranks' sum is the whole",
    "all_gather": "each rank has its share of {it}, and all of it is looked at together",
    "reduce_scatter": "each rank has a part of {it}, and wants the whole of its own share",
}


def told(sharded: Sharded) -> str:
    """Both texts, with a sentence over each collective; and what one rank sends a step."""
    parts = [("forward", sharded.forward), ("backward", sharded.backward)]
    lines = [f"{said}\n" for said in _heads(sharded)]
    for name, part in parts:
        if part.items:
            lines.append(f"{name}\n")
            lines += [f"    {line}\n" for line in _lines(sharded, part)]
    return "".join([*lines, *(f"{line}\n" for line in costs(sharded))])


def _heads(sharded: Sharded) -> Iterator[str]:
    for axis, of in zip(sharded.split.axes, sharded.split.mesh.axes, strict=True):
        yield f"{axis.name} is split over {of}: each rank has its share of {', '.join(axis.inputs)}"


def _lines(sharded: Sharded, part: Part) -> Iterator[str]:
    before: list[RankLine] = []
    for item in part.items:
        if isinstance(item, RankLine):
            before.append(item)
            kinds = [sharded.said(types) for types in item.types if types is not None]
            yield f"{item}  # {', '.join(dict.fromkeys(kinds))}" if kinds else str(item)
            continue
        yield ""
        for name, why in zip(item.names, item.whys, strict=True):
            yield f"# {_why(item, name, why, before)}"
        yield str(item)


def _why(call: Collective, name: str, why: str, before: list[RankLine]) -> str:
    """`bnmeani`, made by `...` on a share, is needed whole by `...`."""
    made = [line for line in before if name in line.of]
    it = f"`{name}`"
    if call.op in ("max", "min"):
        what = {"max": "largest", "min": "smallest"}[call.op]
        said = f"each rank has the {what} of its share in {it}, the {what} of all is wanted"
    else:
        said = ACTS[call.kind].format(it=it)
    by = f" (`{made[-1]}`)" if made else ""
    return f"{said}{by}; needed by: {_needs(why, name)}"


def _needs(why: str, name: str) -> str:
    try:
        ast.parse(why)
    except SyntaxError:
        return why
    if why.startswith("return "):
        return f"the caller, who wants the whole of `{why.removeprefix('return ')}`"
    return f"`{why}`"


def costs(sharded: Sharded) -> list[str]:
    """What one rank hands in and sends a step, by named axes: a line a call."""
    found = ["a step and rank:"]
    for call in sharded.collectives:
        numbers = " + ".join(" * ".join(shape) or "1" for shape in call.shapes)
        found.append(f"  {call.kind} over {call.mesh_axis}: {numbers} numbers")
    calls = len(sharded.collectives)
    two, many = (sum(sent(c.kind, n) * c.elements for c in sharded.collectives) for n in (2, 1000))
    found.append(
        f"  {calls} calls; on the sizes that were read each rank sends {two:,.0f} numbers in a "
        f"ring of 2, {many:,.0f} in one of 1,000"
    )
    return found
