"""Rows for windows that slide: convolutions as matrix products of windows, unfold, fold, pools.

A convolution is the product of its weights with a matrix whose lines are the windows (im2col,
Chellapilla et al. 2006). Turned round, what each window gives is added to where it came from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradninja.native.maps.graph import Get, Graph, Node, Places
from gradninja.native.maps.lowering import At, Lowered, Row
from gradninja.native.ops.einsum import contracted
from gradninja.native.ops.moves import padded, sliced
from gradninja.rules.rule import DIVISION

_SPACE, _WINDOW = "xyz", "rst"  # letters: where a window stands, and where in a window


@dataclass(frozen=True)
class Slide:
    """How windows slide over axes; a number for each axis."""

    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.window)

    def count(self, space: Sequence[int]) -> list[int]:
        """How many windows there are along each axis."""
        return [
            (size + sum(p) - d * (w - 1) - 1) // s + 1
            for size, w, s, p, d in zip(
                space, self.window, self.stride, self.padding, self.dilation, strict=True
            )
        ]


def _each(value: Any, rank: int) -> tuple[int, ...]:
    several = (value,) * rank if isinstance(value, int) else tuple(value)
    return several * rank if len(several) == 1 else several


def _slide(at: At, window: Sequence[int]) -> Slide:
    rank = len(window)
    dilation = _each(at.value("dilation", 1), rank)
    padding = at.value("padding")
    if padding == "same":
        total = [d * (w - 1) for d, w in zip(dilation, window, strict=True)]
        sides = tuple((t // 2, t - t // 2) for t in total)
    else:
        sides = tuple((p, p) for p in _each(0 if padding == "valid" else padding, rank))
    stride = at.value("stride")
    steps = _each(window if stride in (None, (), []) else stride, rank)
    return Slide(tuple(window), steps, sides, dilation)


def windows(graph: Graph, node: Node, slide: Slide, value: float = 0.0) -> Node:
    """(n, c, *space) -> (n, c, *windows, *window): what each window sees."""
    counts = slide.count(node.shape[2:])
    node = padded(graph, node, [(0, 0), (0, 0), *slide.padding], value)

    def places(at: Places) -> Places:
        return (at[0], at[1], *_seen(at, slide))

    return graph.view(node, (*node.shape[:2], *counts, *slide.window), places)


def _seen(at: Places, slide: Slide) -> Places:
    """The place, in what is padded, of an element of a window."""
    rank = slide.rank
    return tuple(
        at[2 + i] * slide.stride[i] + at[2 + rank + i] * slide.dilation[i] for i in range(rank)
    )


def gathered(graph: Graph, node: Node, slide: Slide, space: Sequence[int]) -> Node:
    """(n, c, *windows, *window) -> (n, c, *space): the elements of windows where they belong."""
    sizes = [size + sum(sides) for size, sides in zip(space, slide.padding, strict=True)]
    whole = graph.number(0, node.dtype, (*node.shape[:2], *sizes))

    def target(get: Get, at: Places) -> Places:
        return (at[0], at[1], *_seen(at, slide))

    found = graph.scatter(whole, node, target, adds=True)
    for axis, (size, (before, _)) in enumerate(zip(space, slide.padding, strict=True), 2):
        found = sliced(graph, found, axis, before, size)
    return found


def _in_groups(graph: Graph, node: Node, axis: int, groups: int) -> Node:
    """An axis of channels as groups of channels."""
    shape = node.shape
    return graph.reshape(node, (*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :]))


def _convolved(graph: Graph, a: Node, weight: Node, slide: Slide, groups: int) -> Node:
    """(n, c, *space), (o, c / groups, *window) -> (n, o, *windows)."""
    seen = windows(graph, a, slide)
    space, window = _SPACE[: slide.rank], _WINDOW[: slide.rank]
    letters = [f"ngc{space}{window}", f"goc{window}"]
    nodes = [_in_groups(graph, seen, 1, groups), _in_groups(graph, weight, 0, groups)]
    found = contracted(graph, nodes, letters, f"ngo{space}")
    counts = seen.shape[2 : 2 + slide.rank]
    return graph.reshape(found, (a.shape[0], weight.shape[0], *counts))


def _turned(
    graph: Graph, g: Node, weight: Node, slide: Slide, groups: int, space: Sequence[int]
) -> Node:
    """(n, o, *windows), (o, c / groups, *window) -> (n, c, *space): a convolution turned round."""
    letters, window = _SPACE[: slide.rank], _WINDOW[: slide.rank]
    counts = slide.count(space)
    if tuple(counts) != g.shape[2:]:  # windows that nothing came from
        sides = [(0, most - size) for most, size in zip(counts, g.shape[2:], strict=True)]
        g = padded(graph, g, [(0, 0), (0, 0), *sides], 0.0)
    nodes = [_in_groups(graph, g, 1, groups), _in_groups(graph, weight, 0, groups)]
    named = [f"ngo{letters}", f"goc{window}"]
    found = contracted(graph, nodes, named, f"ngc{letters}{window}")
    channels = groups * weight.shape[1]
    found = graph.reshape(found, (g.shape[0], channels, *counts, *slide.window))
    return gathered(graph, found, slide, space)


def _batched(at: At, node: Node, rank: int) -> Node:
    """With an axis of examples."""
    return at.graph.reshape(node, (1, *node.shape)) if len(node.shape) == rank + 1 else node


def _with_bias(at: At, found: Node) -> Node:
    if at.has("bias"):
        bias = at.node("bias", at.dtype)
        bias = at.graph.reshape(bias, (bias.size, *(1,) * (len(found.shape) - 2)))
        found = at.graph.map("{0} + {1}", at.dtype, found, bias)
    return at.graph.reshape(found, at.shape)


def _conv(rank: int) -> Row:
    def row(at: At) -> Lowered:
        a, weight = _batched(at, at.node("a", at.dtype), rank), at.node("weight", at.dtype)
        slide = _slide(at, weight.shape[2:])
        return _with_bias(at, _convolved(at.graph, a, weight, slide, at.value("groups")))

    return row


def _conv_transpose(rank: int) -> Row:
    def row(at: At) -> Lowered:
        a, weight = _batched(at, at.node("a", at.dtype), rank), at.node("weight", at.dtype)
        slide, space = _slide(at, weight.shape[2:]), at.shape[-rank:]
        return _with_bias(at, _turned(at.graph, a, weight, slide, at.value("groups"), space))

    return row


def _conv_input(rank: int) -> Row:
    """The gradient of a convolution's input."""

    def row(at: At) -> Lowered:
        g, weight = at.node("grad_output", at.dtype), at.node("weight", at.dtype)
        slide = _slide(at, weight.shape[2:])
        return _turned(at.graph, g, weight, slide, at.value("groups"), at.shape[2:])

    return row


