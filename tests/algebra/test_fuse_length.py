"""A fused text is not longer than the derived one, but where it is clearly cheaper by that."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest
import torch

import gradninja as gn
from gradninja.algebra.find.once import length, no_longer, put_in
from gradninja.algebra.fuse import CLEARLY, _cost
from gradninja.derive.statement import Statement

# What has operations that algebra does not see into: their parts are lines for the walk alone.
PROGRAMS = {
    "masked sigmoid": """
def forward(x, w):
    up, down = x >= 0, x < 0
    z = torch.zeros_like(x)
    z[up] = torch.exp(-x[up])
    z[down] = torch.exp(x[down])
    top = torch.ones_like(x)
    top[down] = z[down]
    return (top / (1 + z) * w).sum()
""",
    "triangular": """
def forward(x, w):
    low = torch.tril(w, -1) + torch.diag_embed(torch.exp(torch.diagonal(w)))
    z = torch.linalg.solve_triangular(low[None], x.unsqueeze(-1), upper=False).squeeze(-1)
    return (-0.5 * z.pow(2).sum(-1) - torch.diagonal(low).log().sum()).mean()
""",
    "distances": """
def forward(x, w):
    return torch.cdist(torch.tanh(x), w).exp().sum()
""",
    "norm": """
def forward(x, w):
    h = F.layer_norm(x @ w, (4,))
    return (h.sigmoid() * F.batch_norm(h, None, None, training=True)).sum()
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_is_no_longer_unless_clearly_cheaper(name: str) -> None:
    torch.manual_seed(0)
    given = {"x": torch.randn(5, 4), "w": torch.randn(4, 4)}
    if name == "masked sigmoid":
        given["w"] = torch.randn(5, 4)
    derived, fused = gn.derive(PROGRAMS[name], given), gn.fuse(PROGRAMS[name], given)
    plain = replace(fused, statements=derived.statements, program=derived.program)
    shorter = length(fused.statements) <= length(derived.statements)
    assert shorter or fused.cost.total() < CLEARLY * _cost(plain).total()
    own = {fused.gradient_names[of] for of in derived.gradient_names if of in fused.gradient_names}
    assert put_in(fused.statements, own) == list(fused.statements)  # no name is there for one use


def statement(target: str, text: str, adds: bool = False) -> Statement:
    back = gn.derive("def forward(x):\n    return (x * 2).exp().sum()\n", {"x": torch.randn(3)})
    value = ast.parse(text, mode="eval").body
    return Statement(target, target, back.statements[0].line, (3,), value=value, adds=adds)


def test_a_name_is_not_put_in_where_it_has_another_value() -> None:
    """`part` is taken before `dx` is added to, and used behind it."""
    safe = [statement("dx", "g"), statement("part", "2 * dx"), statement("dy", "part + 1")]
    written = [*safe[:2], statement("dx", "g", adds=True), safe[2]]
    assert [str(s) for s in put_in(safe, {"dx", "dy"})] == ["dx = g", "dy = 2 * dx + 1"]
    assert len(put_in(written, {"dx", "dy"})) == 4


def test_the_names_that_save_least_are_put_in_until_it_is_no_longer() -> None:
    values = {"torch": torch, "x": torch.randn(3), "m": torch.randn(40, 40), "g": torch.randn(3)}
    names = [statement("small", "torch.exp(x)"), statement("large", "torch.exp(m)")]
    uses = [statement("dx", "small * g * small"), statement("dm", "large * large")]
    lines = [names[0], uses[0], names[1], uses[1]]
    found = no_longer(lines, {"dx", "dm"}, lines[:3], values)
    assert [str(s) for s in found] == [
        "dx = torch.exp(x) * g * torch.exp(x)",
        "large = torch.exp(m)",
        "dm = large * large",
    ]
    written = [names[0], statement("x", "g", adds=True), uses[0]]  # `small` is of the old `x`
    assert no_longer(written, {"x", "dx"}, written[:1], values) == written
