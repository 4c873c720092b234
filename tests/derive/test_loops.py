"""Loops that stay loops: the texts run at any number of turns, and give autograd's gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import gradninja as gn
from gradninja.rules import BOOK, Book


def rnn(x, h, Wx, Wh, b, y):  # type: ignore[no-untyped-def]
    hs = []
    for t in range(x.shape[1]):
        h = torch.tanh(x[:, t] @ Wx + h @ Wh + b)
        hs.append(h)
    out = torch.stack(hs, 1)
    return ((out - y) ** 2).mean()


def gated(x, W, U, h):  # type: ignore[no-untyped-def]
    c = torch.zeros_like(h)
    for t in range(len(x)):
        gate = torch.sigmoid(x[t] @ W + h @ U)
        c = gate * c + (1 - gate) * torch.tanh(x[t] @ W)
        h = torch.tanh(c)
    return h


def filled(x, a):  # type: ignore[no-untyped-def]
    y = torch.zeros_like(x)
    state = x[:, 0] * 0
    for t in range(x.shape[1]):
        state = a * state + x[:, t]
        y[:, t] = state
    return y.pow(2).sum()


def penalised(w, x):  # type: ignore[no-untyped-def]
    loss = 0
    for t in range(x.shape[0]):
        loss = loss + (x[t] * w).sum() ** 2
    return loss


def steps(y, k):  # type: ignore[no-untyped-def]
    for _ in range(6):
        y = y + 0.1 * torch.sin(k * y)
    return y


def inputs(name: str, turns: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(turns)
    r = torch.randn
    return {
        "rnn": {
            "x": r(3, turns, 2),
            "h": r(3, 4),
            "Wx": r(2, 4),
            "Wh": r(4, 4),
            "b": r(4),
            "y": r(3, turns, 4),
        },
        "gated": {"x": r(turns, 3, 2), "W": r(2, 4), "U": r(4, 4), "h": r(3, 4)},
        "filled": {"x": r(2, turns), "a": r(2)},
        "penalised": {"w": r(3), "x": r(turns, 3)},
        "steps": {"y": r(3), "k": r(3)},
    }[name]


def run(text: str, given: dict[str, torch.Tensor], grad: torch.Tensor | None) -> tuple[Any, ...]:
    """What the backward of a looped text gives, after its forward."""
    scope: dict[str, Any] = {}
    exec(text, scope)
    found = scope["forward"](**given)
    last = text[: text.index("def backward")].strip()
    names = last[last.rindex("return ") + len("return ") :].strip("()\n ").replace("\n", "")
    several = [n.strip() for n in names.split(",") if n.strip()]
    values = dict(zip(several, found if isinstance(found, tuple) else (found,), strict=True))
    code = scope["backward"].__code__
    taken = code.co_varnames[: code.co_argcount]
    if grad is not None:
        values[taken[-1]] = grad
    return scope["backward"](*({**given, **values}[name] for name in taken))  # type: ignore[no-any-return]


@pytest.mark.parametrize("forward", [rnn, gated, filled, penalised], ids=lambda f: f.__name__)
def test_a_loop_stays_a_loop_for_any_number_of_turns(forward: Any) -> None:
    text = gn.derive(forward, inputs(forward.__name__, 6)).looped
    assert "in reversed(range(" in text
    for turns in (6, 3, 9):
        given = {n: v.double() for n, v in inputs(forward.__name__, turns).items()}
        leaves = {n: v.clone().requires_grad_() for n, v in given.items()}
        out = forward(**leaves)
        grad = torch.randn_like(out) if out.ndim else None
        true = torch.autograd.grad(out, list(leaves.values()), grad)
        for mine, want in zip(run(text, given, grad), true, strict=True):
            torch.testing.assert_close(mine, want, rtol=1e-11, atol=1e-11)


def test_a_number_of_turns_that_is_written_down() -> None:
    given = {n: v.double() for n, v in inputs("steps", 6).items()}
    text = gn.derive(steps, given).looped
    assert "for t in range(6):" in text
    leaves = {n: v.clone().requires_grad_() for n, v in given.items()}
    true = torch.autograd.grad(steps(**leaves).sum(), list(leaves.values()))
    for mine, want in zip(run(text, given, torch.ones(3).double()), true, strict=True):
        torch.testing.assert_close(mine, want, rtol=1e-11, atol=1e-11)


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(1, 4))
        self.xh_to_h = nn.Linear(7, 4)

    def forward(self, emb: torch.Tensor) -> torch.Tensor:
        h = self.start.expand((emb.shape[0], -1))
        hiddens = []
        for i in range(emb.shape[1]):
            h = torch.tanh(self.xh_to_h(torch.cat([emb[:, i, :], h], dim=1)))
            hiddens.append(h)
        return torch.stack(hiddens, 1)


def test_of_a_hundred_turns_the_text_is_as_long_as_of_ten() -> None:
    made = Cell()
    lengths = {
        len(gn.derive(made, torch.randn(2, turns, 3)).looped.splitlines()) for turns in (10, 40)
    }
    assert len(lengths) == 1 and max(lengths) < 70


def alternating(x, h):  # type: ignore[no-untyped-def]
    for t in range(x.shape[0]):
        h = torch.tanh(h + x[t]) if t % 2 else h * x[t]
    return h


def test_turns_that_differ_are_written_out() -> None:
    back = gn.derive(alternating, {"x": torch.randn(6, 3), "h": torch.randn(3)})
    assert back.looped == ""


def test_a_loop_is_by_the_rules_of_the_book_that_is_handed_in() -> None:
    book = Book(tuple(BOOK.rows.values()))
    book.add(replace(BOOK["tanh"], backward={"a": "g - g * y**2"}, exact={}))
    text = """def forward(x, w):
    h = torch.zeros(3)
    for t in range(6):
        h = torch.tanh(h @ w + x[t])
    return h.sum()
"""
    given = {"x": torch.randn(6, 3), "w": torch.randn(3, 3)}
    told = "dh_1 - dh_1 * h_1 ** 2"
    assert told in gn.derive(text, given, book=book).looped
    assert told not in gn.derive(text, given).looped
