"""Rows for views and for what puts tensors side by side: places turned into places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gradninja.lines import Expr
from gradninja.lines.fence import find
from gradninja.native.maps.graph import Graph, Node, Places
from gradninja.native.maps.lowering import At, Lowered, Row
from gradninja.native.maps.places import Index, unflat


def _replayed(expr: Expr, formal: Expr, value: torch.Tensor) -> Any:
    """What an operation gives where one of its operands has another value."""

    def of(operand: Expr) -> Any:
        return value if operand is formal else operand.value

    args = [of(operand) for operand in expr.args]
    kwargs = {name: of(operand) for name, operand in expr.kwargs.items()}
    if expr.op == "[]":
        return args[0][args[1]]
    if expr.op.startswith("."):
        return getattr(args[0], expr.op[1:])
    if expr.op == "pos":
        return args[0]
    function = find(expr.op)
    assert callable(function)
    return function(*args, **kwargs)


def strided(
    graph: Graph, node: Node, shape: Sequence[int], strides: Sequence[int], start: int
) -> Node:
    """The elements of a node, taken as contiguous, that lie so far apart."""

    def places(at: Places) -> Places:
        total = Index(start)
        for place, stride in zip(at, strides, strict=True):
            total = total + place * stride
        return unflat(total, node.shape)

    return graph.view(node, shape, places)


def _view(at: At) -> Lowered:
    """Any view: PyTorch makes it of memory that nobody fills, and its strides tell what it is."""
    node = at.node("a")
    memory = torch.empty(node.shape, dtype=torch.int8)
    found = _replayed(at.expr, at.site.bound["a"], memory)
    several = found if isinstance(found, tuple | list) else (found,)
    nodes = []
    for seen in several:
        if seen.numel() and seen.untyped_storage().data_ptr() != memory.data_ptr():
            raise at.refuse("this copies, and is not compiled")
        nodes.append(strided(at.graph, node, seen.shape, seen.stride(), seen.storage_offset()))
    return tuple(nodes) if isinstance(found, tuple | list) else nodes[0]


def _reshape(at: At) -> Lowered:
    return at.graph.reshape(at.node("a"), at.shape)


def _mirrored(at: At) -> Lowered:
    """What copies in another order: a table of places tells the strides, which may be negative."""
    node = at.node("a")
    table = torch.arange(node.size).reshape(node.shape)
    seen = _replayed(at.expr, at.site.bound["a"], table)
    if not seen.numel():
        return at.graph.number(0, node.dtype, seen.shape)
    first = (0,) * seen.ndim
    start, strides = int(seen[first]), []
    expected = torch.full(seen.shape, start)
    for axis, size in enumerate(seen.shape):
        after = [0] * seen.ndim
        after[axis] = min(1, size - 1)
        stride = int(seen[tuple(after)]) - start
        line = [1] * seen.ndim
        line[axis] = size
        expected = expected + stride * torch.arange(size).reshape(line)
        strides.append(stride)
    if not torch.equal(expected, seen):
        raise at.refuse("this order is not compiled")
    return strided(at.graph, node, seen.shape, strides, start)


def _triangle(template: str) -> Row:
    def row(at: At) -> Lowered:
        graph, node = at.graph, at.node("a")
        rows, columns = node.shape[-2:]
        down = graph.reshape(graph.arange(0, 1, rows), (rows, 1))
        across = graph.arange(-at.value("diagonal"), 1, columns)
        kept = graph.map(template, "bool", across, down)
        zero = graph.number(0, node.dtype)
        return graph.map("select({0}, {1}, {2})", node.dtype, kept, node, zero)

    return row


def joined(graph: Graph, nodes: Sequence[Node], axis: int) -> Node:
    """Nodes one after the other along an axis: each written to its part of the whole."""
    sizes = [node.shape[axis] for node in nodes]
    shape = list(nodes[0].shape)
    shape[axis] = sum(sizes)
    whole, start = graph.number(0, nodes[0].dtype, shape), 0
    for node in nodes:
        starts = [start if a == axis else 0 for a in range(len(shape))]
        whole = graph.placed(whole, node, starts, bare=start == 0)
        start += node.shape[axis]
    return whole


def tensors(at: At) -> list[Node]:
    return [at.lowering.node(e, at.dtype) for e in at.operand("tensors").args]


def _cat(at: At) -> Lowered:
    nodes = [node for node in tensors(at) if node.shape != (0,)]
    return joined(at.graph, nodes, at.value("dim", 0) % len(at.shape))


def _stack(at: At) -> Lowered:
    nodes, axis = tensors(at), at.value("dim", 0) % len(at.shape)
    shape = [*at.shape]
    shape[axis] = 1
    return joined(at.graph, [at.graph.reshape(node, shape) for node in nodes], axis)


def _broadcast_tensors(at: At) -> Lowered:
    values: Sequence[torch.Tensor] = at.expr.value
    nodes = [at.lowering.node(e) for e in at.operand("tensors").args]
    return tuple(at.graph.expand(n, v.shape) for n, v in zip(nodes, values, strict=True))


ROWS: dict[str, Row] = {
    **dict.fromkeys(
        (
            "unsqueeze", "transpose", "T", "mT", "permute", "movedim", "expand", "diagonal",
            "narrow", "select", "sliding windows", "split", "unbind", "view of a part",
        ),
        _view,
    ),
    **dict.fromkeys(("flip", "fliplr", "flipud", "rot90"), _mirrored),
    "reshape": _reshape,
    "tril": _triangle("{0} <= {1}"),
    "triu": _triangle("{0} >= {1}"),
    "broadcast_tensors": _broadcast_tensors,
    "cat": _cat,
    "stack": _stack,
}  # fmt: skip
