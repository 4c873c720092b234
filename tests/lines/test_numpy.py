"""NumPy as a dialect: what is derived of NumPy programs is held to NumPy's own differences."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy_programs import PROGRAMS, source_of

import gradninja as gn
from gradninja.cli.derive import derive as derive_verb
from gradninja.lines.ndarray import as_arrays, as_float64, said

STEP = 1e-6


def drawn(arguments: str, seed: int = 0) -> dict[str, Any]:
    """Arrays, and plain numbers, by name."""
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    for part in arguments.split():
        if "=" in part:
            name, _, value = part.partition("=")
            found[name] = float(value) if "." in value or "e" in value else int(value)
            continue
        name, _, told = part.partition(":")
        told, _, below = told.partition("<")
        shape = tuple(int(size) for size in told.rstrip("+").split(",") if size)
        if below:
            found[name] = rng.integers(0, int(below), shape)
        elif told.endswith("+"):
            found[name] = rng.uniform(0.2, 0.8, shape)
        else:
            found[name] = rng.standard_normal(shape)
    return found


def run(text: str, name: str) -> Any:
    scope: dict[str, Any] = {}
    exec(compile(text, "<program>", "exec"), scope)
    return scope[name]


def copied(given: dict[str, Any]) -> dict[str, Any]:
    return {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in given.items()}


def total(returned: Any, cotangents: list[Any]) -> float:
    several = returned if isinstance(returned, tuple) else (returned,)
    return float(sum(np.sum(o * g) for o, g in zip(several, cotangents, strict=True)))


@pytest.mark.parametrize("name", PROGRAMS)
def test_derived_of_numpy(name: str) -> None:
    text, given = source_of(name), drawn(PROGRAMS[name][0])
    forward = run(text, "forward")
    back = gn.derive(text, given)
    assert "torch" not in back.annotated + back.whole_forward + back.function_source
    # The pair that is written runs with NumPy alone.
    pair = run(back.function_source, "forward"), run(back.function_source, "backward")
    *outputs, cache = pair[0](**copied(given))
    rng = np.random.default_rng(1)
    cotangents = [rng.standard_normal(np.shape(o)) for o in outputs]
    returned = forward(**copied(given))
    several = returned if isinstance(returned, tuple) else (returned,)
    for mine, true in zip(outputs, several, strict=True):
        np.testing.assert_allclose(mine, true, rtol=1e-12, atol=1e-12)
    gradients = pair[1](*cotangents, cache)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    floats = [n for n, v in given.items() if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    direction = {n: rng.standard_normal(given[n].shape) for n in floats}
    ends = []
    for step in (STEP, -STEP):
        moved = {n: v + step * direction[n] if n in direction else v for n, v in given.items()}
        ends.append(total(forward(**moved), cotangents))
    slope = (ends[0] - ends[1]) / (2 * STEP)
    mine = 0.0
    for n, gradient in zip(floats, gradients, strict=True):
        assert np.shape(gradient) == given[n].shape
        mine += float(np.sum(gradient * direction[n]))
    assert mine == pytest.approx(slope, rel=1e-6, abs=1e-7)
    found = back(given, tuple(cotangents))
    assert all(isinstance(found[f"d{n}"], np.ndarray) for n in floats)
    for n, gradient in zip(floats, gradients, strict=True):
        np.testing.assert_allclose(found[f"d{n}"], gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return np.dot(x[None], y[None].transpose(0, 2, 1))", "do not give what NumPy gives"),
        ("return np.split(x, 2)[0]", "NumPy itself does not run it: ValueError"),
        ("return np.heaviside(x, 1)", "there is no rule for `np.heaviside`"),
        ("return {x: 1}", "a key must be a number or a text"),
        ("hs = [x]\n    hs[1] = x\n    return x", "list assignment index out of range"),
        ("hs = [x]\n    hs[x] = x\n    return x", "a place in a list is a plain int"),
        ("x -= x.max()\n    return np.exp(x)", "this line changes the input `x` in place"),
    ],
)
def test_what_is_not_understood_is_refused_in_words(body: str, told: str) -> None:
    text = f"import numpy as np\n\n\ndef forward(x, y):\n    {body}\n"
    with pytest.raises(gn.GradninjaError, match=re.escape(told)):
        gn.derive(text, drawn("x:5,4 y:5,4"))


def test_what_numpy_has_no_words_for_is_told() -> None:
    with pytest.raises(gn.GradninjaError, match=r"no words for `torch\.erf"):
        said("y = torch.erf(x)")


def test_a_list_or_dictionary_is_one_thing_under_all_its_names() -> None:
    text = """\
