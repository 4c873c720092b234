"""The compiled run of steps: the order of its updates, its names, its errors, its bits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gradninja import models
from gradninja.cli import app
from gradninja.errors import GradninjaError
from gradninja.native import Kernel, NativeError, compile_training
from gradninja.native.calls import training_run
from native_plain import plainly

BATCH, CONTEXT = 4, 2
STREAM = np.array([1, 2, 0, 2, 1, 1, 0, 2, 2, 0], np.uint8)
POSITIONS = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [9, 8, 1, 0]])
RATES = np.array([0.01, 0.02, 0.005])


def _contexts(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = []
    for position in positions.tolist():
        row = [0, 0]
        for back in (1, 2):
            if position < back or STREAM[position - back] == 0:
                break
            row[CONTEXT - back] = int(STREAM[position - back])
        rows.append(row)
    return np.array(rows), STREAM[positions].astype(np.int64)


def _trained(text: str, parameters: dict[str, np.ndarray], **values: Any) -> dict[str, np.ndarray]:
    """The same steps by PyTorch."""
    scope: dict[str, Any] = {"torch": torch}
    exec(text, scope)
    held = {name: torch.from_numpy(value.copy()) for name, value in parameters.items()}
    for positions, rate in zip(POSITIONS, RATES, strict=True):
        Xb, Yb = _contexts(positions)
        found = scope["step"](**held, Xb=torch.from_numpy(Xb), Yb=torch.from_numpy(Yb), **values)
        gradients = {name: found[f"d{name}"].clone() for name in held}
        for name, value in held.items():
            value -= rate * gradients[name]
    return {name: value.numpy() for name, value in held.items()}


def _compiled(text: str, parameters: dict[str, np.ndarray], **values: Any) -> dict[str, np.ndarray]:
    Xb, Yb = _contexts(POSITIONS[0])
    given = {**parameters, **values, "Xb": Xb, "Yb": Yb}
    kernel = plainly(compile_training(text, given, tuple(parameters)))
    after = {name: value.copy() for name, value in parameters.items()}
    kernel.run(after, STREAM, POSITIONS, RATES, np.zeros(3, kernel.dtype))
    return after


TEXTS = {
    "gradients that are other parameters": """
def step(A, B, Xb, Yb):
    loss = (A * B).sum()
    dA = B
    dB = A
    return locals()
""",
    "a gradient made of parameters, a matrix product of them": """
def step(A, B, Xb, Yb):
    loss = (A @ B.T).sum() + (A * A).sum()
    dA = torch.ones(3, 3) @ B + 2 * A
    dB = A.T.T @ torch.ones(3, 3).mT if False else torch.ones(3, 3) @ A
    return locals()
""",
    "a product of parameters alone": """
def step(A, B, Xb, Yb):
    loss = (A @ B).sum()
    dA = A @ B
    dB = B @ A
    return locals()
""",
    "a gradient that is used again": """
def step(A, B, Xb, Yb):
    h = A @ B
    loss = (h * h).sum()
    dA = 2 * h @ B.T
    dB = dA.sum() * (A.T @ h)
    return locals()
""",
    "a matrix product alone that is used again": """
def step(A, B, Xb, Yb):
    h = A @ B
    loss = (h * h).sum()
    dA = h @ h.T
    dB = dA.sum(0) * h
    return locals()
""",
    "one gradient for two": """
def step(A, B, Xb, Yb):
    h = A + B
    loss = (h * h).sum()
    dA = 2 * h
    dB = dA
    return locals()
""",
    "names that the text has for something else": """
def step(A, B, Xb, Yb, work):
    batch = Xb.shape[0]
    rate = A[Xb[:, -1]]
    i, j = rate @ B, torch.tanh(A)
    exp = torch.exp(i) * work
    t1 = exp.sum(0)
    gemm = t1 * t1
    loss = gemm.sum() / batch + j.sum()
    dt1 = 2 * t1 / batch
    lambda_ = exp * dt1
    drate = lambda_ @ B.T
    dB = rate.T @ lambda_
    dA = 1 - j**2
    dA.index_put_((Xb[:, -1],), drate, accumulate=True)
    return locals()
