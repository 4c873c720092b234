"""What moves elements about without changing them: shapes, orders, copies, parts, joins."""

from __future__ import annotations

from gradninja.rules.rule import Rule

DERIVATIVES = "PyTorch, tools/autograd/derivatives.yaml"

VIEWS: tuple[Rule, ...] = (
    Rule(
        "reshape",
        ("torch.reshape(a, shape)", "a.reshape(*shape)", "a.view(*shape)"),
        {"a": "g.reshape(a.shape)"},
        why="the same elements in another shape: the gradient goes back into the old one",
        source=DERIVATIVES,
        tests=("a.reshape(2, 6) where a: 3 4",),
        view=True,
    ),
)
