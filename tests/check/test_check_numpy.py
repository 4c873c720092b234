"""NumPy backwards in the forms in which people write them, right and with one mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy_forms import LOSS_FUN

import gradninja as gn

PAIRS = """\
import numpy as np


def affine_forward(x, w, b):
    out = x.reshape(x.shape[0], -1).dot(w) + b
    cache = (x, w, b)
    return out, cache


def affine_backward(dout, cache):
    x, w, b = cache
    dx = dout.dot(w.T).reshape(x.shape)
    dw = x.reshape(x.shape[0], -1).T.dot(dout)
    db = np.sum(dout, axis=0)
    return dx, dw, db


def relu_forward(x):
    out = np.maximum(0, x)
    return out, x


def relu_backward(dz, cache):
    dx, x = None, cache
    dx = dz.copy()
    dx[x <= 0] = 0
    return dx


def batchnorm_forward(x, gamma, beta, bn_param):
    eps = bn_param.get("eps", 1e-5)
    running_mean = bn_param.get("running_mean", np.zeros(x.shape[1]))
    cache = {}
    if bn_param["mode"] == "train":
        mu, var = x.mean(axis=0), x.var(axis=0)
        std = np.sqrt(var + eps)
        x_hat = (x - mu) / std
        out = gamma * x_hat + beta
        bn_param["running_mean"] = 0.9 * running_mean + 0.1 * mu
        cache["x_hat"], cache["std"], cache["gamma"] = x_hat, std, gamma
    return out, cache


def batchnorm_backward(dout, cache):
    x_hat, std, gamma = cache["x_hat"], cache["std"], cache["gamma"]
    dgamma = np.sum(dout * x_hat, axis=0)
    dbeta = np.sum(dout, axis=0)
    dx_hat = dout * gamma
    dx = (dx_hat - dx_hat.mean(axis=0) - x_hat * np.mean(dx_hat * x_hat, axis=0)) / std
    return dx, dgamma, dbeta


def softmax_loss(x, y):
    shifted = x - np.max(x, axis=1, keepdims=True)
    Z = np.sum(np.exp(shifted), axis=1, keepdims=True)
    log_probs = shifted - np.log(Z)
    N = x.shape[0]
    loss = -np.sum(log_probs[np.arange(N), y]) / N
    dx = np.exp(log_probs)
    dx[np.arange(N), y] -= 1
    dx /= N
    return loss, dx


def embedding_forward(W, ix):
    return W[ix], (W, ix)


def embedding_backward(dout, cache):
    W, ix = cache
    dW = np.zeros_like(W)
    np.add.at(dW, ix, dout)
    return dW


class Affine:
    def __init__(self, W=np.ones((4, 3)), b=np.zeros(3)):
        self.W, self.b = W, b
        self.x, self.dW, self.db = None, None, None

    def forward(self, x):
        self.x = x
        return np.dot(self.x, self.W) + self.b

    def backward(self, dout):
        self.dW = np.dot(self.x.T, dout)
        self.db = np.sum(dout, axis=0)
        return np.dot(dout, self.W.T)


class Relu:
    def forward(self, x):
        self.mask = (x <= 0)
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout):
        dout[self.mask] = 0
        dx = dout
        return dx
