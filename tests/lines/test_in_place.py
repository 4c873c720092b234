"""Lines that write in place, read by what they mean: each write makes a new version of the name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

import gradninja as gn
from gradninja.errors import ReadError

READ = {
    "operators": "h = x * 2; h += y; h -= 1; h *= y; h /= 3; out = h * h",
    "an alias": "h = x * 2; g = h; g += y; out = h * g",
    "an alias that contiguous gives": "h = x * 2; g = h.contiguous(); g += y; out = h",
    "an alias in a list": "l = [x * 1, y * 1]; l[0] += 1; a, b = l; a += b; out = l[0] * l[1]",
    "a number": "total = 0.0\nfor i in range(3): total += (x[i] * y[i]).sum()\nout = total",
    "methods": "h = x * y; h.add_(1).mul_(y); h.neg_(); h.relu_(); out = h + x",
    "methods of what has no name": "out = (x * y).clamp_(-1, 1) + torch.zeros(3, 4).add_(x)",
    "inplace=True": "h = x * y; g = F.relu(h, inplace=True); out = h + g + F.elu_(x * 2)",
    "columns": "out = torch.zeros(3, 4)\nfor t in range(4): out[:, t] = x[:, t] * y[:, 3 - t]",
    "a table": "R = torch.zeros(4, 5)\nfor i in range(3):\n    for j in range(4):\n"
    "        R[i + 1, j + 1] = x[i, j] + R[i, j] + R[i, j + 1].clone()\nout = R[1:, 1:] * y",
    "slices": "h = x.clone(); h[:, 1:3] = y[:, :2]; h[::2, 0] += 1; h[0] = 0; "
    "h[..., -1] = y[..., 0]; h[1, :2] *= y[1, :2]; h[-2:] += 1; out = h * y",
    "what follows an ellipsis": "h = x.clone(); h[..., 1:, 2] = y[..., 1:, 0]; "
    "h[..., ix[:2]] += x[:, :2]; h[0, ...] *= 2; h[..., 0, :][1:3] = 0; out = h * y",
    "all of it": "h = torch.empty_like(x); h[:] = y; h[...] += x; out = h * x",
    "a mask": "h = x * y; h[x > 0] = 0; h[h < -1] = -1.0; out = h + x",
    "a mask with values": "h = x * 1; h[x > 0] = (y * 2)[x > 0]; h[y > 0] *= 3; out = h * y",
    "a mask of rows": "h = x * 1; h[torch.tensor([True, False, True])] = 5; out = h * y",
    "rows": "h = y * 2; h[ix[:2]] = x[:2]; h[:, ix[:2]] += x[0, :2]; out = h * x",
    "pairs": "h = x * 2; i = torch.arange(3); h[i, ix] = 7.0; h[i, ix] += x[:, 0]; out = h",
    "masked_fill_": "h = x * 1; h.masked_fill_(y > 0, -1e9); out = h.softmax(-1)",
    "copy_": "h = torch.zeros_like(x); h.copy_(y[0]); h[1].copy_(x[1]); h[2] += y[2]; out = h * x",
    "zero_ and fill_": "h = x * y; h.zero_(); h.add_(y, alpha=2); h[0].fill_(3); out = h + x",
    "index_add_": "h = torch.zeros(5, 4); h.index_add_(0, ix, x); out = h",
    "scatter_": "h = torch.zeros(3, 5); at = ix.expand(3, 3); h.scatter_(1, at, x[:, :3]); "
    "h.scatter_add_(1, at, y[:, :3]); out = h",
    "ints": "p = ix.clone(); p[0] = 2; p += 0; out = x[p]",
    "what is copied is no alias": "h = torch.zeros(3, 4); h[:] = y; h += x; out = h * y",
    "parts that do not overlap": "h = x * 2; a, b = h[:1], h[1:]; out = h * 1; "
    "c = torch.cat([a, b]) ; out = c * y",
    "a view of another shape": "h = x * 1; h.view(-1)[3] = 5.0; h.view(12)[1:3].exp_(); out = h",
    "a diagonal": "h = x[:, :3] * 1; torch.diagonal(h).add_(y[0, :3]).pow_(2); "
    "h.diagonal(1).zero_(); h.fill_diagonal_(0.5); out = h.tril() * y[:, :3]",
    "a transposed view": "h = x * 1; h.t()[1] = y[:, 2]; h.T[0].mul_(y[:, 0]); "
    "h[:, 1:].transpose(0, 1)[0].copy_(y[:, 3]); h.permute(1, 0)[2, 1:] *= y[1:, 1]; out = h",
    "parts of parts": "h = x * 1; h.unsqueeze(0)[0, :, 2] += y[:, 0]; h.narrow(1, 1, 2).mul_(2); "
    "h[..., 0][y[:, 0] > 0] = 0.0; h.select(0, 1).add_(1); out = h * y",
    "what `.data` takes": "h = x * y; out = h - (h - x).data",
    "a view that is not read again": "h = x * 2; a = h[0]; a += y[0]; out = a + 1",
}
REFUSED = {
    "a view read later": ("h = x * 2; a = h[0]; h += y; out = a", "`a` shares memory with `h`"),
    "through a view": ("h = x * 2; a = h[0]; a += 1; out = h * y", "`h` shares memory with `a`"),
    "windows of it": ("h = x[0] * 1; h.unfold(0, 2, 1).add_(1); out = h", "through a view of `h`"),
    "an input": ("x += y; out = x", "changes the input `x`"),
    "a part of an input": ("x[0] = 1; out = x * y", "changes the input `x`"),
    "an input by another name": ("h = x.view(12); h += 1; out = h", "changes the input `x`"),
    "without gradient": (
        "h = x * 1\nwith torch.no_grad(): h[0] = 0\nout = h",
        "has a gradient and is written to under no_grad",
    ),
    "a new axis": ("h = x * 1; h[None] = y; out = h", "outside of what is written to"),
    "a shape that does not fit": ("h = x[0] * 1; h += x; out = h", "does not run"),
    "no rule": ("h = x * 1; h.geometric_(0.5); out = h", "geometric_"),
}


def text_of(lines: str) -> str:
    rows = [row for part in lines.split("\n") for row in [part.replace("; ", "\n    ")]]
    body = "\n    ".join(rows)
    return f"def forward(x, y, ix):\n    {body}\n    return out\n"


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """What a forward makes itself, with torch.zeros say, is in float64 too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def given() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    x, y = (torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    return {"x": x, "y": y, "ix": torch.tensor([2, 0, 1])}


@pytest.mark.parametrize("name", READ)
def test_in_place_lines_have_autograds_gradients(name: str, given: dict[str, torch.Tensor]) -> None:
    text = text_of(READ[name])
    back = gn.derive(text, given)
    scope: dict = {"torch": torch, "F": F}
    exec(text, scope)
    leaves = {n: given[n].clone().requires_grad_() for n in "xy"}
    out = scope["forward"](**leaves, ix=given["ix"])
    cotangent = torch.randn_like(out)
    true = torch.autograd.grad(out, list(leaves.values()), cotangent, allow_unused=True)
    found = back(given, cotangent)
    for (n, leaf), gradient in zip(leaves.items(), true, strict=True):
        expected = torch.zeros_like(leaf) if gradient is None else gradient
        torch.testing.assert_close(found[f"d{n}"], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_refused_in_words(name: str, given: dict[str, torch.Tensor]) -> None:
    lines, told = REFUSED[name]
    with pytest.raises(ReadError) as caught:
        gn.derive(text_of(lines), given)
    assert told in str(caught.value)
    assert caught.value.spot is not None


def test_each_write_makes_a_new_version_that_the_text_names(given: dict[str, torch.Tensor]) -> None:
    back = gn.derive(text_of("h = x * 2; h[:, 1] = y[:, 0]; h += 1; out = h * x"), given)
    assert [line.code for line in back.program.lines] == [
        "h = x * 2",
        "h_1 = h.select_scatter(y[:, 0], 1, 1)",
        "h_2 = h_1 + 1",
        "out = h_2 * x",
    ]
