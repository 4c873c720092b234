"""Large inputs: the lines are found at small ones, where they are the same lines; and kept."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import gradninja as gn
from gradninja.native import cache
from gradninja.native.calls import compiling, gradients
from gradninja.native.calls.gradients import Kept
from gradninja.rules import BOOK
from gradninja.rules.book import Book
from gradninja.rules.rule import Rule

ROWS, CLASSES = 40, 1000


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADNINJA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def sizes(monkeypatch) -> list[int]:
    """How many elements the inputs have wherever something is fused."""
    seen: list[int] = []
    for room in (gradients, compiling):
        before = room.fuse

        def fuse(forward: Any, inputs: Any, *rest: Any, before: Any = before, **more: Any) -> Any:
            seen.append(sum(v.numel() for v in inputs.values() if isinstance(v, torch.Tensor)))
            return before(forward, inputs, *rest, **more)

        monkeypatch.setattr(room, "fuse", fuse)
    return seen


def entropy(logits, y):
    return F.cross_entropy(logits, y)


def scaled(x, w):
    p = torch.softmax(x * x.shape[-1] ** -0.5, dim=1)
    return (p * w).sum() / x.shape[0]


def turns(x, w):
    total = torch.zeros_like(x[0])
    for row in range(x.shape[0] // 10):
        total = total + x[row] * w[row] ** 2
    return total.sum()


def branch(x, w):
    h = x * w
    if x.shape[0] > 10:
        h = h**2
    return h.sum()


def part(x, w):
    h = x[:, :30] * w[:, 2:32]
    return (h**2).sum()


def longer_part(x, w):
    h = x[:, :300] * w[:, 2:302]
    return (h**2).sum()


def flat(x, w):
    h = x.view(-1) * w.reshape(x.shape[0] * x.shape[1])
    return (h**3).mean()


def rounded(x, w):
    h = x.view(10, 4, 1000) * w.view(10, 4, 1000).sum(1, keepdim=True)
    return (h**2).sum()


def _inputs(forward: Any) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(ROWS, CLASSES, generator=generator)
    if forward is entropy:
        return {"logits": x, "y": torch.randint(0, CLASSES, (ROWS,), generator=generator)}
    return {"x": x, "w": torch.randn(ROWS, CLASSES, generator=generator)}


def _hold(forward: Any, found: dict[str, torch.Tensor], inputs: dict[str, torch.Tensor]) -> None:
    names = [name for name, value in inputs.items() if value.is_floating_point()]
    wide = {**inputs, **{name: inputs[name].double().requires_grad_() for name in names}}
    loss = forward(**wide)
    true = torch.autograd.grad(loss, [wide[name] for name in names])
    assert float((found["loss"] - loss.detach()).abs()) <= 1e-4 * float(loss.detach().abs())
    for name, gradient in zip(names, true, strict=True):
        off = (found[f"d{name}"].double() - gradient).abs().max()
        assert off <= 1e-5 * gradient.abs().max(), name


@pytest.mark.parametrize("forward", [entropy, scaled, flat, part], ids=lambda f: f.__name__)
def test_lines_are_found_at_small_sizes(forward, sizes) -> None:
    inputs = _inputs(forward)
    step = gn.compile(forward)
    _hold(forward, step(**inputs), inputs)
    assert sizes
    assert max(sizes) < 2000
    assert step.specialised(**inputs).gradients == "fused"


@pytest.mark.parametrize("forward", [turns, branch, longer_part, rounded], ids=lambda f: f.__name__)
def test_lines_that_hold_for_one_size_are_found_at_it(forward, sizes) -> None:
    """A loop over a size, a branch by one, a number of one: at others they are other lines."""
    inputs = _inputs(forward)
    _hold(forward, gn.compile(forward)(**inputs), inputs)
    assert sizes == [2 * ROWS * CLASSES]


def test_small_lines_that_are_not_right_here_are_not_taken(monkeypatch, sizes) -> None:
    """What is found at small sizes is held to autograd's gradients at the real ones."""
    right = gradients.lines_of

    def wrong(back: Any, how: str) -> Any:
        lines = right(back, how)
        text = lines.backward.replace("dx = ", "dx = (1 + x.shape[1] // 500) * ")
        return gradients.Lines(lines.forward, text, lines.keep, lines.inputs, how, lines.own)

    monkeypatch.setattr(gradients, "lines_of", wrong)
    inputs = _inputs(scaled)
    _hold(scaled, gn.compile(scaled)(**inputs), inputs)
    assert len(sizes) == 2
    assert sizes[1] == 2 * ROWS * CLASSES


