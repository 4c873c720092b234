"""Masks: how many elements they pick is held to; and machine code of what orders and scans."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradninja.native import NativeError, compile, compile_training
from native_plain import lowered_forward, run


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADNINJA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


PICKS = """
def forward(x, keep):
    picked = x[keep]
    loss = (picked * picked).mean()
    return loss
"""


def _truth(text: str, wrt: list[str], inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    scope: dict[str, Any] = {"torch": torch, "F": F}
    exec(text, scope)
    leaves = {n: v.clone().requires_grad_() if n in wrt else v for n, v in inputs.items()}
    loss = scope["forward"](**leaves)
    found = torch.autograd.grad(loss, [leaves[n] for n in wrt])
    return {"loss": loss.detach()} | {f"d{n}": g for n, g in zip(wrt, found, strict=True)}


def test_another_number_of_elements_is_compiled_anew() -> None:
    step = compile(PICKS)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 3, generator=generator).double()
    for rows in ([0, 2], [1, 3], [0, 1, 3], [2]):
        keep = torch.zeros(4, dtype=torch.bool)
        keep[rows] = True
        inputs = {"x": x, "keep": keep}
        found = step(**inputs)
        for name, true in _truth(PICKS, ["x"], inputs).items():
            torch.testing.assert_close(found[name], true)


def test_a_kernel_for_one_number_of_elements_refuses_another() -> None:
    x, keep = torch.ones(4, 3), torch.tensor([True, False, True, True])
    made = compile(PICKS).specialised(x=x, keep=keep)
    for wrong in ([True, False, False, True], [True, True, True, True]):
        with pytest.raises(IndexError, match="picks another number of elements than the 3"):
            run(made, {"x": x.numpy(), "keep": np.array(wrong)})


def test_what_picks_nothing_is_told() -> None:
    with pytest.raises(NativeError, match="empty"):
        compile(PICKS).specialised(x=torch.ones(4, 3), keep=torch.zeros(4, dtype=torch.bool))


STEP = """
def step(W, Xb, Yb):
    h = W[Xb[:, 0]]
    {line}
    loss = kept.sum()
    dW = W * loss
    return locals()
"""


def _compile_training(line: str) -> None:
    W, Xb, Yb = np.ones((5, 4), np.float32), np.zeros((6, 2), np.int64), np.ones(6, np.int64)
    compile_training(STEP.format(line=line), {"W": W, "Xb": Xb, "Yb": Yb}, ["W"])


def test_training_takes_no_mask_whose_count_may_differ_from_batch_to_batch() -> None:
    with pytest.raises(NativeError, match="may differ from batch to batch") as caught:
        _compile_training("kept = h[Yb > 0]")
    assert caught.value.spot is not None
    assert "kept = h[Yb > 0]" in caught.value.spot.text
    _compile_training("kept = h[torch.arange(6) > 2]")
    _compile_training("kept = torch.where((Yb > 0)[:, None], h, 0.0)")


WRITES = {
    "a number": "d = x.clone(); d[m] = 2.5; y = d * x",
    "a number added": "d = x.clone(); d[m] += 2.5; y = d * x",
    "a row": "d = x.clone(); d[m[:, 0]] = x[1] * 3; y = d * x",
    "a row added": "d = x.clone(); d[m[:, 0]] += x[1:2]; y = d * x",
    "what another mask picks": "d = x.clone(); d[m] = x[m] * x[m]; y = d * x",
    "half of an index": "d = x.clone(); d[:, m[0]] = 7.0; y = d * x",
    "masked_fill_": "d = x.clone(); d.masked_fill_(~m, -1.0); y = d * x",
}


@pytest.mark.parametrize("name", WRITES)
def test_writing_where_a_mask_is_true(name: str) -> None:
    lines = WRITES[name].replace("; ", "\n    ")
    backward = f"def backward(x, m, loss):\n    {lines}\n    dx = y\n    return dx\n"
    forward = "def forward(x, m):\n    loss = (x * m).sum()\n    return loss\n"
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(4, 3, generator=generator).double()
    m = torch.rand(4, 3, generator=generator) > 0.4
    m[2] = True
    made = compile(forward, backward).specialised(x=x, m=m)
    scope: dict[str, Any] = {"torch": torch}
    exec(backward, scope)
    true = scope["backward"](x, m, None)
    found = run(made, {"x": x.numpy(), "m": m.numpy()})["dx"]
    np.testing.assert_allclose(found, true.numpy(), rtol=1e-12)


# One text with all that has loops of its own kind, so that it is compiled once.
MACHINE = """
def forward(x, w, i, m):
    a = torch.cumsum(x, 1) + x.cumprod(0)
    b = torch.sort(a, dim=1, descending=True).values * torch.roll(a, 2, 1)
    c = F.conv1d(F.pad(b[None], (2, 1)), w, stride=2)
    d = torch.einsum("nct,kct->nk", c, c * 0.5).sum() + (a.detach() // 0.3 * a).sum()
    return d + x[m].square().mean() + F.cross_entropy(b, i, ignore_index=1)
"""


def test_machine_code_of_scans_orders_windows_and_masks() -> None:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(4, 6, generator=generator).double()
    inputs = {
        "x": x,
        "w": torch.randn(3, 4, 3, generator=generator).double(),
        "i": torch.tensor([0, 1, 4, 2]),
        "m": x > 0,
    }
    given = {n: v.float() if v.is_floating_point() else v for n, v in inputs.items()}
    wide = {n: v.double() if v.is_floating_point() else v for n, v in given.items()}
    truth = _truth(MACHINE, ["x", "w"], wide)
    found = compile(MACHINE)(**given)
    for name, true in truth.items():
        assert found[name].dtype == torch.float32
        assert float((found[name].double() - true).norm()) <= 1e-6 * float(true.norm()), name


@pytest.mark.parametrize("by", ["b", "0.1", "-0.3"])
def test_quotients_are_rounded_as_in_pytorch(by: str) -> None:
    """1 // 0.1 is 9, as 0.1 is a little more than a tenth, though 1 / 0.1 is 10."""
    a = torch.tensor([1.0, 0.3, -1.0, -0.3, 0.0, 7.5, 6.0, -6.0, 1e10]).double()
    b = torch.tensor([0.1, 0.1, 0.1, -0.1, 3.0, -2.5, 2.0, 4.0, 3e-7]).double()
    text = f"def forward(a, b):\n    return a // {by}, torch.div(a, {by}, rounding_mode='trunc')\n"
    scope: dict[str, Any] = {"torch": torch}
    exec(text, scope)
    found = run(lowered_forward(text, {"a": a, "b": b}), {"a": a.numpy(), "b": b.numpy()})
    for array, true in zip(found.values(), scope["forward"](a, b), strict=True):
        np.testing.assert_array_equal(array, true.numpy())


def test_ints_are_divided_by_numbers() -> None:
    text = "def forward(i):\n    return i // 3, i % 3, (i - 5) // 2, (i - 5) % 2\n"
    i = torch.arange(10)
    found = run(lowered_forward(text, {"i": i}), {"i": i.numpy()})
    true = i // 3, i % 3, (i - 5) // 2, (i - 5) % 2
    for array, expected in zip(found.values(), true, strict=True):
        np.testing.assert_array_equal(array, expected.numpy())
    with pytest.raises(NativeError, match="plain numbers"):
        lowered_forward("def forward(i):\n    return i // (i + 1)\n", {"i": i})