""",
}


def _parameters() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {"A": rng.standard_normal((3, 3)), "B": rng.standard_normal((3, 3))}


@pytest.mark.parametrize("name", TEXTS)
def test_updates_come_after_the_last_use(name: str) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        values = {"work": 2} if "work" in TEXTS[name] else {}
        truth = _trained(TEXTS[name], _parameters(), **values)
        found = _compiled(TEXTS[name], _parameters(), **values)
    finally:
        torch.set_default_dtype(torch.float32)
    for parameter, true in truth.items():
        assert np.isfinite(true).all()
        np.testing.assert_allclose(found[parameter], true, rtol=1e-12, atol=1e-13)


def test_parameters_that_are_not_contiguous_are_compiled_for_as_if_they_were() -> None:
    text = TEXTS["one gradient for two"]
    turned = {name: value.T.copy().T for name, value in _parameters().items()}
    kernel = compile_training(
        text, {**turned, "Xb": _contexts(POSITIONS[0])[0], "Yb": STREAM[:4].astype(int)}, ("A", "B")
    )
    after = {name: value.copy(order="C") for name, value in turned.items()}
    plainly(kernel).run(after, STREAM, POSITIONS, RATES, np.zeros(3))
    for name, true in _trained(text, _parameters()).items():
        np.testing.assert_allclose(after[name], true)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("loss = A.sum(0)", "must be one number"),
        ("dA = dA[0]", "`dA` is not of the shape"),
        ("dA = dA.float()", "`dA` is not of the shape"),
        ("dA = torch.linalg.inv(A)", "`torch.linalg.inv` is not compiled"),
        ("dA = dA * torch.rand_like(A)", "`torch.rand_like` is not compiled"),
    ],
)
def test_what_cannot_be_trained_is_told(line: str, said: str) -> None:
    text = TEXTS["one gradient for two"].replace("    return", f"    {line}\n    return")
    with pytest.raises(GradninjaError, match=said):
        _compiled(text, _parameters())


def test_a_token_beyond_the_table_stops_the_run() -> None:
    text = """
def step(A, Xb, Yb):
    loss = A[Xb[:, -1]].sum()
    dA = torch.zeros_like(A)
    dA.index_put_((Xb[:, -1],), torch.ones(4, 3), accumulate=True)
    return locals()
"""
    Xb, Yb = _contexts(POSITIONS[0])
    given = {"A": np.zeros((3, 3), np.float32), "Xb": Xb, "Yb": Yb}
    kernel = plainly(compile_training(text, given, ("A",)))
    broken = STREAM.copy()
    broken[0] = 3
    with pytest.raises(NativeError, match=r"`A\[Xb\[:, -1\]\]` is outside of 0 to 2"):
        kernel.run({"A": given["A"]}, broken, POSITIONS, RATES, np.zeros(3, np.float32))


def test_the_text_has_the_persons_names_and_shapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.load("mlp")
    sizes = {"vocab": 5, "context": 2, "embedding": 3, "hidden": 7}
    made = model.call("parameters", {**sizes, "generator": torch.Generator().manual_seed(0)})
    assert isinstance(made, dict)
    arrays = {name: value.contiguous().numpy() for name, value in made.items()}
    Xb, Yb = _contexts(POSITIONS[0])
    given = {**sizes, **arrays, "Xb": Xb, "Yb": Yb}
    text = compile_training(model.step("backward").source, given, tuple(arrays)).source
    for said in (
        "# h = torch.tanh(hpreact)  (4, 7), lies (7, 4)",
        "hidden = sizes[",
        "h[4 * i + j] = tanh(hpreact_part[4 * i + j] + b1_)",
        "# W1 -= rate * dW1\n        gemm(product_float32, size_6, hidden, n, -rate, emb,",
    ):
        assert said in text
    monkeypatch.setenv("GRADNINJA_CACHE", str(tmp_path))  # where none was planned yet
    again = compile_training(model.step("backward").source, given, tuple(arrays)).source
    assert again == text


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that are planned, where none is kept yet."""
    monkeypatch.setenv("GRADNINJA_CACHE", str(tmp_path))
    texts: list[str] = []
    plan = training_run._compile_training

    def told(text: str, *given: Any) -> Kernel:
        texts.append(text)
        return plan(text, *given)

    monkeypatch.setattr(training_run, "_compile_training", told)
    return texts