def forward(x, y):
    caches = {"a": [x]}
    other = caches
    other["a"].append(y)
    other["b"] = x * y
    caches.update({"c": y})
    total = sum(caches["a"]) + caches.get("b") + caches.get("missing", x)
    for key, value in caches.items():
        if key != "a":
            total = total + value
    return total
"""
    given = drawn("x:3 y:3")
    found = gn.derive(text, given)(given, np.ones(3))
    np.testing.assert_allclose(found["dx"], 2 + 2 * given["y"])
    np.testing.assert_allclose(found["dy"], 2 + 2 * given["x"])


def imported(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LAYER = """\
import numpy as np


class Affine:
    def __init__(self, d=4, k=3):
        rng = np.random.default_rng(0)
        self.params = {"W": rng.standard_normal((d, k)), "b": np.zeros(k)}
        self.x = None

    def forward(self, x):
        self.x = x
        return x.dot(self.params["W"]) + self.params["b"]


W0 = np.ones((4, 4))


def forward(x):
    return np.tanh(x @ W0)


def inputs():
    return {"x": np.arange(20.0).reshape(5, 4)}
"""


def test_the_arrays_of_an_object_and_around_a_function_are_inputs(tmp_path: Path) -> None:
    file = tmp_path / "layer.py"
    file.write_text(LAYER)
    back = gn.derive(f"{file}:Affine")
    assert back.program.differentiable == ("x", "params_W", "params_b")
    assert "dparams_W = x.T @ dout" in back.source
    assert gn.derive(file).program.differentiable == ("x", "W0")
    instance = imported(file).Affine()
    found = gn.derive(instance, {"x": np.ones((2, 4))})({"x": np.ones((2, 4))}, np.ones((2, 3)))
    np.testing.assert_allclose(found["params.W"], np.full((4, 3), 2.0))


def test_what_is_returned_beside_the_output_is_no_output() -> None:
    text = """\
import numpy as np


def softmax_loss(x, y):
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(len(y)), y]).mean()
    dx = p.copy()
    dx[np.arange(len(y)), y] -= 1
    dx /= len(y)
    return loss, dx
"""
    given = drawn("x:5,3 y:5<3")
    back = gn.derive(text, given)
    assert back.program.outputs == ("loss",)
    np.testing.assert_allclose(back(given)["dx"], run(text, "softmax_loss")(**given)[1])
    text = "import numpy as np\n\n\ndef relu(x):\n    out, cache = np.maximum(0, x), x\n"
    assert gn.derive(text + "    return out, cache\n", drawn("x:3")).program.outputs == ("out",)


def test_fused_is_numpy_too() -> None:
    name = "two_layer_net"
    given = drawn(PROGRAMS[name][0])
    fused = gn.fuse(source_of(name), given)
    assert "np.eye" in fused.source and "torch" not in fused.source
    scope = {**fused.program.values}
    found = run(fused.source, "backward")(**as_arrays({n: scope[n] for n in fused.arguments}))
    derived = gn.derive(source_of(name), given)(given)
    for mine, true in zip(found, derived.values(), strict=True):
        np.testing.assert_allclose(mine, true, rtol=1e-9, atol=1e-12)
    told = gn.explain(fused)
    assert "torch" not in told and "np.where" in told


GRU = """\
import numpy as np


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def gru_cell(x_t, h_prev, W_z, U_z, b_z, W_h, U_h, b_h):
    z = sigmoid(x_t @ W_z + h_prev @ U_z + b_z)
    h_hat = np.tanh(x_t @ W_h + h_prev @ U_h + b_h)
    return (1 - z) * h_prev + z * h_hat


