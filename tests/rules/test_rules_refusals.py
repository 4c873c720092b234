"""What single rows refuse, and what their test texts cannot say: targets left out, repeats."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import gradninja as gn
from gradninja.errors import DeriveError

X = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 3, 4)
ROWS = torch.tensor([1, 0, 1, 1])


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("x[True]", "True or False"),
        ("x[[True, False]]", "plain ints"),
        ("x.gather(2, i, sparse_grad=True)", "sparse_grad"),
        ("F.embedding(i[0], x[0], max_norm=1.0)", "max_norm"),
        ("F.embedding(i[0], x[0], scale_grad_by_freq=True)", "scale_grad_by_freq"),
        ("torch.einsum(x.detach(), [0, 1, 2], x, [0, 1, 2])", "write the equation as text"),
        ("torch.einsum('...d,...d->...', x[:1].float(), x[0, 0, :1])", "several dtypes"),
        ("F.softmax(x)", "dim=-1"),
        ("F.mse_loss(x, x * 2, size_average=True)", "reduction="),
        ("F.normalize(x, p=1.0)", "p=2"),
        ("F.pairwise_distance(x, x * 2, p=0.5)", "from 1 on"),
        ("F.conv1d(x, x[:, :, :2], padding='same')", "F.pad"),
        (
            "F.instance_norm(x, x[0, 0, :3].detach(), x[0, 1, :3].detach(), use_input_stats=False)",
            "running",
        ),
        (
            "F.batch_norm(x, x[0, :, 0].detach(), x[0, :, 1].detach().exp(), training=True)",
            "running statistics",
        ),
        ("F.scaled_dot_product_attention(x, x, x, dropout_p=0.5)", "dropout"),
        ("7.0 % x", "divides a plain number"),
        ("torch.remainder(7, x)", "divides a plain number"),
        ("torch.block_diag(x[0], x[0, 0, :0])", "empty vector"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_refused_with_the_reason_and_the_place(expression: str, words: str) -> None:
    with pytest.raises(DeriveError, match=words) as refused:
        gn.derive(
            f"def forward(x, i):\n    return {expression}\n",
            inputs={"x": X, "i": ROWS.expand(2, 3, 4)},
        )
    assert refused.value.spot is not None
    assert refused.value.spot.line == 2


@pytest.mark.parametrize("style", ["readable", "exact"])
@pytest.mark.parametrize("loss", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_targets_of_minus_100_are_left_out(loss: str, reduction: str, style: str) -> None:
    """PyTorch's default `ignore_index`, without a word in the forward."""
    text = f"def forward(a, t):\n    return F.{loss}(a, t, reduction='{reduction}')\n"
    a = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([1, -100, 3, 0, -100])
    back = gn.derive(text, inputs={"a": a, "t": t}, style=style)
    leaf = a.clone().requires_grad_()
    out = getattr(F, loss)(leaf, t, reduction=reduction)
    g = torch.full_like(out, 1.5)
    (true,) = torch.autograd.grad(out, leaf, g)
    torch.testing.assert_close(back({"a": a, "t": t}, g)["da"], true, rtol=1e-12, atol=1e-14)


def test_targets_left_out_unforeseen_are_not_taken_for_a_class() -> None:
    text = "def forward(a, t):\n    return F.cross_entropy(a, t)\n"
    a = torch.zeros(3, 4, dtype=torch.float64)
    back = gn.derive(text, inputs={"a": a, "t": torch.tensor([0, 1, 2])})
    with pytest.raises(DeriveError, match="non-negative"):
        back({"a": a, "t": torch.tensor([0, -100, 2])})


@pytest.mark.parametrize("pick", ["x[i]", "x[:, i]", "x.index_select(0, i)", "F.embedding(i, x)"])
def test_repeats_are_summed_before_they_are_added(pick: str) -> None:
    """Exact style: (earlier + (g + g + ...)), bit for bit, and not ((earlier + g) + g)."""
    lines = (f"picked = {pick}", "once = x * x", "return once.sum() * picked")
    text = "\n    ".join(("def forward(x, i):", *lines)) + "\n"
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 6, generator=generator)
    i = torch.randint(0, 6, (200,), generator=generator)
    scope: dict[str, object] = {"torch": torch, "F": F}
    exec(text, scope)
    leaf = x.clone().requires_grad_()
    out: Tensor = scope["forward"](leaf, i)  # type: ignore[operator]
    g = torch.randn(out.shape, generator=generator)
    (true,) = torch.autograd.grad(out, leaf, g)
    back = gn.derive(text, inputs={"x": x, "i": i}, style="exact")
    assert torch.equal(back({"x": x, "i": i}, g)["dx"], true)


@pytest.mark.parametrize(
    ("call", "rows", "columns", "cut"),
    [
        ("svd(a)", 3, 4, True),
        ("svd(a)", 4, 3, True),
        ("svd(a)", 3, 3, False),
        ("svd(a, full_matrices=False)", 3, 4, False),
    ],
)
def test_singular_vectors_are_cut_off_where_there_are_too_many(
    call: str, rows: int, columns: int, cut: bool
) -> None:
    a = torch.linspace(-1, 1, rows * columns, dtype=torch.float64).reshape(rows, columns).sin()
    source = gn.derive(f"def forward(a):\n    return torch.linalg.{call}[1]\n", {"a": a}).source
    assert ("[..., :" in source) == cut
