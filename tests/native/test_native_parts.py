"""Arrays written part by part are written once; turned ones in blocks; sums over several axes."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
import torch

from gradninja.native.maps.places import Index, Part, Var, index_of
from native_plain import lowered_forward, run

N, T, D = 3, 6, 32


def _inputs() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    found: dict[str, Any] = {
        name: torch.randn(shape, generator=generator)
        for name, shape in (("x", (N, T, D)), ("y", (N, T, D)), ("W", (D, 5)), ("C", (4, D)))
    }
    return found | {"ix": torch.randint(0, 4, (N, T), generator=generator)}


def _held(text: str, **more: Any) -> str:
    """Runs lines beside PyTorch; the loops."""
    inputs = _inputs() | more
    head = f"def forward({', '.join(inputs)}):\n    "
    scope: dict[str, Any] = {"torch": torch}
    exec(head + text.replace("\n", "\n    "), scope)
    expected = scope["forward"](**{name: value.clone() for name, value in inputs.items()})
    made = lowered_forward(head + text.replace("\n", "\n    "), inputs)
    found = run(made, {name: value.numpy() for name, value in inputs.items()})
    several = expected if isinstance(expected, tuple) else (expected,)
    for true, array in zip(several, found.values(), strict=True):
        torch.testing.assert_close(torch.from_numpy(array), true, rtol=1e-5, atol=1e-6)
    return made.source


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("h = torch.stack([x[:, 0], x[:, 1], y[:, 0], y[:, 1]], 1)\nreturn h", 4),
        ("h = torch.cat([x, y, x + y], 2)\nreturn h", 3),
        ("h = torch.zeros_like(x)\nh[0] = y[1]\nh[1] = y[0]\nh[2] = x[2]\nreturn h", 4),
    ],
)
def test_each_part_is_written_and_nothing_copied(text: str, loops: int) -> None:
    outermost = re.findall(r"^    for ", _held(text), re.MULTILINE)
    assert len(outermost) == loops


@pytest.mark.parametrize(
    "text",
    [
        "h = torch.cat([x, y], 2)\ng = h.clone()\ng[0] = 5.0\nreturn h, g",
        "h = torch.zeros_like(x)\nh[0] = y[1]\ng = h.clone()\ng[1] = h[0] + 1\nreturn h * 2, g",
        "h = x.cumsum(1)\ng = h.clone()\ng[0] = h[1]\nreturn g",
    ],
)
def test_what_else_is_read_is_left_as_it_was(text: str) -> None:
    _held(text)


def test_a_turned_array_is_gone_through_in_blocks_and_sums_keep_their_order() -> None:
    text = "g = (x * 2).permute(2, 1, 0).contiguous()\nh = C.clone()\n"
    text += "h.index_put_((ix,), g.permute(2, 1, 0), accumulate=True)\nreturn h, g"
    source = _held(text)
    assert re.search(r"\[16 \* i \+ \w+ \+ 32 \* ix_\]", source)


def test_a_sum_over_two_axes_that_lie_apart_needs_no_copy() -> None:
    text = "a, b = x.transpose(0, 1).exp(), y.exp()\n"
    text += "return torch.einsum('tni,ntj->ij', a, b)"
    source = _held(text)
    assert source.count("gemm(") == 1


@pytest.mark.parametrize("adds", [True, False])
@pytest.mark.parametrize(
    ("rows", "index"),
    [
        (1, "torch.arange(h.shape[0]), torch.tensor([0, 2, 0])"),
        (1, "torch.arange(1) * 0, torch.arange(3)"),
        (3, "torch.arange(3), torch.tensor([0, 2, 0])"),
        (3, "torch.arange(3)[:, None], torch.tensor([0, 2, 0])"),
        (1, "torch.tensor([0]), torch.tensor([1, 1, 2])"),
    ],
)
def test_a_place_that_is_broadcast_is_written_at_each_turn(
    rows: int, index: str, adds: bool
) -> None:
    """Also where the rows that are counted up are one, and what looks up columns repeats."""
    place = ", accumulate=True" if adds else ""
    lines = f"h = torch.zeros({rows}, 3)\ng = h.index_put(({index}), torch.ones(3){place})"
    assert _held(f"{lines}\nreturn g * x.sum()")


def test_a_sum_goes_through_memory_in_its_order_behind_a_view() -> None:
    """Of what lies (T, D, N): the longest steps are outermost, whatever the view's order is."""
    text = "a = torch.tanh(C[ix] @ C.T)\n"
    text += "h = torch.stack([a[:, 0], a[:, 1], a[:, 2]], 1).flatten(0, 1)\nreturn h.sum(0)"
    source = _held(text)
    inner = r"for (\w) in [^\n]*\n +out_ = plus\(out_, h_part\[3 \* \w \+ \1 \+ 12 \* \w\]"
    assert re.search(inner, source)


@pytest.mark.parametrize("rows", [6, 9])
def test_the_batch_lies_innermost_where_a_part_of_a_parameter_is_read(rows: int) -> None:
    """Its axis is no batch then, however many arrays have it; short sums are written out."""
    text = "h = torch.tanh(C[ix] + P[:6])\nreturn (h @ h.transpose(1, 2)).exp().sum((0, 1))"
    drawn = torch.Generator().manual_seed(2)
    more = {"P": torch.randn(rows, D, generator=drawn), "ix": torch.randint(0, 4, (16, 6))}
    source = _held(text, **more)
    assert "(16, 6, 6), lies (6, 6, 16)" in source
    assert re.search(r"for \w in \(0, 1, 2, .*31,\):", source)


def test_places_in_units_are_divided_exactly() -> None:
    """A view of a view: quotients and rests of sums whose least terms fill no unit."""
    draw = random.Random(0)
    for _ in range(300):
        variables = [Var(name, draw.choice([2, 3, 4, 8, 16])) for name in "ijk"]
        at = Index(draw.choice([0, 1, 5]))
        for variable in variables:
            at = at + index_of(variable) * draw.choice([1, 2, 3, 4, 8, 16, 32, 64])
        by = draw.choice([2, 3, 4, 6, 8, 12, 16, 32, 64, 128])
        values = {variable: draw.randrange(variable.size) for variable in variables}
        whole, rest = divmod(_value(at, values), by)
        assert (_value(at // by, values), _value(at % by, values)) == (whole, rest), (at, by)


def _value(at: Index, values: dict[Any, int]) -> int:
    total = at.constant
    for atom, step in at.terms:
        if isinstance(atom, Part):
            inner = _value(atom.of, values)
            total += step * (inner // atom.by if atom.kind == "//" else inner % atom.by)
        else:
            total += step * values[atom]
    return total
