"""What makes fewer elements of many: sums, means, spreads, extremes, norms; and running totals."""

from __future__ import annotations

from gradninja.rules.rule import Rule

DERIVATIVES = "PyTorch, tools/autograd/derivatives.yaml"

REDUCTIONS: tuple[Rule, ...] = (
    Rule(
        "sum",
        ("torch.sum(a, dim=None, keepdim=False)", "a.sum(*dim, keepdim=False)"),
        {"a": "keep(g)"},
        why="a sum in the forward is a broadcast in the backward: every element gets the "
        "gradient of the sum it went into",
        source=DERIVATIVES,
        tests=("a.sum() where a: 3 4",),
    ),
)