def _conv_weight(rank: int) -> Row:
    """The gradient of a convolution's weights."""

    def row(at: At) -> Lowered:
        graph, groups = at.graph, at.value("groups")
        a, g = at.node("a", at.dtype), at.node("grad_output", at.dtype)
        seen = windows(graph, a, _slide(at, at.shape[2:]))
        for axis, size in enumerate(g.shape[2:], 2):
            seen = sliced(graph, seen, axis, 0, size)
        space, window = _SPACE[:rank], _WINDOW[:rank]
        nodes = [_in_groups(graph, g, 1, groups), _in_groups(graph, seen, 1, groups)]
        letters = [f"ngo{space}", f"ngc{space}{window}"]
        return graph.reshape(contracted(graph, nodes, letters, f"goc{window}"), at.shape)

    return row


def _unfold(at: At) -> Lowered:
    """(n, c, h, w) -> (n, c * window, windows)."""
    graph = at.graph
    slide = _slide(at, _each(at.value("kernel_size"), 2))
    found = windows(graph, _batched(at, at.node("a"), 2), slide)
    return graph.reshape(graph.permute(found, (0, 1, 4, 5, 2, 3)), at.shape)


def _fold(at: At) -> Lowered:
    """(n, c * window, windows) -> (n, c, h, w)."""
    graph, space = at.graph, _each(at.value("output_size"), 2)
    slide = _slide(at, _each(at.value("kernel_size"), 2))
    node = _batched(at, at.node("a"), 1)
    channels = node.shape[1] // math.prod(slide.window)
    apart = (node.shape[0], channels, *slide.window, *slide.count(space))
    node = graph.permute(graph.reshape(node, apart), (0, 1, 4, 5, 2, 3))
    return graph.reshape(gathered(graph, node, slide, space), at.shape)


