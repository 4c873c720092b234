"""In IPython: the magics, hints that go on, objects that show themselves."""

from __future__ import annotations

from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from typer.testing import CliRunner

import gradninja as gn
from gradninja.cli import app
from gradninja.learn import hints
from gradninja.models import load
from lecture import FORWARD, LINES, SETUP


@pytest.fixture
def shell() -> Any:
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    shell.run_cell("%load_ext gradninja", store_history=True).raise_error()
    yield shell
    InteractiveShell.clear_instance()


def said(shell: Any, capsys: Any, *cells: str) -> str:
    for cell in cells:
        shell.run_cell(cell, store_history=True).raise_error()
    return str(capsys.readouterr().out)


def test_the_exercise_with_magics(shell: Any, capsys: Any) -> None:
    out = said(shell, capsys, SETUP, "%%forward\n" + FORWARD)
    assert "bnvar_inv       (1, 64)         bnvar_inv = (bnvar + 1e-5)**-0.5" in out
    out = said(shell, capsys, f"%%backward\n{LINES['logprobs']}\ndprobs = dlogprobs * probs")
    assert "logprobs        | exact: True" in out
    assert "dprobs: wrong (wrong operator)" in out and "cell 4, line 4" in out
    out = said(shell, capsys, LINES["probs"], "%gradients")
    assert "2 of 26 right, next: dcounts_sum_inv" in out
    first, second = (
        said(shell, capsys, "%hint dcounts_sum_inv"),
        said(shell, capsys, "%hint dcounts_sum_inv"),
    )
    assert "hint 1 of 5" in first and "what answers a broadcast" in first
    assert "hint 2 of 5" in second and ".sum(1" not in second
    out = said(shell, capsys, "%hint dcounts_sum_inv 5")
    assert "dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)" in out
    out = said(shell, capsys, "%explain bnraw")
    assert "dbndiff = bnvar_inv * dbnraw" in out and "bnvar_inv was broadcast over axis 0" in out


def test_cmp_in_a_notebook(shell: Any, capsys: Any) -> None:
    cells = [SETUP, FORWARD, "import gradninja as gn", LINES["logprobs"]]
    calls = "gn.cmp('logprobs', dlogprobs, logprobs)\ngn.cmp('probs', dprobs, probs)"
    out = said(shell, capsys, *cells, LINES["probs"].replace("/", "-"), calls)
    assert "exact: True" in out and "your line (cell 6, line 1)" in out


def test_arrays_and_a_function_of_one_s_own(shell: Any, capsys: Any) -> None:
    cells = [
        "import numpy as np\nimport gradninja as gn\nx = np.arange(12.0).reshape(4, 3) / 7",
        "def softmax(s):\n    e = np.exp(s - s.max(axis=1, keepdims=True))\n"
        "    return e / e.sum(axis=1, keepdims=True)",
        "b = np.zeros(3)\nprobs = softmax(x + b)\nloss = -np.log(probs[:, 0]).mean()",
        "dprobs = np.zeros_like(probs)\ndprobs[:, 0] = -1 / 4 / probs[:, 0]\ngn.cmp('probs')",
        "dprobs[:, 0] = 1 / 4 / probs[:, 0]\ngn.cmp('probs')",
    ]
    out = said(shell, capsys, *cells)
    assert "exact: True" in out and "dprobs: wrong (sign)" in out


def test_an_error_is_told_in_words_and_a_cell_s_own_as_its_own(shell: Any, capsys: Any) -> None:
    said(shell, capsys, "import gradninja as gn", "gn.hint('nothing')")
    assert "what is the loss?" in str(gn.hint("nothing"))
    shell.run_cell("gn.derive('nowhere.py')", store_history=True)
    out = capsys.readouterr().out
    assert "cannot read nowhere.py" in out and "Traceback" not in out
    shell.run_cell("%%backward\ndx = 1 / 0", store_history=True)
    out = capsys.readouterr().out
    assert "ZeroDivisionError" in out and "magics.py" not in out
    assert "there is no stage 'x'" in said(shell, capsys, SETUP, FORWARD, "%hint dprobs x")
    assert "%hint of what?" in said(shell, capsys, "%hint")
    assert "there are: loss, logprobs, probs" in said(shell, capsys, "%explain nothing")
    assert said(shell, capsys, "%explain dbnraw") == said(shell, capsys, "%explain bnraw")
    out = said(shell, capsys, LINES["logprobs"], "gn.cmp(dlogprobs, logprobs)")
    assert "cmp('logprobs', dlogprobs, logprobs)" in out


def test_hints_say_a_little_more_each_time() -> None:
    back = gn.derive(load("mlp_batchnorm").path)
    for line in back.lines:
        hint = hints(back, line.of)
        question, rule, shapes, half, whole = hint.stages
        solution = line.source.partition("= ")[2] or line.source
        for early in (question, rule, shapes):
            assert solution not in early or len(solution) < 12  # `dcounts_sum` is a name as well
        assert "?" in question and line.forward.source in rule
        assert str(line.shape[0]) in shapes
        assert whole not in half and half.split(" ...")[0] in whole
    assert "used twice" in hints(back, "dbndiff").stages[0]
    twice = gn.derive(
        "def f(x: Float[Tensor, 'n d']):\n    y = x - x.amax(1, True)\n    return y\n"
    )
    assert "used twice, in `y = x - x.amax(1, True)`: what becomes" in hints(twice, "dx").stages[0]
    with pytest.raises(gn.GradninjaError, match="`nothing` is no gradient"):
        hints(back, "nothing")


def test_hints_on_the_command_line() -> None:
    file = str(load("mlp_batchnorm").path)
    out = CliRunner().invoke(app, ["hint", file, "dW2", "--stage", "2"])
    assert out.exit_code == 0, out.output
    assert "2. the rule" in out.output and "3." not in out.output


def test_what_is_explained_shows_itself() -> None:
    told = gn.explain("def f(x: Float[Tensor, 'n']):\n    y = x.exp()\n    return y\n")
    assert repr(told) == "<The backward pass of f, line by line: 1 forward line, 1 backward line>"
    assert "dx = y * dy" in told
    assert "<" in told._repr_html_() and "$" in told._repr_markdown_()
    assert {"derive", "cmp", "hint", "check"} <= set(dir(gn))