def main():
    print(gru_cell.__name__)
"""
SCRIPT = """\
import numpy as np

hidden_size, vocab_size = 8, 6
Wxh = np.random.randn(hidden_size, vocab_size) * 0.01
Whh = np.random.randn(hidden_size, hidden_size) * 0.01
by = np.zeros((hidden_size, 1))


def lossFun(inputs, targets, hprev):
    hs, loss = {-1: np.copy(hprev)}, 0
    for t in range(len(inputs)):
        x = np.zeros((vocab_size, 1))
        x[inputs[t]] = 1
        hs[t] = np.tanh(Wxh @ x + Whh @ hs[t - 1] + by)
        p = np.exp(hs[t]) / np.sum(np.exp(hs[t]))
        loss += -np.log(p[targets[t], 0])
    return loss
"""
MASKED = """\
import numpy as np


def temporal_softmax_loss(x, y, mask):
    N, T, V = x.shape
    flat, picked = x.reshape(N * T, V), y.reshape(N * T)
    probs = np.exp(flat - np.max(flat, axis=1, keepdims=True))
    probs /= np.sum(probs, axis=1, keepdims=True)
    return -np.sum(mask.reshape(N * T) * np.log(probs[np.arange(N * T), picked])) / N
"""
DENSE = """\
import numpy as np


class Dense:
    def __init__(self, in_dim, out_dim):
        self.W = np.random.randn(in_dim, out_dim) * np.sqrt(2.0 / in_dim)
        self.b = np.zeros(out_dim)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b
"""


@pytest.mark.parametrize(
    ("text", "name", "wanted"),
    [
        (GRU, "", "x_t h_prev W_z U_z b_z W_h U_h b_h"),
        (SCRIPT, "", "hprev Wxh Whh by"),
        (MASKED, "", "x mask"),
        (DENSE, ":Dense", "x W b"),
        (source_of("two_layer_net"), "", "x W1 b1 W2 b2"),
    ],
    ids=["cell", "script", "masked", "class", "net"],
)
def test_values_that_nobody_gives_are_guessed(
    text: str, name: str, wanted: str, tmp_path: Path
) -> None:
    """Held to NumPy and to autograd it is as ever: here, that it is derived and that it is told."""
    file = tmp_path / "forward.py"
    file.write_text(text)
    program = gn.derive(f"{file}{name}").program
    assert set(program.differentiable) == set(wanted.split())
    assert all("these are guessed" in note for note in program.notes) and program.notes
    sizes = [set(i.value.shape) for i in program.inputs if i.name in {"x", "x_t"}]
    assert all(len(shape) > 1 for shape in sizes)  # no two axes alike


def test_a_guess_is_told_beside_what_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "forward.py"
    file.write_text(MASKED)
    derive_verb(str(file), as_json=True)
    printed = capsys.readouterr()
    assert "these are guessed: x (" in printed.err
    assert "these are guessed: x (" in json.loads(printed.out)["notes"][0]


def test_which_function_is_meant_is_not_guessed_between_two() -> None:
    text = "import numpy as np\n\n\ndef f(x):\n    return x * 2\n\n\ndef g(x):\n    return x * 3\n"
    with pytest.raises(gn.GradninjaError, match=r"it has: f, g; give FILE\.py:name"):
        gn.derive(text)


def test_only_floats_that_are_narrow_are_widened() -> None:
    given = {
        "narrow": [np.ones(2, np.float32), np.ones(2, np.float16)],
        "wide": np.ones(2),
        "ints": np.arange(3, dtype=np.int32),
        "mask": np.array([True]),
        "rate": 0.5,
    }
    found = as_float64(given)
    assert [part.dtype for part in found["narrow"]] == [np.float64, np.float64]
    assert given["narrow"][0].dtype == np.float32
    assert all(found[name] is given[name] for name in ("wide", "ints", "mask", "rate"))
