"""einops is read as what it means, and held to einops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import einops
import pytest
import torch
from einops import rearrange, reduce, repeat
from einops.layers.torch import Rearrange, Reduce
from torch import Tensor, nn

import gradninja as gn


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(before)


# (what is called, the shape of x)
CALLS = {
    "rearrange(x, 'b (h d) n -> b h n d', h=2)": (2, 6, 3),
    "rearrange(x, 'b h n d -> b n (h d)')": (2, 3, 4, 5),
    "rearrange(x, 'b c (h p1) (w p2) -> b (h w) (p1 p2 c)', p1=2, p2=3)": (1, 2, 4, 6),
    "rearrange(x, 'b ... -> b (...)')": (2, 3, 4),
    "rearrange(x, '... c -> c ...')": (2, 3, 4),
    "rearrange(x, 'b 1 c -> b c')": (2, 1, 3),
    "rearrange(x, 'b c -> b 1 c ()')": (2, 3),
    "rearrange([x, x * 2], 'k b c -> b (k c)')": (2, 3),
    "reduce(x, 'b c (h 2) (w 2) -> b c h w', 'max')": (1, 2, 4, 4),
    "reduce(x, 'b c h w -> b c', 'mean')": (2, 3, 2, 2),
    "reduce(x, 'b n d -> b d 1', 'sum')": (2, 3, 4),
    "reduce(x, 'a b -> ', 'prod')": (2, 3),
    "reduce(x, '... d -> ...', 'min')": (2, 3, 4),
    "repeat(x, 'n d -> b n d', b=3)": (2, 4),
    "repeat(x, 'h w -> (h 2) (w r)', r=3)": (2, 3),
    "repeat(x, '1 d -> b d', b=4)": (1, 3),
    "einops.einsum(x, x + 1, 'b i d, b j d -> b i j')": (2, 3, 4),
    "einops.rearrange(x, 'a b -> b a')": (2, 3),
}


@pytest.mark.parametrize("call", CALLS)
def test_read_as_what_it_means(call: str) -> None:
    text = (
        "import einops\nfrom einops import rearrange, reduce, repeat\n\n\n"
        f"def forward(x):\n    y = {call}\n    return y ** 2\n"
    )
    x = torch.rand(CALLS[call])
    back = gn.derive(text, {"x": x})
    assert "einops" not in back.whole_forward
    leaf = x.clone().requires_grad_()
    names = {"rearrange": rearrange, "reduce": reduce, "repeat": repeat, "einops": einops}
    out = eval(call, {**names, "x": leaf}) ** 2
    gradient = torch.randn_like(out)
    (true,) = torch.autograd.grad(out, leaf, gradient)
    torch.testing.assert_close(back({"x": x}, gradient)["dx"], true, rtol=1e-12, atol=1e-12)


class Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Sequential(
            Rearrange("b c (h p) (w q) -> b (h w) (p q c)", p=2, q=2), nn.Linear(8, 5)
        )
        self.pool = Reduce("b n d -> b d", "mean")
        self.qkv = nn.Linear(5, 12)

    def forward(self, image: Tensor) -> Tensor:
        x = self.cut(image)
        q, k, v = (rearrange(t, "b n (h d) -> b h n d", h=2) for t in self.qkv(x).chunk(3, -1))
        att = torch.softmax(einops.einsum(q, k, "b h i d, b h j d -> b h i j"), -1)
        out: Tensor = self.pool(rearrange(att @ v, "b h n d -> b n (h d)"))
        return out


def test_a_module_with_layers_of_einops() -> None:
    back = gn.derive(Patches(), torch.randn(2, 2, 4, 6))  # held to autograd on the module
    assert "dcut_1_weight" in back.source


def test_a_pattern_that_does_not_fit_is_told() -> None:
    def forward(x: Tensor) -> Any:
        return rearrange(x, "b (h d) -> b h d", h=4)

    with pytest.raises(gn.GradninjaError, match="does not run"):
        gn.derive(forward, {"x": torch.randn(2, 6)})