"""
rng = np.random.default_rng(0)
X = rng.standard_normal((5, 4))
GIVEN: dict[str, dict[str, Any]] = {
    "affine_forward": {
        "x": rng.standard_normal((5, 2, 2)),
        "w": rng.standard_normal((4, 3)),
        "b": rng.standard_normal(3),
    },
    "relu_forward": {"x": X},
    "batchnorm_forward": {
        "x": X,
        "gamma": rng.standard_normal(4),
        "beta": rng.standard_normal(4),
        "bn_param": {"mode": "train"},
    },
    "softmax_loss": {"x": X, "y": rng.integers(0, 4, 5)},
    "embedding_forward": {"W": X, "ix": np.array([0, 2, 2])},
    "Affine": {"x": X},
    "Relu": {"x": X},
}
# What is written instead, the gradient that is then wrong, and words that say why or mend it.
MISTAKES = [
    ("affine_forward", "np.sum(dout, axis=0)\n    return dx, dw", "np.sum(dout, axis=0, "
     "keepdims=True)\n    return dx, dw", "db", "keepdims=False"),
    ("affine_forward", ".T.dot(dout)", ".T.dot(dout) * 2", "dw", "too much"),
    ("relu_forward", "dx[x <= 0]", "dx[x >= 0]", "dx", "dx[x <= 0] = 0"),
    ("batchnorm_forward", "np.sum(dout * x_hat, axis=0)", "np.sum(dout, axis=0)", "dgamma",
     "x_hat"),
    ("softmax_loss", "dx /= N", "dx /= 1", "dx", "A factor is missing"),
    ("embedding_forward", "np.add.at(dW, ix, dout)", "dW[ix] += dout", "dW", "np.add.at"),
    ("Affine", "np.dot(self.x.T, dout)", "-np.dot(self.x.T, dout)", "dW", "self.dW = self.x.T"),
]  # fmt: skip


def told(line: Any) -> str:
    return f"{line.diagnosis} {line.fix}"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("numpy") / "layers.py"
    path.write_text(PAIRS)
    return path


@pytest.mark.parametrize("name", GIVEN)
def test_right_in_all_forms(name: str, file: Path) -> None:
    report = gn.check(f"{file}:{name}", inputs=GIVEN[name])
    assert report.ok, str(report)
    assert {line.name for line in report.lines} & {"dx", "dW"}


@pytest.mark.parametrize(("name", "right", "wrong", "gradient", "words"), MISTAKES)
def test_one_mistake_is_named(
    name: str, right: str, wrong: str, gradient: str, words: str, tmp_path: Path
) -> None:
    assert PAIRS.count(right) == 1
    path = tmp_path / "wrong.py"
    path.write_text(PAIRS.replace(right, wrong))
    report = gn.check(f"{path}:{name}", inputs=GIVEN[name])
    assert [line.name for line in report.wrong] == [gradient], str(report)
    (line,) = report.wrong
    assert words in told(line)
    assert "torch" not in told(line) and "ask for it" not in told(line)
    assert wrong.splitlines()[0] in line.source


RNN = (
    """\
import numpy as np

Wxh = np.random.RandomState(0).randn(4, 3) * 0.1
Whh = np.random.RandomState(1).randn(4, 4) * 0.1
Why = np.random.RandomState(2).randn(3, 4) * 0.1
bh, by = np.zeros((4, 1)), np.zeros((3, 1))


"""
    + LOSS_FUN.replace("vocab_size", "3")
    + """

def inputs():
    return {"inputs": [0, 2], "targets": [2, 1], "hprev": np.zeros((4, 1))}
"""
)


def test_a_script_with_its_parameters_around_it(tmp_path: Path) -> None:
    path = tmp_path / "rnn.py"
    path.write_text(RNN)
    report = gn.check(path)
    assert report.ok and not report.todo, str(report)  # hprev is in no list of gradients
    assert len(report.lines) == 5
    path.write_text(RNN.replace("(1 - hs[t] * hs[t])", "(1 - hs[t])"))
    wrong = gn.check(path, only=["dbh"]).wrong
    assert [line.name for line in wrong] == ["dbh"]
    assert "hs[t] ** 2" in told(wrong[0])


CONV = """\
import numpy as np


def conv_forward(x, w, b, conv_param):
    stride, pad = conv_param["stride"], conv_param["pad"]
    N, C, H, W = x.shape
    F, C, HH, WW = w.shape
    Hp, Wp = 1 + (H + 2 * pad - HH) // stride, 1 + (W + 2 * pad - WW) // stride
    out = np.zeros((N, F, Hp, Wp))
    xp = np.pad(x, ((0,), (0,), (pad,), (pad,)), "constant")
    for i in range(Hp):
        for j in range(Wp):
            win = xp[:, :, i * stride : i * stride + HH, j * stride : j * stride + WW]
            for f in range(F):
                out[:, f, i, j] = np.sum(win * w[f], axis=(1, 2, 3)) + b[f]
    return out, (x, w, b, conv_param)


