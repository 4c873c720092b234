"""`gradninja.compile` as a person uses it: fused gradients, what it is given, what it tells."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradninja import models
from gradninja.algebra import fuse
from gradninja.errors import GradninjaError
from gradninja.native import compile, compile_training
from gradninja.native.calls import compiling
from gradninja.rules import BOOK, Book
from native_plain import run
from small_runs import LECTURES

SIZES = {"vocab": 27, "context": 3, "embedding": 6, "hidden": 20}
BATCH = 16


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADNINJA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def _values(model: models.Model) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(zlib.crc32(model.name.encode()))
    made = model.call("parameters", {**SIZES, "generator": generator})
    assert isinstance(made, dict)
    found: dict[str, Any] = {name: value.detach().contiguous() for name, value in made.items()}
    shape = (BATCH, SIZES["context"])
    found["Xb"] = torch.randint(0, SIZES["vocab"], shape, generator=generator)
    found["Yb"] = torch.randint(0, SIZES["vocab"], (BATCH,), generator=generator)
    return found


def _truth(model: models.Model, values: dict[str, Any]) -> dict[str, torch.Tensor]:
    wide = {
        n: v.double().requires_grad_() if v.is_floating_point() else v for n, v in values.items()
    }
    loss = model.call("forward", {**wide, **model.options})
    assert isinstance(loss, torch.Tensor)
    names = [name for name, value in wide.items() if value.is_floating_point()]
    found = torch.autograd.grad(loss, [wide[name] for name in names])
    return {"loss": loss.detach()} | {f"d{n}": g for n, g in zip(names, found, strict=True)}


@pytest.mark.parametrize("name", LECTURES)
def test_without_a_backward_it_is_derived_and_fused(name: str) -> None:
    """In float32, each gradient within 1e-6 of autograd's in float64, norm by norm."""
    model = models.load(name)
    values, truth = _values(model), _truth(model, _values(model))
    made = compile(model.path).specialised(**values)
    assert made.gradients == "fused"
    found = run(made, {n: v.numpy() for n, v in values.items()})
    scale = max(float(value.norm()) for value in truth.values())
    for gradient, true in truth.items():
        off = float((torch.from_numpy(found[gradient]).double() - true).norm())
        assert off <= 1e-6 * max(float(true.norm()), 1e-2 * scale), gradient


FORWARD = """import torch


def forward(x, W):
    h = torch.tanh(x @ W)
    p = torch.softmax(h, 1)
    loss = (p * p).sum()
    return loss
"""


def _inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = {"x": (5, 3), "W": (3, 4)}
    return {n: torch.randn(s, generator=generator).double() for n, s in shapes.items()}


def test_fused_lines_make_fewer_loops_with_the_same_gradients(monkeypatch) -> None:
    model = models.load("mlp_batchnorm")
    values = {n: v.double() if v.is_floating_point() else v for n, v in _values(model).items()}
    fused = compile(model.path).specialised(**values)
    monkeypatch.setattr(compiling, "fuse", _unlowerable)
    derived = compile(model.path).specialised(**values)
    assert (fused.gradients, derived.gradients) == ("fused", "derived")
    assert fused.source.count("for ") < derived.source.count("for ")
    arrays = {name: value.numpy() for name, value in values.items()}
    others = run(derived, arrays)
    for name, value in run(fused, arrays).items():
        np.testing.assert_allclose(others[name], value, rtol=1e-10, atol=1e-15)


def half_sign(x, k=2.0):
    return x / (1 + abs(x) * k)


def test_a_function_with_a_rule_of_its_own_is_compiled_by_its_lines() -> None:
    book = Book(tuple(BOOK))
    book.rule(half_sign, x="g / (1 + k * abs(x)) ** 2", why="the rule of quotients")

    def forward(x, W):
        return half_sign(x @ W).square().sum()

    inputs = _inputs()
    made = compile(forward, book=book).specialised(**inputs)
    leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    forward(**leaves).backward()
    found = run(made, {name: value.numpy() for name, value in inputs.items()})
    for name, leaf in leaves.items():
        np.testing.assert_allclose(found[f"d{name}"], leaf.grad.numpy(), rtol=1e-11)


