"""A NumPy backward that comes with no values: they are guessed from the forward's own lines."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_check_numpy import MISTAKES, PAIRS, told

import gradninja as gn
from gradninja.lines.guess import Guesser, guesses, hints_of
from gradninja.lines.guess.likeliest import Hints, choices
from gradninja.lines.guess.unknown import Need


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("guessed") / "layers.py"
    path.write_text(PAIRS)
    return path


def test_all_forms_are_judged_without_values_and_it_is_said(file: Path) -> None:
    report = gn.check(file)
    assert report.ok, str(report)
    names = {row.name for row in report.lines}
    assert {"affine_forward.dw", "batchnorm_forward.dx", "softmax_loss.dx", "Affine.dW"} <= names
    assert not report.todo and not any("not judged" in note for note in report.notes)
    assert report.draws == ("guessed values",)
    assert any("these are guessed: x (5, 4), w (4, 3), b (3,)" in note for note in report.notes)


@pytest.mark.parametrize(
    ("name", "right", "wrong", "gradient", "words"),
    [mistake for mistake in MISTAKES if "keepdims" not in mistake[2]],
)
def test_a_mistake_is_named_on_guessed_values(
    name: str, right: str, wrong: str, gradient: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(PAIRS.replace(right, wrong))
    report = gn.check(f"{path}:{name}")
    assert [line.name for line in report.wrong] == [gradient], str(report)
    assert words in told(report.wrong[0])


HEADER = "import numpy as np\n\n\n"
# What a guess by shapes alone would get wrong: one that fits them is not yet the one that is meant.
MEANT = {
    "a bias that is a column": """\
def linear_forward(A, W, b):
    Z = np.dot(W, A) + b
    return Z, (A, W, b)


def linear_backward(dZ, cache):
    A, W, b = cache
    dW = np.dot(dZ, A.T)
    db = np.sum(dZ, axis=1, keepdims=True)
    dA = np.dot(W.T, dZ)
    return dA, dW, db
""",
    "a weight that is a vector": """\
def forward(X, w, b, y):
    p = 1 / (1 + np.exp(-(np.dot(X, w) + b)))
    loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    return loss


def backward(X, y, p):
    dw = np.dot(X.T, p - y) / len(y)
    db = np.mean(p - y)
    return dw, db
""",
    "labels of which each row sums to one": """\
def forward(X, W, b, Y):
    scores = X @ W + b
    A = np.exp(scores) / np.sum(np.exp(scores), axis=1, keepdims=True)
    loss = -np.sum(Y * np.log(A)) / X.shape[0]
    return loss


def backward(X, Y, A):
    dscores = (A - Y) / X.shape[0]
    dW = X.T @ dscores
    db = dscores.sum(axis=0)
    return dW, db
""",
    "gates side by side": """\
def forward(x, h, c, Wx, Wh, b):
    H = h.shape[1]
    a = x @ Wx + h @ Wh + b
    i, f = np.tanh(a[:, :H]), np.tanh(a[:, H : 2 * H])
    c_next = f * c + i * np.tanh(a[:, 2 * H :])
    return c_next


def backward(dc_next, c, f):
    dc = dc_next * f
    df = dc_next * c
    return dc, df
""",
    "three axes, not two": """\
def forward(Q, K):
    scores = np.matmul(Q, K.transpose(0, 2, 1)) / np.sqrt(Q.shape[-1])
    return scores


def backward(dscores, Q, K):
    dQ = np.matmul(dscores, K) / np.sqrt(Q.shape[-1])
    dK = np.matmul(dscores.transpose(0, 2, 1), Q) / np.sqrt(Q.shape[-1])
    return dQ, dK
""",
}


@pytest.mark.parametrize("name", MEANT)
def test_the_values_that_are_meant_are_those_on_which_the_backward_is_right(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "meant.py"
    path.write_text(HEADER + MEANT[name])
    report = gn.check(path)
    assert report.ok and len(report.lines) > 1, str(report)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        # Each is right where an axis has size 1, or two have one: no reason to guess that.
        ("labels of which each row sums to one", " / X.shape[0]\n    dW", "\n    dW"),
        ("a bias that is a column", "axis=1, keepdims=True", "axis=0, keepdims=True"),
        ("a weight that is a vector", "np.mean(p - y)", "np.sum(p - y)"),
        ("three axes, not two", "dscores.transpose(0, 2, 1)", "dscores"),
    ],
)
def test_no_values_are_guessed_that_hide_a_mistake(
    name: str, right: str, wrong: str, tmp_path: Path
) -> None:
    assert MEANT[name].count(right) == 1
    path = tmp_path / "wrong.py"
    path.write_text(HEADER + MEANT[name].replace(right, wrong))
    report = gn.check(path)
    assert not report.ok, str(report)
    place = (HEADER + MEANT[name]).partition(right)[0].count("\n") + 1
    assert {line.line for line in report.wrong} == {place}


def test_settings_and_parameters_in_dictionaries_are_found() -> None:
    def forward(X: Any, parameters: Any, mode: str, conv_param: Any, n: int) -> Any:
        W, b = parameters["W"], parameters["b"]
        scale = conv_param.get("scale", 2.0) * conv_param["stride"]
        out = X @ W + b if mode == "train" else X
        return out * scale + np.zeros((n, 1)).sum()

    text = "def f(X, mode):\n    return X if mode == 'train' else -X\n"
    names = ["X", "parameters", "mode", "conv_param", "n"]
    found = next(guesses(Guesser(forward, names, hints_of(ast.parse(text)))))
    values = found.values
    assert values["mode"] == "train" and values["conv_param"] == {"stride": 2}
    rows, inner = values["X"].shape
    assert values["parameters"]["W"].shape[0] == inner != rows
    assert values["parameters"]["b"].shape == values["parameters"]["W"].shape[1:]


def test_what_runs_on_nothing_is_refused_as_before(tmp_path: Path) -> None:
    path = tmp_path / "f.py"
    path.write_text(
        HEADER + "def forward(x):\n    return np.linalg.nothing(x)\n\n\n"
        "def backward(dout, x):\n    dx = dout\n    return dx\n"
    )
    with pytest.raises(gn.GradninjaError, match="shape of `x` is not known"):
        gn.check(path)


@pytest.mark.parametrize(
    ("path", "touch", "key"),
    [
        ("params", "key", "W1"),
        ("mode", "text", "train"),
        ("eps", "number", None),
        ("flag", "bool", None),
        ("activation", "call", None),
        ("X", "array", None),
        ("n", "index", None),
    ],
)
def test_the_first_that_comes_to_mind_is_not_in_doubt(path: str, touch: str, key: Any) -> None:
    assert next(choices(Need(path, touch, key), {}, Hints())).doubt == 0


def test_a_weight_may_be_a_pair_of_matrices() -> None:
    """Both directions of a recurrent net: `forwards, backwards = W`."""
    drawn = choices(Need("W", "array"), {"X": np.zeros((5, 4))}, Hints())
    doubts = {c.value.shape: c.doubt for c in drawn if isinstance(c.value, np.ndarray)}
    pairs = [shape for shape in doubts if shape[:-1] == (2, 4)]
    assert pairs and not any(doubts[shape] for shape in pairs)
