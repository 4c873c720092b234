"""Lines that write in place, read as lines that make new values, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradninja.errors import GradninjaError, ReadError
from gradninja.native import compile
from native_plain import run

FORWARD = """
def forward(x, W, ix):
    a = x @ W
    b = a * a
    loss = b.sum()
    return loss
"""

# Bodies that end with dx, dW or both; each is run as it is, by PyTorch, for the truth.
BODIES = {
    "add": "d = a.clone(); d += b; dx = d @ W.T",
    "sub, mul, div": "d = a.clone(); d -= 1; d *= b; d /= 2; dx = d @ W.T",
    "methods": "d = a.clone(); d.add_(b, alpha=2); d.mul_(3); dx = d @ W.T",
    "element": "dx = torch.zeros_like(x); dx[0, 1] = 2.5; dx[1] += x[0]",
    "slice": "dx = torch.zeros_like(x); dx[:, 1:3] = x[:, :2]; dx[::2, 0] += 1",
    "rows, overwritten": "dx = x.clone(); dx[[2, 0]] = x[:2] * 3",
    "rows, added once": "dx = torch.zeros_like(x); dx[ix[:1]] += x[:1]",
    "pairs": "dx = torch.zeros_like(x); dx[range(3), ix] = -1 / 3",
    "pairs, added": "dx = x.clone(); dx[range(3), ix] += x[:, 0]",
    "index_put": "dx = torch.zeros_like(x); dx.index_put_((ix,), x, accumulate=True)",
    "index_add": "dx = torch.zeros_like(x); dx.index_add_(0, ix, x, alpha=2.0)",
    "scatter_add, one each": "dx = x.clone(); dx.scatter_add_(1, ix[:, None], a[:, :1])",
    "scatter_add": "dx = x.clone(); dx.scatter_add_(0, ix[:, None].expand(3, 4), x)",
    "through a view": "dx = torch.zeros_like(x); dx.T[1] += x[:, 0]; dx.movedim(1, 0)[0, 1] = 7",
    "through a shape": "dx = torch.zeros_like(x); dx.view(-1)[5] = 1; dx.view(2, 6)[0] += 2",
    "fill": "dx = torch.zeros_like(x); dx.fill_(3); dx[0].zero_(); dx[1].copy_(x[2])",
    "masked": "dx = x.clone(); dx.masked_fill_(dx > 0, 9.0); dx.clamp_(min=-0.5)",
    "an alias that nobody reads later": "d = a; c = d; d += 1; dx = d @ W.T",
    "an alias taken after": "d = a.clone(); d += 1; c = d.T; dx = c.T @ W.T",
    "a name bound anew": "d = a.clone(); c = d; d += 1; c = b; dx = (c + d) @ W.T",
    "a list": "parts = []\n    for i in range(2): parts.append(x * i)\n    dx = sum(parts)",
}


def _program(body: str) -> str:
    lines = body.replace("; ", "\n    ")
    return f"def backward(x, W, ix, a, b, loss):\n    {lines}\n    return dx\n"


def _inputs() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn((3, 4), generator=generator, dtype=torch.float64)
    W = torch.randn((4, 5), generator=generator, dtype=torch.float64)
    return {"x": x, "W": W, "ix": torch.tensor([2, 0, 2])}


def _truth(backward: str, inputs: dict[str, Any]) -> torch.Tensor:
    scope: dict[str, Any] = {"torch": torch, "F": F}
    exec(backward, scope)
    a = inputs["x"] @ inputs["W"]
    found = scope["backward"](**inputs, a=a, b=a * a, loss=(a * a).sum())
    assert isinstance(found, torch.Tensor)
    return found


@pytest.mark.parametrize("name", BODIES)
def test_in_place_lines_do_what_they_do_in_pytorch(name: str) -> None:
    backward, inputs = _program(BODIES[name]), _inputs()
    made = compile(FORWARD, backward).specialised(**inputs)
    found = run(made, {n: v.numpy() for n, v in inputs.items()})["dx"]
    np.testing.assert_allclose(found, _truth(backward, inputs).numpy(), rtol=1e-12, atol=1e-12)


REFUSED = {
    "an alias read later": ("c = a; d = a; d += 1; dx = c @ W.T", "`c` shares memory with `d`"),
    "a view read later": ("d = a.clone(); c = d.T; d += 1; dx = c.T @ W.T", "`c` shares memory"),
    "a part in a list": (
        "d = a.clone(); c = [d]; d += 1; dx = c[0] @ W.T",
        "`c` shares memory with `d`",
    ),
    "an input": ("x += 1; dx = x", "changes the input `x`"),
    "an input by another name": ("d = x; d[0] = 1; dx = d * 1", "changes the input `x`"),
    "a copy": ("dx = x.clone(); dx[[0, 1]].add_(1)", "this is a copy"),
    "a copy of a part": ("dx = x.clone(); dx[ix][0] = 1", "this is a copy"),
    "another shape": ("d = x[0].clone(); d += x; dx = x * d", "does not"),
    "a name that is not there": ("dx = x + nothing", "`nothing` is not defined"),
    "a value": ("dx = x * x.sum().item()", "`item` is outside"),
    "a branch on data": ("dx = x if (x > 0).all() else -x", "branch depends on data"),
    "no gradient": ("d = x * 2; dy = d", "makes no `dx`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_wrong_is_refused_with_its_line(name: str) -> None:
    body, said = REFUSED[name]
    lines = body.replace("; ", "\n    ")
    backward = f"def backward(x, W, ix, a, b, loss):\n    {lines}\n    return None\n"
    with pytest.raises(GradninjaError, match=said) as caught:
        compile(FORWARD, backward, wrt="x").specialised(**_inputs())
    assert caught.value.spot is not None


def test_a_helper_that_writes_to_its_argument_is_refused() -> None:
    backward = (
        "def add(d, e):\n    d += e\n    return d\n\n"
        "def backward(x, a, W):\n    dx = add(x.clone(), x)\n    return dx\n"
    )
    with pytest.raises(ReadError, match="within a function that is called"):
        compile(FORWARD, backward).specialised(**_inputs())


def test_a_backward_sees_only_what_it_asks_for() -> None:
    with pytest.raises(ReadError, match="`a` is not defined"):
        compile(FORWARD, "def backward(W):\n    dx = a @ W.T\n    return dx\n").specialised(
            **_inputs()
        )
    with pytest.raises(ReadError, match="the forward has no `c`"):
        compile(FORWARD, "def backward(c):\n    dx = c\n    return dx\n").specialised(**_inputs())


def test_what_the_caller_gives_is_told() -> None:
    step = compile(FORWARD)
    with pytest.raises(GradninjaError, match="no value for `ix`"):
        step(x=torch.ones(3, 4), W=torch.ones(4, 5))
    with pytest.raises(GradninjaError, match="no input `y`"):
        step(y=1, **_inputs())
    with pytest.raises(GradninjaError, match="float16"):
        step(**{**_inputs(), "x": torch.ones(3, 4).half()})