def _unlowerable(forward, inputs, wrt, book):
    """A fused backward with a first line that is outside of what is compiled."""

    class Foreign:
        def __getattr__(self, name: str) -> object:
            return getattr(fused, name)

        @property
        def source(self) -> str:
            return fused.source.replace("):\n", "):\n    w = torch.special.i0(torch.ones(3))\n", 1)

    fused = fuse(forward, inputs, wrt)
    return Foreign()


def test_where_the_fused_lines_are_not_compiled_the_derived_are_and_it_is_told(monkeypatch) -> None:
    monkeypatch.setattr(compiling, "fuse", _unlowerable)
    told: list[str] = []
    made = compile(FORWARD, say=told.append).specialised(**_inputs())
    assert made.gradients == "derived"
    assert any("`torch.special.i0` is not compiled" in line for line in told)


def _refused(tmp_path: Path, text: str, **inputs: Any) -> GradninjaError:
    file = tmp_path / "net.py"
    file.write_text(text)
    with pytest.raises(GradninjaError) as caught:
        compile(file).specialised(**(inputs or _inputs()))
    return caught.value


def test_a_line_that_is_not_compiled_is_told_as_it_stands_in_the_file(tmp_path) -> None:
    text = FORWARD.replace("torch.tanh(x @ W)", "torch.digamma(x @ W) + x.sum()")
    error = _refused(tmp_path, text)
    assert error.spot is not None
    assert (error.spot.file, error.spot.line) == (str(tmp_path / "net.py"), 5)
    assert error.spot.text.strip() == "h = torch.digamma(x @ W) + x.sum()"


def test_a_gradient_that_is_not_compiled_is_told_at_the_line_that_it_answers(
    tmp_path, monkeypatch
) -> None:
    from gradninja.native.ops import table

    monkeypatch.delitem(table.ROWS, "matmul")
    monkeypatch.delitem(table.ROWS, "mm", raising=False)
    error = _refused(tmp_path, FORWARD.replace("x @ W", "torch.addmm(W[0], x, W)"))
    assert error.spot is not None
    assert error.spot.line == 5
    assert "in what answers this line: `d" in error.message


def _model_file(tmp_path: Path, before: str, after: str) -> tuple[models.Model, str]:
    text = models.load("mlp").path.read_text()
    assert before in text
    file = tmp_path / "mine.py"
    file.write_text(text.replace(before, after))
    return models.load(file), file.read_text()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("h = torch.tanh(hpreact)", "h = torch.digamma(hpreact)"),
        ("dW2 = h.T @ dlogits", "dW2 = torch.kron(h.T, dlogits)"),
    ],
    ids=["forward", "backward"],
)
def test_a_model_files_own_line_is_told(tmp_path, before: str, after: str) -> None:
    model, text = _model_file(tmp_path, before, after)
    values = {name: value.numpy() for name, value in _values(model).items()}
    parameters = sorted(set(values) - {"Xb", "Yb"})
    step = model.step("backward")
    with pytest.raises(GradninjaError) as caught:
        compile_training(step.source, {**values, **SIZES}, parameters, spot=step.spot)
    spot = caught.value.spot
    assert spot is not None
    assert spot.file == str(tmp_path / "mine.py")
    assert text.splitlines()[spot.line - 1] == spot.text
    assert spot.text[spot.column : spot.end_column] == after.partition(" = ")[2]


def test_floats_that_are_made_ints_are_cut_off_towards_zero() -> None:
    text = """
def forward(x, u):
    labels = torch.zeros(len(x)).long()
    steps = (u * 4 - 1).long()
    return F.cross_entropy(x, labels) + (x.sum(1) * steps).sum()
"""
    given = {"x": torch.randn(3, 5), "u": torch.tensor([0.1, 0.9, 0.7])}
    found = compile(text)(**given)
    x = given["x"].clone().requires_grad_()
    steps = (given["u"] * 4 - 1).long()
    loss = torch.nn.functional.cross_entropy(x, torch.zeros(3).long()) + (x.sum(1) * steps).sum()
    loss.backward()
    torch.testing.assert_close(found["dx"], x.grad, rtol=1e-5, atol=1e-6)
