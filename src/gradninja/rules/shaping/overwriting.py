"""What writes into a copy: at a place, a slice, a diagonal, under a mask."""

from __future__ import annotations

from gradninja.rules.rule import Rule, Site
from gradninja.rules.shaping.joins import SOURCE

OVERWRITTEN = "what was overwritten gets no gradient; what was written reads it where it went"


def _scatter_zero(name: str, rest: str) -> str:
    return f"g.{name}(torch.zeros_like(src), {rest})"


def _index_put(site: Site) -> str:
    return "g" if site.value("accumulate") else "g.index_put(indices, g.new_zeros(()))"


OVERWRITING = (
    Rule(
        "select_scatter",
        ("torch.select_scatter(a, src, dim, index)", "a.select_scatter(src, dim, index)"),
        {"a": _scatter_zero("select_scatter", "dim, index"), "src": "g.select(dim, index)"},
        why=OVERWRITTEN,
        source=SOURCE,
        tests=("torch.select_scatter(a, b, 1, 2) where a: 3 4; b: 3",),
    ),
    Rule(
        "slice_scatter",
        (
            "torch.slice_scatter(a, src, dim=0, start=None, end=None, step=1)",
            "a.slice_scatter(src, dim=0, start=None, end=None, step=1)",
        ),
        {
            "a": _scatter_zero("slice_scatter", "dim, start, end, step"),
            "src": "torch.ops.aten.slice(g, dim, start, end, step)",
        },
        why=OVERWRITTEN,
        source=SOURCE,
        tests=(
            "torch.slice_scatter(a, b, 1, 1, 3) where a: 3 4; b: 3 2",
            "a.slice_scatter(b, 0, 0, 4, 2) where a: 5 4; b: 2 4",
        ),
    ),
    Rule(
        "diagonal_scatter",
        (
            "torch.diagonal_scatter(a, src, offset=0, dim1=0, dim2=1)",
            "a.diagonal_scatter(src, offset=0, dim1=0, dim2=1)",
        ),
        {
            "a": _scatter_zero("diagonal_scatter", "offset, dim1, dim2"),
            "src": "g.diagonal(offset, dim1, dim2)",
        },
        why=OVERWRITTEN,
        source=SOURCE,
        tests=(
            "torch.diagonal_scatter(a, b) where a: 3 4; b: 3",
            "a.diagonal_scatter(b, 1, 2, 1) where a: 2 3 3; b: 2 2",
        ),
    ),
    Rule(
        "index_put",
        (
            "a.index_put(indices, values, accumulate=False)",
            "torch.index_put(a, indices, values, accumulate=False)",
        ),
        {"a": _index_put, "values": "g[indices]"},
        why=OVERWRITTEN,
        source=SOURCE,
        tests=(
            "a.index_put((torch.tensor([2, 0]),), b) where a: 3 4; b: 2 4",
            "torch.index_put(a, (i, j), b, True) where a: 3 4; i: 5 < 3; j: 5 < 4; b: 5",
            "a.index_put((m,), b) where a: 3 4; m: 3 bool; b: 4",
        ),
    ),
    Rule(
        "masked_scatter",
        ("torch.masked_scatter(a, mask, source)", "a.masked_scatter(mask, source)"),
        {
            "a": "g.masked_fill(mask, 0)",
            "source": "torch.zeros_like(source).masked_scatter(torch.arange(source.numel(), "
            "device=g.device).reshape(source.shape) < mask.expand_as(g).sum(), "
            "g.masked_select(mask))",
        },
        why=OVERWRITTEN,
        source=SOURCE,
        tests=(
            "torch.masked_scatter(a, m, b) where a: 3 4; m: 3 4 bool; b: 12",
            "a.masked_scatter(m, b) where a: 3 4; m: 4 bool; b: 2 6",
        ),
    ),
)
