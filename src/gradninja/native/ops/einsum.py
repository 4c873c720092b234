"""Rows for sums of products over named axes: einsum, and attention in one call."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from gradninja.native.maps.graph import Graph, Node, Places
from gradninja.native.maps.lowering import At, Lowered, Row
from gradninja.native.maps.places import Index
from gradninja.native.ops.views import tensors
from gradninja.rules.products.einsum import Equation

_FIRST = Index()
Named = tuple[Node, str]  # a node, and a letter for each of its axes


def _einsum(at: At) -> Lowered:
    text = at.value("equation")
    if not isinstance(text, str):
        raise at.refuse("write the equation as text", "'ij,jk->ik' say")
    nodes = tensors(at)
    equation = Equation.read(text, [len(node.shape) for node in nodes])
    return contracted(at.graph, nodes, equation.operands, equation.result)


def contracted(graph: Graph, nodes: Sequence[Node], letters: Sequence[str], result: str) -> Node:
    """The sum of products of nodes whose axes have letters, over the letters not in the result."""
    sizes: dict[str, int] = {}
    for node, named in zip(nodes, letters, strict=True):
        for letter, size in zip(named, node.shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    operands = [
        _distinct(graph, node, named, sizes) for node, named in zip(nodes, letters, strict=True)
    ]
    while True:
        others = [set(result).union(*(o[1] for o in operands[:i] + operands[i + 1 :]))
                  for i in range(len(operands))]  # fmt: skip
        operands = [_summed(graph, o, keep) for o, keep in zip(operands, others, strict=True)]
        if len(operands) == 1:
            return _ordered(graph, operands[0], result)
        (first, second), rest = operands[:2], operands[2:]
        wanted = set(result).union(*(named for _, named in rest))
        operands = [_pair(graph, first, second, wanted), *rest]


def _distinct(graph: Graph, node: Node, named: str, sizes: dict[str, int]) -> Named:
    """Each letter once: of a repeated one the diagonal; none for an axis that is broadcast."""
    letters = [
        letter
        for letter in dict.fromkeys(named)
        if sizes[letter] == 1 or node.shape[named.index(letter)] != 1
    ]

    def places(at: Places) -> Places:
        found = dict(zip(letters, at, strict=True))
        return tuple(found.get(letter, _FIRST) for letter in named)

    if "".join(letters) == named:
        return node, named
    return graph.view(node, [sizes[letter] for letter in letters], places), "".join(letters)


def _summed(graph: Graph, operand: Named, keep: set[str]) -> Named:
    node, named = operand
    gone = [axis for axis, letter in enumerate(named) if letter not in keep]
    return graph.reduce("sum", node, gone), "".join(c for c in named if c in keep)


def _pair(graph: Graph, one: Named, other: Named, wanted: set[str]) -> Named:
    (a, mine), (b, others) = one, other
    batch = [c for c in mine if c in others and c in wanted]
    gone = [c for c in mine if c in others and c not in wanted]
    left = [c for c in mine if c not in others]
    right = [c for c in others if c not in mine]
    sizes = dict(zip(mine, a.shape, strict=True)) | dict(zip(others, b.shape, strict=True))
    found = "".join([*batch, *left, *right])
    if left and right and gone and "float" in a.dtype:
        across = [sizes[c] for c in batch]
        m, k, n = (math.prod(sizes[c] for c in part) for part in (left, gone, right))
        a = graph.reshape(_turned(graph, a, mine, [*batch, *left, *gone]), [*across, m, k])
        b = graph.reshape(_turned(graph, b, others, [*batch, *gone, *right]), [*across, k, n])
        product = graph.gemm(a, b)
        return graph.reshape(product, [sizes[c] for c in found]), found
    every = [*found, *gone]
    a, b = _spread(graph, a, mine, every), _spread(graph, b, others, every)
    product = graph.map("{0} * {1}", a.dtype, a, b)
    return graph.reduce("sum", product, range(len(found), len(every))), found


def _turned(graph: Graph, node: Node, named: str, order: Sequence[str]) -> Node:
    return graph.permute(node, [named.index(letter) for letter in order])


def _spread(graph: Graph, node: Node, named: str, every: Sequence[str]) -> Node:
    """With an axis for each letter of all, of size 1 where it has none."""
    order = [c for c in every if c in named]
    turned = _turned(graph, node, named, order)
    sizes = dict(zip(order, turned.shape, strict=True))
    return graph.reshape(turned, [sizes.get(c, 1) for c in every])


def _ordered(graph: Graph, operand: Named, result: str) -> Node:
    node, named = operand
    return _turned(graph, node, named, result) if named != result else node


def _tensordot(at: At) -> Lowered:
    graph, a, b, dims = at.graph, at.node("a", at.dtype), at.node("b", at.dtype), at.value("dims")
    if isinstance(dims, int):
        mine, others = [*range(len(a.shape) - dims, len(a.shape))], [*range(dims)]
    else:
        mine, others = (
            [axis % len(n.shape) for axis in ([d] if isinstance(d, int) else d)]
            for n, d in zip((a, b), dims, strict=True)
        )
    letters = [chr(ord("a") + axis) for axis in range(len(a.shape) + len(b.shape))]
    first, second = letters[: len(a.shape)], letters[len(a.shape) :]
    result = [c for axis, c in enumerate(first) if axis not in mine]
    result += [c for axis, c in enumerate(second) if axis not in others]
    for i, j in zip(mine, others, strict=True):
        second[j] = first[i]
    return contracted(graph, [a, b], ["".join(first), "".join(second)], "".join(result))


def _inner(at: At) -> Lowered:
    a, b = at.node("a", at.dtype), at.node("b", at.dtype)
    if not a.shape or not b.shape:
        return at.graph.map("{0} * {1}", at.dtype, a, b)
    first = "abcdefgh"[: len(a.shape) - 1]
    second = "pqrstuvw"[: len(b.shape) - 1]
    return contracted(at.graph, [a, b], [first + "z", second + "z"], first + second)


def _attention(at: At) -> Lowered:
    if at.value("dropout_p"):
        raise at.refuse("dropout is not compiled")
    if at.value("enable_gqa"):
        raise at.refuse("`enable_gqa` is not compiled", "write k.repeat_interleave(...)")
    length, width = at.site.shape("q")[-2:]
    scale = at.value("scale")
    scores = f"q @ k.transpose(-2, -1) * {1 / math.sqrt(width) if scale is None else scale!r}"
    if at.value("is_causal"):
        ones = f"torch.ones({length}, {at.site.shape('k')[-2]}).tril() > 0"
        scores = f"torch.where({ones}, {scores}, -math.inf)"
    elif at.has("attn_mask"):
        masks = at.site.value("attn_mask").dtype == torch.bool
        masked = f"torch.where(attn_mask, {scores}, -math.inf)"
        scores = masked if masks else f"{scores} + attn_mask"
    # Where nothing may be looked at, the result is 0.
    nowhere = f"({scores}).amax(-1, keepdim=True) == -math.inf"
    weights = f"torch.where({nowhere}, 0.0, torch.softmax({scores}, -1))"
    return at.lowering.written_out(at, f"{weights} @ v")


ROWS: dict[str, Row] = {
    "einsum": _einsum,
    "tensordot": _tensordot,
    "inner": _inner,
    "scaled_dot_product_attention": _attention,
}