def test_lines_are_found_once(sizes) -> None:
    inputs = _inputs(scaled)
    gn.compile(scaled)(**inputs)
    assert len(sizes) == 1
    again = gn.compile(scaled)
    _hold(scaled, again(**inputs), inputs)
    assert len(sizes) == 1
    assert again.specialised(**inputs).gradients == "fused"


@pytest.mark.parametrize("damage", ["not JSON", "wrong"])
def test_kept_lines_are_held_to_autograd_again(damage, sizes) -> None:
    inputs = _inputs(scaled)
    gn.compile(scaled)(**inputs)
    key = Kept(scaled, inputs, None, BOOK).key
    kept = cache.recalled(key)
    assert kept is not None
    broken = kept.replace(b"dx = ", b"dx = 2 * ") if damage == "wrong" else b"{"
    assert broken != kept
    cache.put(key, broken)
    _hold(scaled, gn.compile(scaled)(**inputs), inputs)
    assert len(sizes) == 2


TEXT = """
def forward(x, w, scale=2.0):
    h = scale * x * torch.tanh(w)
    loss = h.sum()
    return loss
"""


def _key(text: str = TEXT, book: Book = BOOK, wrt: Any = None, **changed: Any) -> str | None:
    given = {"x": torch.ones(4, 3), "w": torch.ones(3), **changed}
    return Kept(text, given, wrt, book).key


def _with(row: Rule) -> Book:
    book = Book(tuple(BOOK))
    book.add(row)
    return book


def _tanh(**changed: Any) -> Rule:
    return dataclasses.replace(BOOK["tanh"], **changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"text": TEXT.replace("scale * x", "x * scale")},
        {"text": TEXT.replace("return loss", "return loss * 1")},
        {"text": TEXT.replace("2.0", "3.0")},
        {"scale": 3.0},
        {"x": torch.ones(5, 3)},
        {"w": torch.ones(1)},
        {"w": torch.ones(3, dtype=torch.float64)},
        {"wrt": ["x"]},
        {"book": _with(_tanh(backward={"a": "g * (1 - y**2) * 2"}))},
        {"book": _with(_tanh(means="a * 1"))},
        {"book": _with(_tanh(loop="np.tanh({0}) * 1"))},
    ],
)
def test_the_key_holds_what_lines_are_made_of(changed) -> None:
    assert _key() == _key()
    assert _key(**changed) != _key()


@pytest.mark.parametrize("what", ["torch", "ours", "default"])
def test_the_key_holds_who_makes_them(what, monkeypatch, tmp_path) -> None:
    before = _key()
    if what == "torch":
        monkeypatch.setattr(torch, "__version__", "99")
    elif what == "ours":
        (tmp_path / "rules.py").write_text("ROW = 1\n")
        monkeypatch.setattr(cache.gradninja, "__file__", str(tmp_path / "__init__.py"))
        cache.ours.cache_clear()
        first = _key()
        (tmp_path / "rules.py").write_text("ROW = 2\n")
        cache.ours.cache_clear()
        assert _key() != first
    else:
        monkeypatch.setattr(torch, "get_default_dtype", lambda: torch.float64)
    changed = _key()
    cache.ours.cache_clear()
    assert changed != before


def test_a_row_that_cannot_be_told_keeps_nothing() -> None:
    assert _key(book=_with(_tanh(backward={"a": lambda site: "g * (1 - y**2)"}))) is None


def test_a_function_with_a_rule_of_its_own_keeps_nothing() -> None:
    book = Book(tuple(BOOK))
    before = _key(TEXT, book)

    def doubled(a):
        return 2 * a

    book.rule(doubled, a="2 * g", why="twice")
    text = TEXT.replace("scale * x", "doubled(x)")
    assert _key(text, book) is None
    assert _key(TEXT, book) == before  # of what does not call it