def conv_backward(dout, cache):
    x, w, b, conv_param = cache
    stride, pad = conv_param["stride"], conv_param["pad"]
    F, C, HH, WW = w.shape
    N, _, Hp, Wp = dout.shape
    xp = np.pad(x, ((0,), (0,), (pad,), (pad,)), "constant")
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    db = dout.sum(axis=(0, 2, 3))
    for i in range(Hp):
        for j in range(Wp):
            rows, columns = slice(i * stride, i * stride + HH), slice(j * stride, j * stride + WW)
            for f in range(F):
                upstream = dout[:, f, i, j][:, None, None, None]
                dw[f] += np.sum(xp[:, :, rows, columns] * upstream, axis=0)
                dxp[:, :, rows, columns] += w[f] * upstream
    dx = dxp[:, :, pad:-pad, pad:-pad]
    return dx, dw, db
"""


def test_arrays_that_are_filled_in_loops(tmp_path: Path) -> None:
    path = tmp_path / "conv.py"
    path.write_text(CONV)
    given = {
        "x": rng.standard_normal((1, 1, 2, 2)),
        "w": rng.standard_normal((2, 1, 2, 2)),
        "b": rng.standard_normal(2),
        "conv_param": {"stride": 2, "pad": 1},
    }
    report = gn.check(path, inputs=given)
    assert report.ok, str(report)
    assert {"dx", "dw", "db"} <= {line.name for line in report.lines}


def forward(x, w):  # type: ignore[no-untyped-def]
    h = np.tanh(x @ w)
    return h.sum()


def backward(x, w, h):  # type: ignore[no-untyped-def]
    dh = 1 - h**2
    dw = np.dot(x.T, dh)
    dx = np.dot(dh, w.T)
    return dx, dw


def test_two_functions_of_a_notebook() -> None:
    given = {"x": X, "w": rng.standard_normal((4, 3))}
    assert gn.check(forward, backward, given).ok
    derived = gn.derive(forward, given)
    assert gn.check(forward, derived, given).ok


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("dx = dout * np.ones_like(x); np.split(dx, 2)", "NumPy itself does not run it"),
        ("dx = dout + np.zeros(1).reshape(1, 1)", "wrong shape"),
    ],
)
def test_what_numpy_itself_gives_counts(line: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "f.py"
    path.write_text(
        "import numpy as np\n\n\ndef forward(x):\n    out = x.sum(axis=0) * 1\n    return out\n\n\n"
        f"def backward(dout, x):\n    {line}\n    return dx\n"
    )
    report = gn.check(path, inputs={"x": rng.standard_normal((5, 3))})
    assert not report.ok
    assert words in str(report)


def test_of_a_file_of_several_pairs_one_must_be_said_with_values(file: Path) -> None:
    with pytest.raises(gn.GradninjaError, match="several forwards with a backward: affine_forward"):
        gn.check(file, inputs={"x": np.ones((2, 3))})


LAYERS = """
import numpy as np


def affine_forward(x, w, b):
    out = x.dot(w) + b
    cache = (x, w, b)
    return out, cache


def affine_backward(dout, cache):
    x, w, b = cache
    dx = dout.dot(w.T)
    dw = x.T.dot(dout)
    db = np.sum(dout, axis=1)
    return dx, dw, db


def relu_forward(x):
    out = np.maximum(0, x)
    return out, x


def relu_backward(dout, cache):
    x = cache
    dx = dout * (x > 0)
    return dx


def softmax_loss(x, y):
    shifted = x - np.max(x, axis=1, keepdims=True)
    log_probs = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    N = x.shape[0]
    loss = -np.sum(log_probs[np.arange(N), y]) / N
    dx = np.exp(log_probs)
    dx[np.arange(N), y] -= 1
    return loss, dx


def inputs():
    rng = np.random.default_rng(0)
    return dict(
        x=rng.normal(size=(6, 4)), w=rng.normal(size=(4, 5)), b=rng.normal(size=5),
        y=rng.integers(0, 4, size=6),
    )
"""


def test_all_layers_of_a_file_are_judged_on_the_values_that_each_takes(tmp_path: Path) -> None:
    path = tmp_path / "layers.py"
    path.write_text(LAYERS)
    report = gn.check(str(path))
    wrong = {row.name: row.line for row in report.lines if not row.ok}
    assert wrong == {"affine_forward.db": 15, "softmax_loss.dx": 36}
    assert {row.name for row in report.lines} >= {"affine_forward.dw", "relu_forward.dx"}
    one = gn.check(f"{path}:relu_forward")
    assert one.ok and [row.name for row in one.lines] == ["dx"]