def test_a_step_is_planned_once(planned: list[str]) -> None:
    text = TEXTS["one gradient for two"]
    for _ in range(2):
        found = _compiled(text, _parameters())
        for name, true in _trained(text, _parameters()).items():
            np.testing.assert_allclose(found[name], true)
    assert len(planned) == 1
    Xb, Yb = _contexts(POSITIONS[0])
    given = {**_parameters(), "Xb": Xb, "Yb": Yb}
    one, other = (compile_training(text, given, ("A", "B"), threads=n) for n in (1, 2))
    kept = ("source", "names", "dtype", "shapes", "context", "batch", "scalars", "columns")
    assert [getattr(one, name) for name in kept] == [getattr(other, name) for name in kept]
    assert (one.threads, other.threads, len(planned)) == (1, 2, 1)
    assert vars(one.outside) == vars(other.outside)


def test_what_a_step_is_made_of_is_planned_anew(
    planned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TEXTS["one gradient for two"]
    Xb, Yb = _contexts(POSITIONS[0])
    given = {**_parameters(), "Xb": Xb, "Yb": Yb}
    single = {n: v.astype(np.float32) if n in ("A", "B") else v for n, v in given.items()}
    for other in (given, single, {**given, "Xb": Xb[:2], "Yb": Yb[:2]}, {**given, "extra": 2}):
        before = len(planned)
        compile_training(text, other, ("A", "B"))
        compile_training(text, other, ("A", "B"))
        assert len(planned) == before + 1
    before = len(planned)
    compile_training(text, given, ("B", "A"))
    compile_training(text.replace("loss", "loss "), given, ("A", "B"))
    monkeypatch.setattr(training_run, "ours", lambda: "another gradninja")
    compile_training(text, given, ("A", "B"))
    assert len(planned) == before + 3
    # What a rule of one's own makes of a line cannot be told by the text.
    monkeypatch.setattr(training_run, "BOOK", SimpleNamespace(own=("mine",)))
    for _ in range(2):
        compile_training(text, given, ("A", "B"))
    assert len(planned) == before + 5


@pytest.mark.parametrize("arguments", [["mlp_batchnorm"], ["bigram", "--backward", "derived"]])
def test_compile_shows_the_text(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, ["compile", *arguments, "--show", "--batch", "8"])
    assert done.exit_code == 0, done.output
    assert "def run(" in done.stdout
    assert "for step in range(steps):" in done.stdout
    assert done.stderr == ""


def test_compile_takes_the_sizes_that_train_takes() -> None:
    sizes = ["--layers", "1", "--width", "6", "--heads", "2", "--context", "4", "--batch", "3"]
    done = CliRunner().invoke(app, ["compile", "transformer", *sizes, "--show"])
    assert done.exit_code == 0, done.output
    assert "(3, 4, 6)" in done.stdout
    wrong = CliRunner().invoke(app, ["compile", "transformer", *sizes, "--heads", "4", "--show"])
    assert "cannot share a width of 6" in str(wrong.exception)


def test_compile_runs_what_it_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a first call costs is part of being ready: machine code is made then."""
    ran: list[dict[str, tuple[int, ...]]] = []

    class Kernel:
        source, dtype = "one\ntwo\n", np.float32

        def run(self, arrays: dict[str, np.ndarray], *rest: np.ndarray) -> None:
            ran.append({name: array.shape for name, array in arrays.items()})
            assert [len(each) for each in rest] == [1, 0, 0, 0]

    monkeypatch.setattr("gradninja.native.compile_training", lambda *_: Kernel())
    done = CliRunner().invoke(app, ["compile", "bigram", "--vocab", "5"])
    assert done.exit_code == 0, done.output
    assert ran == [{"W": (5, 5)}] and done.stdout.startswith("bigram: 2 lines, ready after")
