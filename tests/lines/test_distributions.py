"""torch.distributions by what they mean, held to torch's own, both ways."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import distributions as D

import gradninja as gn

# m, s, p, q of (4, 3), the last three positive; c square and positive, l a factor of such; x of
# (4, 3), k counts, u within 0 and 1, z of (4,).
CALLS = """\
D.Normal(m, s).log_prob(x)
D.Laplace(m, s).log_prob(x)
D.Exponential(p).log_prob(q)
D.Uniform(m, m + s).log_prob(m.detach() + 0.01)
D.Uniform(m, m + s).entropy()
D.Beta(p, q).log_prob(u)
D.Beta(p, q).entropy() + D.Beta(p, q).mean
D.Gamma(p, q).log_prob(s)
D.Gamma(p, q).entropy() + D.Gamma(p, q).mean
D.Poisson(p).log_prob(k)
D.MultivariateNormal(m[0], c).log_prob(x)
D.MultivariateNormal(m, c).log_prob(x)
D.MultivariateNormal(m, scale_tril=l).log_prob(x)
D.MultivariateNormal(m[0], precision_matrix=c).log_prob(x)
D.MultivariateNormal(m[0], c).entropy()
D.MultivariateNormal(m[0], c).mean
D.kl_divergence(D.Categorical(logits=m), D.Categorical(logits=x))
D.kl_divergence(D.Categorical(p), D.Categorical(q))
D.Categorical(logits=m).entropy()
D.MixtureSameFamily(D.Categorical(logits=m), D.Normal(x, s)).log_prob(z)
D.MixtureSameFamily(D.Categorical(logits=m[0]), D.Normal(x[0], s[0])).log_prob(z)
D.MixtureSameFamily(D.Categorical(m.exp()), D.Independent(D.Normal(b, e), 1)).log_prob(x[:, :2])
D.MixtureSameFamily(D.Categorical(m.exp()), D.Independent(D.Normal(b, e), 1)).mean
""".splitlines()


def _given() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    square = torch.randn(3, 3)
    return {
        "m": torch.randn(4, 3),
        "s": torch.rand(4, 3) + 0.5,
        "p": torch.rand(4, 3) + 0.5,
        "q": torch.rand(4, 3) + 0.5,
        "x": torch.randn(4, 3),
        "u": torch.rand(4, 3) * 0.8 + 0.1,
        "z": torch.randn(4),
        "k": torch.randint(0, 5, (4, 3)),
        "c": square @ square.T + torch.eye(3),
        "l": torch.randn(4, 3, 3).tril(-1) + torch.eye(3),
        "b": torch.randn(4, 3, 2),
        "e": torch.rand(4, 3, 2) + 0.5,
    }


@pytest.mark.parametrize("call", CALLS)
def test_a_distribution_is_torchs_own_both_ways(call: str) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        names = {n for n in _given() if f"{n}" in set(_words(call))}
        given = {n: v for n, v in _given().items() if n in names}
        said = call.replace("D.", "torch.distributions.")
        text = f"def forward({', '.join(given)}):\n    return {said}\n"
        leaves = {n: v.clone().requires_grad_(v.is_floating_point()) for n, v in given.items()}
        out = eval(call, {"D": D, **leaves})
        cotangent = torch.randn_like(out)
        wanted = {n: v for n, v in leaves.items() if v.requires_grad}
        true: Any = torch.autograd.grad(out, list(wanted.values()), cotangent, allow_unused=True)
        found = gn.derive(text, given)(given, cotangent)
    finally:
        torch.set_default_dtype(torch.float32)
    for name, gradient in zip(wanted, true, strict=True):
        gradient = torch.zeros_like(given[name]) if gradient is None else gradient
        torch.testing.assert_close(found[f"d{name}"], gradient, rtol=1e-11, atol=1e-12)


def _words(call: str) -> list[str]:
    return "".join(c if c.isalnum() or c == "_" else " " for c in call).split()


def test_a_sample_within_a_forward_is_torchs_own_draw() -> None:
    """Of rows as many as there are, with its gradient by what is drawn."""
    m = torch.randn(4, 3, dtype=torch.float64)
    text = """
def forward(m):
    d = torch.distributions.Categorical(logits=m)
    return d.log_prob(d.sample()).sum()
"""
    derived = gn.derive(text, {"m": m})
    torch.manual_seed(3)
    found = derived({"m": m})
    leaf = m.clone().requires_grad_()
    torch.manual_seed(3)
    own = D.Categorical(logits=leaf)
    own.log_prob(own.sample()).sum().backward()
    torch.testing.assert_close(found["dm"], leaf.grad, rtol=1e-12, atol=1e-12)
