"""A gradient has its input's dtype, in any that the forward is called in, beside new tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import gradninja as gn
from catalogue import autograd
from gradninja.derive.holding import dtypes
from gradninja.errors import GradninjaError
from gradninja.rules import BOOK, Book
from independent_writer import write

MIXED = (
    "(torch.eye(z.shape[-1]) * z).sum()",
    "z + z.double()",
    "(z * z.double()).sum()",
    "(z * z.double()).float().sum()",
    "z * torch.arange(4)",
    "(torch.zeros(4) + z).sum()",
    "(torch.ones(4) * z).exp()",
    "(z.double().exp() + z).mean()",
    "z * torch.tensor([1.0, 2.0, 3.0, 4.0])",
    "torch.sigmoid(z.float()) * z",
    "z * torch.linspace(0, 1, 4) + z.type_as(z)",
)
ROUNDING = {torch.float64: 1e-15, torch.float32: 1e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@pytest.mark.parametrize("text", MIXED)
def test_a_gradient_is_of_its_inputs_dtype_and_as_precise(text: str) -> None:
    scope: dict[str, Any] = {"torch": torch}
    source = f"def forward(z):\n    return {text}\n"
    exec(source, scope)
    generator = torch.Generator().manual_seed(0)
    backs = [
        gn.derive(source, {"z": torch.rand(4)}),
        gn.derive(source, {"z": torch.rand(4)}, style="exact"),
        gn.fuse(source, {"z": torch.rand(4)}),
    ]
    for dtype, own in ROUNDING.items():
        rounding = max(own, ROUNDING[torch.float32]) if ".float()" in text else own
        z = torch.rand(4, generator=generator).to(dtype)
        truth, grads = autograd(
            scope["forward"], {"z": z}, lambda out: [torch.full_like(out[0], 0.8033)]
        )
        for back in backs:
            got, want = back({"z": z}, grads[0])["dz"], truth["dz"]
            assert got.dtype == want.dtype == dtype, back.source
            off = float((got.double() - want.double()).abs().max())
            assert off <= 3 * rounding * max(1.0, float(want.abs().max())), (dtype, back.source)


@pytest.mark.parametrize("verb", [gn.derive, gn.fuse], ids=["derive", "fuse"])
def test_a_forward_that_casts_is_read_as_it_is_called(verb: Any) -> None:
    """`x.float() @ w` does not run in float64."""
    scope: dict[str, Any] = {"torch": torch}
    text = "def forward(x, w):\n    h = x.float() @ w\n    return torch.tanh(h).mean()\n"
    exec(text, scope)
    inputs = {"x": torch.rand(3, 4), "w": torch.rand(4, 2)}
    truth, _ = autograd(scope["forward"], inputs, lambda out: [torch.ones_like(out[0])])
    got = verb(text, inputs)(inputs)
    for name, want in truth.items():
        torch.testing.assert_close(got[name], want)


@pytest.mark.parametrize("verb", [gn.derive, gn.fuse], ids=["derive", "fuse"])
def test_two_dtypes_are_refused_or_read_as_they_are_called(verb: Any) -> None:
    """It runs in float32 alone, where `torch.arange(3) / 7` is float32 as well."""
    scope: dict[str, Any] = {"torch": torch}
    text = (
        "def forward(q, k):\n"
        "    a = torch.relu(q * 2 + torch.arange(3) / 7)\n"
        "    return a @ (k.T + torch.zeros(3, 4)).to(torch.float32)\n"
    )
    exec(text, scope)
    inputs = {"q": torch.randn(2, 3), "k": torch.randn(4, 3)}
    truth, grads = autograd(scope["forward"], inputs, lambda out: [torch.ones_like(out[0])])
    for name, got in verb(text, inputs)(inputs, grads[0]).items():
        torch.testing.assert_close(got, truth[name])


FUSED = (
    "torch.eye(z.shape[-1]) * z",
    "(torch.eye(z.shape[-1]) * z).sum()",
    "torch.softmax(z * (torch.arange(4) / 7) + torch.zeros(4), -1)",
    "torch.ones(z.shape) * z.exp() + torch.arange(4) * z",
    "(z * torch.zeros(4) + z**2).mean()",
    "(z * (torch.arange(4) / 7) * z.exp() * (torch.arange(4) / 3)).sum()",
    "z / torch.linspace(1, 2, 4).sqrt() / torch.linspace(2, 3, 4)",
)


@pytest.mark.parametrize("text", FUSED)
def test_beside_new_tensors_a_forward_is_fused_and_keeps_its_digits(text: str) -> None:
    """A new tensor is float32 when it is called: two of them multiplied lose a float64's digits."""
    scope: dict[str, Any] = {"torch": torch}
    source = f"def forward(z):\n    return {text}\n"
    exec(source, scope)
    back = gn.fuse(source, {"z": torch.rand(4)})
    assert back.dropped == ()
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        z = torch.rand(4, generator=torch.Generator().manual_seed(1)).to(dtype)
        truth, grads = autograd(scope["forward"], {"z": z}, lambda o: [torch.ones_like(o[0])])
        got, want = back({"z": z}, grads[0])["dz"], truth["dz"]
        assert got.dtype == dtype
        off = float((got.double() - want.double()).abs().max())
        assert off <= 4 * torch.finfo(dtype).eps * max(1.0, float(want.abs().max())), back.source


