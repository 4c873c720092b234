"""What derive, check and fuse share to run lines: autograd's gradients without its slow imports."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from catalogue import cotangents
from gradninja.lines.scope import vjp


@pytest.mark.parametrize("layout", ["plain", "gapped", "expanded"])
def test_the_gradients_are_autograd_s_bit_for_bit(layout: str) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 3, generator=generator).requires_grad_()
    z = torch.randn(4, 3, generator=generator, dtype=torch.complex64).requires_grad_()
    unused = torch.ones(2, requires_grad=True)

    def outputs() -> list[torch.Tensor]:
        y = torch.tanh(x)
        return [y, (y * z).sum(0), y @ y.T, y]  # one in another's way, and twice

    grads = cotangents(outputs(), 5, layout)
    want = torch.autograd.grad(outputs(), [x, z, unused], grads, allow_unused=True)
    got = vjp(outputs(), [x, z, unused], grads)
    assert got[2] is None and want[2] is None
    assert all(torch.equal(a, b) for a, b in zip(got[:2], want[:2], strict=True))


def test_a_cotangent_that_does_not_fit_is_refused() -> None:
    x = torch.ones(4, 3, requires_grad=True)
    with pytest.raises(RuntimeError):
        vjp([x * 2], [x], [torch.ones(5)])


def test_to_derive_and_to_fuse_does_not_wait_for_sympy() -> None:
    code = (
        "import sys, gradninja as gn\n"
        "text = 'def forward(x: Float[Tensor, \"n d\"]):\\n    y = x.exp().sum(1)\\n    return y'\n"
        "gn.derive(text), gn.fuse(text)\n"
        "print({'sympy', 'torch.distributed.tensor'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
