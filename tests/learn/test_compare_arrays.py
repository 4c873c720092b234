"""`cmp` on NumPy's arrays, and as learners call it: wrong names, no names, arguments exchanged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import gradninja as gn
from gradninja.learn.compare import Comparison, Desk, compare
from gradninja.learn.notebook import hint_in, standing
from gradninja.learn.numpy_session import Tensors
from gradninja.learn.session import Session, cells
from lecture import FORWARD, LINES, SETUP, run

NET = [
    "",
    "import numpy as np\nrng = np.random.default_rng(0)\nN = 6\n"
    "X, y = rng.standard_normal((N, 4)), rng.integers(0, 3, N)\n"
    "W1, b1 = rng.standard_normal((4, 5)), np.zeros(5)\n"
    "W2, b2 = rng.standard_normal((5, 3)), np.zeros(3)\n",
    "h = np.maximum(0, X.dot(W1) + b1)\nscores = h @ W2 + b2\n"
    "e = np.exp(scores - scores.max(axis=1, keepdims=True))\n"
    "probs = e / e.sum(axis=1, keepdims=True)\nloss = -np.log(probs[np.arange(N), y]).mean()\n",
    "dscores = probs.copy()\ndscores[np.arange(N), y] -= 1\ndscores /= N\n",
]


def compared(texts: list[str], name: str, mine: Any = None) -> Comparison:
    names = run(texts)
    here = Session(tuple(cells(texts)), names, True)
    mine = names.get(f"d{name}") if mine is None else mine
    return Desk().compare(here, name, mine, names[name])


@pytest.mark.parametrize(
    ("name", "line", "kind"),
    [
        ("scores", "pass", None),
        ("W2", "dW2 = h.T.dot(dscores)", None),
        ("h", "dh = np.dot(dscores, W2.T)", None),
        ("b2", "db2 = np.sum(dscores, axis=0)", None),
        ("b2", "db2 = dscores", "no sum over the broadcast axis"),
        ("b2", "db2 = dscores.sum(axis=0, keepdims=True)", "lost keepdim"),
        ("W2", "dW2 = dscores.T.dot(h)", "transposed matmul"),
        ("scores", "dscores = (probs - np.eye(3)[y])", "missing 1/n"),
        ("h", "grad_h = dscores @ W2.T\ndh = -grad_h", "sign"),
    ],
)
def test_lines_of_numpy(name: str, line: str, kind: str | None) -> None:
    found = compared([*NET, line], name)
    assert (found.ok, found.kind) == (kind is None, kind), found.text()
    if found.mend:
        assert found.mend not in found.text() and "torch" not in found.text(mend=True)


def test_hints_and_standing_are_in_numpy_s_words() -> None:
    texts = [*NET, "db2 = dscores.sum(0)\ndW2 = h.T @ dscores * 2"]
    names = run(texts)
    here = Session(tuple(cells(texts)), names, True)
    assert "db2 = dscores.sum(axis=0)" in str(hint_in(here, "db2", 5))
    said = str(standing(here))
    assert "dW2              wrong (extra factor)" in said and "2 of 9 right" in said
    assert names["X"].dtype == np.float64  # what is there stays as it was


def test_as_learners_call_it(capsys: Any) -> None:
    b = torch.ones(3)
    y = torch.arange(3)
    loss = (torch.arange(6.0).view(2, 3) * b).sum()
    db = torch.tensor([3.0, 5.0, 7.0])
    assert compare("b", db, b).ok and compare("b").ok and compare(b, db, b).ok
    assert compare("b", db.numpy(), b).ok and compare("bias", db, b).ok
    assert "holds no floats" in compare("y", y, y).text()
    assert "second" in compare("b", b, db).text()
    assert compare("b", [3.0], b).verdict == "wrong" and compare("b", None, b).verdict == "to do"
    assert compare("nothing").verdict == "to do"
    grads = 2 * torch.tensor([3.0, 5.0, 7.0])
    found = compare("loss", 2.0, loss)
    assert found.verdict == "wrong"
    found = compare("b", grads, b)
    assert "grads = 2 * torch" in found.text() and found.kind == "extra factor"
    gn.cmp("b", grads, b)
    assert "db: wrong" in capsys.readouterr().out


def test_what_a_function_reads_from_around_it_is_told() -> None:
    W, x = torch.ones(3), torch.arange(3.0)
    names = {"W": W, "x": x, "model": eval("lambda x: x * W", {"W": W})}
    names["loss"] = names["model"](x).sum()
    here = Session(tuple(cells(["", "loss = model(x).sum()"])), names, True)
    said = Desk().compare(here, "W", x, W).text()
    assert "inside of the function `model`" in said and "as an argument" in said


def test_the_tensor_of_another_name_is_told_and_a_line_may_stand_in_the_call() -> None:
    texts = ["", SETUP, FORWARD, LINES["logprobs"], "cmp('logprobs', dlogprobs * probs, probs)"]
    names = run(texts[:-1])
    here = Session(tuple(cells(texts)), names, True)
    mine = names["dlogprobs"] * names["probs"]
    found = Desk().compare(here, "logprobs", mine, names["probs"])
    assert found.kind == "wrong operator"
    assert "dprobs = dlogprobs * probs" in found.text()
    assert "the tensor that you gave is `probs`" in found.text()


def test_what_a_gradient_holds_at_last_is_judged() -> None:
    """A line that spoils what was right is the wrong one, whatever stood there before."""
    line = LINES["hpreact"] + "\ndhpreact = 2 * dhpreact"
    found = compared(["", SETUP, FORWARD, *list(LINES.values())[:11], line], "hpreact")
    assert found.kind == "extra factor" and found.line is not None
    assert found.line.text == "dhpreact = 2 * dhpreact"
    again = [*NET, "dscores[np.arange(N), y] = 3.0", "dscores[np.arange(N), y] = 1.0"]
    found = compared(again, "scores")
    assert "3.0" not in found.text() and found.verdict == "wrong"


def test_a_forward_that_was_run_again_is_no_longer_told_of() -> None:
    texts, desk = ["", SETUP, FORWARD, LINES["logprobs"]], Desk()
    names = run([*texts, "W2.data += 1"])
    here = Session(tuple(cells(texts)), names, True)
    told = desk.compare(here, "logprobs", names["dlogprobs"], names["logprobs"])
    assert "has changed since" in told.text()
    exec(FORWARD, names)
    told = desk.compare(here, "logprobs", names["dlogprobs"], names["logprobs"])
    assert told.ok and "has changed since" not in told.text()


def test_a_sessions_arrays_are_its_names_as_tensors() -> None:
    raw = {"x": np.ones((2, 3)), "n": 4}
    names = Tensors(raw)
    assert len(names) == 2 and list(names) == ["x", "n"]
    assert isinstance(names["x"], torch.Tensor) and names["n"] == 4
    raw["x"][0, 0] = 5.0
    assert names["x"][0, 0] == 5  # the memory is shared
