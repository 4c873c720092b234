"""Rows for what ranks make together: calls between the loops.

What a call takes is laid in one line, and what comes back is taken apart by views: several tensors
in one call, and gathering along any axis, cost no more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from gradninja.native.maps.graph import Node
from gradninja.native.maps.lowering import COLLECTIVES, At, Lowered, Row
from gradninja.native.ops.moves import sliced
from gradninja.native.ops.views import joined


def _reduced(at: At, nodes: list[Node]) -> tuple[Node, ...]:
    graph = at.graph
    handed = joined(graph, [graph.reshape(node, (node.size,)) for node in nodes], 0)
    call = ("all_reduce", at.value("op"), at.value("group"))
    whole = graph.collective(handed, sum(node.size for node in nodes), call)
    found, start = [], 0
    for node in nodes:
        part = sliced(graph, whole, 0, start, node.size)
        found.append(graph.reshape(part, node.shape))
        start += node.size
    return tuple(found)


def _all_reduce(at: At) -> Lowered:
    (found,) = _reduced(at, [at.node("a")])
    return found


def _all_reduce_coalesced(at: At) -> Lowered:
    return _reduced(at, [at.lowering.node(each) for each in at.operand("tensors").args])


def _all_gather(at: At) -> Lowered:
    graph, node, dim = at.graph, at.node("a"), at.value("dim")
    ranks = at.shape[dim] // node.shape[dim]
    handed = joined(graph, [graph.reshape(node, (node.size,))], 0)
    call = ("all_gather_tensor", 0, at.value("group"))
    whole = graph.reshape(graph.collective(handed, ranks * node.size, call), (ranks, *node.shape))
    before = range(1, dim + 1)
    whole = graph.permute(whole, [*before, 0, *range(dim + 1, len(node.shape) + 1)])
    return graph.reshape(whole, at.shape)


def _reduce_scatter(at: At) -> Lowered:
    graph, node, dim = at.graph, at.node("a"), at.value("dim")
    turned = graph.swapped(node, 0, dim)  # each rank's part in one piece
    handed = joined(graph, [graph.reshape(turned, (node.size,))], 0)
    call = ("reduce_scatter_tensor", at.value("op"), 0, at.value("group"))
    mine = graph.collective(handed, node.size // turned.shape[0] * at.shape[dim], call)
    mine = graph.reshape(mine, (at.shape[dim], *turned.shape[1:]))
    return graph.swapped(mine, 0, dim)


ROWS: dict[str, Row] = {
    "all_reduce": _all_reduce,
    "all_reduce_coalesced": _all_reduce_coalesced,
    "all_gather_tensor": _all_gather,
    "reduce_scatter_tensor": _reduce_scatter,
}


def stand_ins(ranks: int) -> Mapping[str, Callable[..., Any]]:
    """What gives results of the shapes that the collectives give, and asks no other rank.

    Reading a text is each rank's own affair: one that cannot must not leave the others waiting.
    """
    found: dict[str, Callable[..., Any]] = {
        "all_reduce": lambda a, op, group: a.clone(),
        "all_reduce_coalesced": lambda tensors, op, group: tuple(a.clone() for a in tensors),
        "all_gather_tensor": lambda a, dim, group: torch.cat([a] * ranks, dim),
        "reduce_scatter_tensor": lambda a, op, dim, group: a.chunk(ranks, dim)[0].clone(),
    }
    return {f"{COLLECTIVES}.{name}": function for name, function in found.items()}
