"""Functions of torch's that are read as several lines: they give what torch gives, both ways."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import gradninja as gn

# What they are called with: a, b of (3, 4), p positive, m and s square, k of (3, 2), v and u
# vectors, x of three axes, c images, q of four axes, i places, sig a signal.
CALLS = """\
torch.linalg.matrix_norm(x)
torch.linalg.matrix_norm(x, 'nuc', keepdim=True)
torch.linalg.matrix_norm(x, 2, dim=(0, 2))
torch.linalg.matrix_norm(x, -2)
torch.linalg.matrix_norm(x, 1, dim=(2, 0))
torch.linalg.matrix_norm(x, -1)
torch.linalg.matrix_norm(x, float('inf'))
torch.linalg.matrix_norm(x, -float('inf'), dim=(0, 1), keepdim=True)
torch.linalg.cond(m)
torch.linalg.cond(m, -2)
torch.linalg.cond(m, 'fro')
torch.linalg.cholesky_ex(m @ m.mT + torch.eye(3))[0]
torch.linalg.cholesky_ex(m @ m.mT + torch.eye(3), upper=True)[0]
torch.linalg.inv_ex(s + torch.eye(3))[0]
torch.linalg.solve_ex(s + torch.eye(3), k)[0]
torch.linalg.solve_ex(s + torch.eye(3), a, left=True)[0]
torch.linalg.householder_product(k, v[:2])
torch.linalg.householder_product(x[..., :2], x[:, 0, :2])
torch.linalg.tensorinv(q)
torch.linalg.tensorinv(q.reshape(4, 2, 2), ind=1)
torch.linalg.tensorsolve(q, s[:2, :2])
torch.triangular_solve(k, s + torch.eye(3))[0]
torch.triangular_solve(k, s + torch.eye(3), upper=False)[0]
torch.triangular_solve(k, s + torch.eye(3), transpose=True, unitriangular=True)[0]
torch.linalg.vander(a)
torch.linalg.vander(v, N=2)
torch.vander(v)
torch.vander(v, 3, increasing=True)
torch.diagflat(a, 1)
torch.combinations(v)
torch.combinations(v, 3, with_replacement=True)
torch.dsplit(x, 2)[1]
torch.nn.utils.parameters_to_vector([a, v])
F.max_unpool2d(*F.max_pool2d(c[..., :4, :4], 2, return_indices=True), 2)
F.max_unpool2d(*F.max_pool2d(c, 3, 2, return_indices=True), 3, 2, output_size=(5, 5))
torch.cumulative_trapezoid(a)
torch.cumulative_trapezoid(a, dx=0.5, dim=0)
torch.cumulative_trapezoid(a, b, dim=0)
torch.cumulative_trapezoid(a, v)
torch.gradient(v)[0]
torch.gradient(a, spacing=0.5)
torch.gradient(a, dim=1)[0]
torch.renorm(x, 2, 1, 1.0)
torch.renorm(x, 1, -1, 2.0)
torch.ldexp(a, i)
torch.float_power(p, 1.5)
torch.fft.hfft(a)
torch.fft.hfft(a, 5, norm='ortho')
torch.fft.ihfft(a).real
torch.fft.ihfft(a, dim=0, norm='forward').imag
torch.stft(sig, 8, return_complex=True).abs()
torch.stft(sig[:9], 4, 2, 3, pad_mode='constant', return_complex=True).abs()
torch.stft(sig, 8, 4, 5, u, center=False, normalized=True, return_complex=True).abs()
torch.view_as_real(torch.stft(sig.reshape(2, 8), 4, onesided=False, return_complex=True))
F.cosine_embedding_loss(a, b, sign)
F.cosine_embedding_loss(a, b, sign, margin=-0.5, reduction='none')
F.triplet_margin_with_distance_loss(a, b, p)
F.triplet_margin_with_distance_loss(a, b, p, margin=3.0, swap=True, reduction='sum')
F.multilabel_margin_loss(a, labels)
F.multilabel_margin_loss(a[0], labels[1], reduction='sum')
F.multilabel_margin_loss(a, labels, reduction='none')
torch.pdist(a)
F.pdist(a, 1.0)""".splitlines()


STEP = 1e-6


def given() -> dict[str, torch.Tensor]:
    torch.manual_seed(2147483647)
    shapes: dict[str, Any] = {"a": (3, 4), "b": (3, 4), "x": (2, 3, 4), "k": (3, 2), "v": 4}
    shapes |= {"m": (3, 3), "s": (3, 3), "q": (2, 2, 2, 2), "c": (2, 2, 5, 5), "sig": 16}
    found = {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}
    found |= {"p": torch.rand(3, 4, dtype=torch.float64) + 0.2, "u": torch.rand(5).double()}
    found |= {"i": torch.randint(0, 3, (3, 4)), "sign": torch.tensor([1, -1, -1])}
    return found | {"labels": torch.tensor([[3, 0, -1, 1], [1, 2, -1, 0], [0, 1, 2, 3]])}


def parts(value: Any) -> list[torch.Tensor]:
    return list(value) if isinstance(value, tuple) else [value]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("call", CALLS)
def test_it_gives_what_torch_gives(call: str) -> None:
    code = compile(call, "<call>", "eval")
    inputs = {name: value for name, value in given().items() if name in code.co_names}
    back = gn.derive(f"def forward({', '.join(inputs)}):\n    return {call}\n", inputs)

    def run(values: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        return parts(eval(code, {"torch": torch, "F": F, **values}))

    true = run(inputs)
    mine = [back.program.values[name] for name in back.program.outputs]
    for one, other in zip(mine, true, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    cotangents = tuple(torch.randn_like(part) for part in true)
    found = back(inputs, cotangents if len(cotangents) > 1 else cotangents[0])
    way = {n: torch.randn_like(v) for n, v in inputs.items() if v.is_floating_point()}
    ends = []  # by differences: torch's own backward of some writes over what it needs
    for step in (STEP, -STEP):
        moved = run({n: v + step * way[n] if n in way else v for n, v in inputs.items()})
        ends.append(sum(float((p * g).sum()) for p, g in zip(moved, cotangents, strict=True)))
    slope = sum(float((found[f"d{name}"] * along).sum()) for name, along in way.items())
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * STEP), rel=1e-6, abs=1e-7)