def _pool(rank: int, largest: bool) -> Row:
    def row(at: At) -> Lowered:
        graph = at.graph
        slide = _slide(at, _each(at.value("kernel_size"), rank))
        uneven = any(map(any, slide.padding)) and at.value("count_include_pad") is False
        if at.value("ceil_mode") or at.has("divisor_override") or uneven:
            raise at.refuse("windows that are not all alike are not compiled")
        node = _batched(at, at.node("a"), rank)
        seen = windows(graph, node, slide, -math.inf if largest else 0.0)
        if largest:
            found, place = _largest(graph, seen, slide, node.shape[2:])
            if not at.value("return_indices"):
                return graph.reshape(found, at.shape)
            shape = at.expr.value[0].shape
            return graph.reshape(found, shape), graph.reshape(place, shape)
        return graph.reshape(_mean(graph, seen, rank), at.shape)

    return row


def _mean(graph: Graph, seen: Node, rank: int) -> Node:
    """Of each window."""
    total = graph.reduce("sum", seen, range(2 + rank, 2 + 2 * rank))
    count = graph.number(math.prod(seen.shape[2 + rank :]), seen.dtype)
    return graph.map("{0} / {1}", seen.dtype, total, count, weight=DIVISION)


def _largest(graph: Graph, seen: Node, slide: Slide, space: Sequence[int]) -> tuple[Node, Node]:
    """The largest of each window, and where it lies in the flattened space."""
    rank = slide.rank
    lines = graph.reshape(seen, (*seen.shape[: 2 + rank], math.prod(slide.window)))
    largest = graph.reduce("max", lines, (2 + rank,), keep=True)
    inside = graph.reshape(graph.first_place(largest, lines, 2 + rank), seen.shape[: 2 + rank])
    inside.range = (0, math.prod(slide.window) - 1)
    total = graph.number(0, "int64")
    for axis, (size, wide) in enumerate(zip(space, slide.window, strict=True)):
        stride, dilation = slide.stride[axis], slide.dilation[axis]
        after = graph.number(math.prod(slide.window[axis + 1 :]), "int64")
        within = graph.map(f"({{0}} // {{1}}) % {wide}", "int64", inside, after)
        start = graph.arange(-slide.padding[axis][0], stride, seen.shape[2 + axis])
        start = graph.reshape(start, (start.size, *(1,) * (rank - 1 - axis)))
        place = graph.map(f"{{0}} + {dilation} * {{1}}", "int64", start, within)
        total = graph.map(f"{size} * {{0}} + {{1}}", "int64", total, place)
    total.range = (0, math.prod(space) - 1)
    return graph.reshape(largest, seen.shape[: 2 + rank]), total


def _adaptive(rank: int) -> Row:
    def row(at: At) -> Lowered:
        node = _batched(at, at.node("a"), rank)
        space, out = node.shape[2:], at.shape[-rank:]
        if any(size % count for size, count in zip(space, out, strict=True)):
            raise at.refuse("windows that are not all alike are not compiled")
        window = tuple(size // count for size, count in zip(space, out, strict=True))
        slide = Slide(window, window, ((0, 0),) * rank, (1,) * rank)
        seen = windows(at.graph, node, slide)
        return at.graph.reshape(_mean(at.graph, seen, rank), at.shape)

    return row


ROWS: dict[str, Row] = {
    **{f"conv{rank}d": _conv(rank) for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": _conv_transpose(rank) for rank in (1, 2)},
    **{f"conv{rank}d_input": _conv_input(rank) for rank in (1, 2, 3)},
    **{f"conv{rank}d_weight": _conv_weight(rank) for rank in (1, 2, 3)},
    **{f"avg_pool{rank}d": _pool(rank, largest=False) for rank in (1, 2)},
    **{f"max_pool{rank}d": _pool(rank, largest=True) for rank in (1, 2)},
    **{f"adaptive_avg_pool{rank}d": _adaptive(rank) for rank in (1, 2)},
    "unfold": _unfold,
    "fold": _fold,
}