def test_a_mask_that_is_closed_when_read_loses_no_digits_when_open() -> None:
    """`mask.float() / 3` is a float32, whatever it meets; while reading all gradients were 0."""
    text = "def forward(x, mask):\n    u = mask.float() * x.tanh()\n    return (u / 3).sin()\n"
    scope: dict[str, Any] = {"torch": torch}
    exec(text, scope)
    x = torch.rand(4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    closed, opened = torch.tensor(False), torch.tensor(True)
    back = gn.fuse(text, {"x": x, "mask": closed})
    truth, grads = autograd(
        scope["forward"], {"x": x, "mask": opened}, lambda o: [torch.ones_like(o[0])]
    )
    got = back({"x": x, "mask": opened}, grads[0])["dx"]
    torch.testing.assert_close(got, truth["dx"], rtol=1e-13, atol=1e-15, msg=back.source)


def test_casts_within_a_line_hold_in_half_precision() -> None:
    """`a @ a.mT + torch.eye(3)` is float32, where a is bfloat16."""
    scope: dict[str, Any] = {"torch": torch}
    text = "def forward(a):\n    return torch.linalg.cholesky(a @ a.mT + torch.eye(3))\n"
    exec(text, scope)
    a = torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    truth, grads = autograd(scope["forward"], {"a": a}, lambda out: [torch.ones_like(out[0])])
    got = gn.derive(text, {"a": torch.randn(3, 3)})({"a": a}, grads[0])["da"]
    torch.testing.assert_close(got, truth["da"], rtol=2e-2, atol=2e-2)


NORMS = (
    """
def forward(x, w):
    h = x.float()
    h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)
    return w * h.type_as(x)
""",
    """
def forward(x, w):
    dtype = x.dtype
    h = x.to(torch.float32)
    variance = h.pow(2).mean(-1, keepdim=True)
    h = h * torch.rsqrt(variance + 1e-6)
    return w * h.to(dtype)
""",
)


@pytest.mark.parametrize("text", NORMS)
def test_a_norm_in_float32_within_half_precision_is_fused(text: str) -> None:
    """Casts stand between values and their own precision: the algebra sees through them."""
    scope: dict[str, Any] = {"torch": torch}
    exec(text, scope)
    generator = torch.Generator().manual_seed(0)
    given = {"x": torch.randn(5, 4, generator=generator), "w": torch.rand(4, generator=generator)}
    back = gn.fuse(text, given)
    assert back.dropped == ()
    assert len(back.statements) <= 4, back.source
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        inputs = {name: value.to(dtype) for name, value in given.items()}
        truth, grads = autograd(scope["forward"], inputs, lambda out: [torch.ones_like(out[0])])
        rounding = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
        for name, got in back(inputs, grads[0]).items():
            want = truth[name]
            assert got.dtype == want.dtype == dtype
            off = float((got.double() - want.double()).abs().max())
            assert off <= 8 * rounding * max(1.0, float(want.abs().max())), (name, dtype)


BLOCK = """
def forward(x, g, wq, wv, ix, eps=1e-6):
    h = {x}
    n = {h} * g
    q = n @ wq
    p = torch.softmax({scores}, dim=-1){back}
    return (x + p @ (n @ wv))[ix]
"""
NORMED = "(h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + eps)){}"


def test_a_block_with_casts_is_as_short_as_one_without() -> None:
    """Float32 in its norm and its softmax, as a Llama has it; it runs in each dtype."""
    cast, plain = (
        BLOCK.format(x=x, h=NORMED.format(back), scores=f"(q @ n.mT){down}", back=back)
        for x, down, back in (("x.float()", ".float()", ".type_as(x)"), ("x * 1", "", ""))
    )
    scope: dict[str, Any] = {"torch": torch}
    exec(cast, scope)
    generator = torch.Generator().manual_seed(0)
    sizes = {"x": (2, 5, 4), "g": (4,), "wq": (4, 4), "wv": (4, 4)}
    given = {name: torch.randn(size, generator=generator) for name, size in sizes.items()}
    given["ix"] = torch.tensor([1, 0, 1])
    back = gn.fuse(cast, given)
    assert back.dropped == ()
    assert len(back.statements) <= len(gn.fuse(plain, given).statements), back.source
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        inputs = {name: v.to(dtype) if name != "ix" else v for name, v in given.items()}
        truth, grads = autograd(scope["forward"], inputs, lambda out: [torch.ones_like(out[0])])
        rounding = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
        for name, got in back(inputs, grads[0]).items():
            want = truth[name]
            assert got.dtype == want.dtype == dtype
            off = float((got.double() - want.double()).abs().max())
            assert off <= 16 * rounding * max(1.0, float(want.abs().max())), (name, dtype)


def without_the_telling_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on lines are held in every precision, whatever one of them tells."""
    hold = dtypes._hold
    monkeypatch.setattr(dtypes, "_hold", lambda *given, alone=False: not alone and hold(*given))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(40))
def test_one_precision_tells_of_all(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write(seed)
    inputs = program.inputs(program.drawn_by, program.read_at)
    try:
        found = gn.derive(program.text, inputs).source
    except GradninjaError:
        return
    without_the_telling_one(monkeypatch)
    assert gn.derive(program.text, inputs).source == found


@pytest.mark.parametrize("line", (*MIXED, "z * z.bfloat16()", "z * z.float().mean()"))
def test_one_precision_tells_of_mixed_ones(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"def forward(z):\n    return {line}\n"
    z = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    found = gn.derive(text, {"z": z}).source
    without_the_telling_one(monkeypatch)
    assert gn.derive(text, {"z": z}).source == found


def test_a_plain_forward_is_held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    hold = dtypes._hold
    monkeypatch.setattr(dtypes, "_hold", lambda *g, **k: called.append(g[1]) or hold(*g, **k))
    gn.derive("def forward(z):\n    return (z * z).tanh()\n", {"z": torch.ones(2)})
    assert called == [dtypes.TELLING]


COARSE = """def forward(z):
    c = torch.stack([z, z]).erf()
    c = c.bfloat16()
    v = F.normalize(c.min(-2, keepdim=True).values, dim=0)
    return (v[..., None] * v).mean()
"""


def test_what_a_forward_casts_down_is_held_to_that_precision() -> None:
    """What cancels in a norm of bfloat16 leaves its roundings, and they accuse no rule."""
    generator = torch.Generator().manual_seed(0)  # which lines are rewritten depends on the values
    for dtype in (torch.float64, torch.float32) * 3:
        z = torch.randn(1, 3, generator=generator, dtype=dtype)
        for back in (gn.derive(COARSE, {"z": z}), gn.fuse(COARSE, {"z": z}, style="in place")):
            assert back({"z": z})["dz"].dtype == dtype, back.source


def test_a_wrong_rule_is_seen_in_low_precision_as_well() -> None:
    book = Book(tuple(BOOK.rows.values()))
    book.add(replace(BOOK["erf"], backward={"a": "2.5 * torch.exp(-(a**2)) * g"}))
    z = torch.randn(1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    text = COARSE.replace("F.normalize(c.min(-2, keepdim=True).values, dim=0)", "c * 2")
    with pytest.raises(GradninjaError, match="is not autograd's"):
        gn.derive(text, {"z": z}, book=book)


@pytest.mark.parametrize(
    "line",
    ["torch.sin(z) * w", "z.cosh() * w", "torch.cumprod(z, 0)", "torch.einsum('i,i->', z, w)"],
)
def test_of_complex_values_a_whole_derivative_is_conjugated(line: str) -> None:
    """What a call in it is made of, too."""
    text = f"""
def forward(a, b, c, d):
    z = torch.complex(a, b)
    w = torch.complex(c, d)
    y = {line}
    return (y.real * a.sum() + y.imag.cos()).sum()
"""
    draw = torch.Generator().manual_seed(0)
    given = {name: torch.rand(3, dtype=torch.float64, generator=draw) + 0.5 for name in "abcd"}
    leaves = {name: value.clone().requires_grad_() for name, value in given.items()}
    z, w = (torch.complex(leaves[one], leaves[two]) for one, two in ("ab", "cd"))
    y = eval(line, {"torch": torch, "z": z, "w": w})
    out = (y.real * leaves["a"].sum() + y.imag.cos()).sum()
    true = torch.autograd.grad(out, list(leaves.values()), allow_unused=True)
    found = gn.derive(text, given)(given)
    for name, gradient in zip(leaves, true, strict=True):
        wanted = torch.zeros(3, dtype=torch.float64) if gradient is None else gradient
        torch.testing.assert_close(found[f"d{name}"], wanted, rtol=1e-12, atol=1e-12)
