"""A derived backward as a whole `torch.autograd.Function`."""

from __future__ import annotations

import ast
import textwrap

import pytest
import torch

import gradninja as gn


@pytest.mark.parametrize(
    "text",
    [
        """
        def layer(
            x: Float[Tensor, "n d"], w: Float[Tensor, "d k"], b: Float[Tensor, "k"], s: float = 0.5
        ):
            n = x.shape[0]
            y = torch.tanh(x @ w + b) * s / n
            return y
        """,
        """
        def two(x: Float[Tensor, "n d"], ix: Int[Tensor, "n"]):
            top, at = x.max(1)
            z = x[ix].exp()
            return top, at, z
        """,
        """
        def scalar(x: Float[Tensor, "n d"]):
            return (x - x.mean(0)).pow(2).sum()
        """,
    ],
)
def test_the_autograd_function_passes_gradcheck(text: str) -> None:
    back = gn.derive(textwrap.dedent(text))
    scope: dict = {}
    exec(back.function_source, scope)
    function = scope[back.program.name]
    inputs = {
        i.name: i.value.clone().requires_grad_() if i.differentiable else i.value
        for i in back.program.inputs
    }

    def floats_of(*args: object) -> tuple[torch.Tensor, ...]:
        found = function(*args)
        several = found if isinstance(found, tuple) else (found,)
        return tuple(o for o in several if o.is_floating_point())

    assert torch.autograd.gradcheck(floats_of, tuple(inputs.values()), nondet_tol=0.0)
    # ... and with cotangents that lie transposed in memory, as matmuls hand them on.
    floats = floats_of(*inputs.values())
    grads = [
        torch.randn(tuple(o.shape)[::-1], dtype=o.dtype).permute(tuple(range(o.ndim))[::-1])
        for o in floats
    ]
    leaves = [v for v in inputs.values() if isinstance(v, torch.Tensor) and v.requires_grad]
    got = torch.autograd.grad(floats, leaves, grads)
    true = back(dict(inputs.items()), tuple(grads) if len(grads) > 1 else grads[0])
    for a, b in zip(got, true.values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("step", ["x * 2", "torch.sin(x)", "F.layer_norm(x, (3,))"])
def test_a_text_imports_what_it_names_and_nothing_else(step: str) -> None:
    """The file that it is put into may have no other line."""
    back = gn.derive(f'def forward(x: Float[Tensor, "2 3"]):\n    y = {step}\n    return y\n')
    libraries = {"torch", "F", "math", "np"}
    for source in (back.source, back.forward_source, back.function_source):
        nodes = list(ast.walk(ast.parse(source)))
        named = {node.id for node in nodes if isinstance(node, ast.Name)} & libraries
        imports = [alias for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        assert {alias.asname or alias.name for alias in imports} == named
    assert step.partition(".")[0] in {*named, step}
