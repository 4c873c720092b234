"""What a newcomer meets on the command line: the version, panels, examples, the standard input."""

from __future__ import annotations

import inspect
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gradninja
from calling import call
from gradninja.cli import PANELS
from gradninja.cli.train import train
from paths import ROOT

LAYER = (ROOT / "examples" / "layer.py").read_text(encoding="utf-8")
SCREEN = 50  # lines of 80 columns


@pytest.fixture(autouse=True)
def eighty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let a text stand on the standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == f"gradninja {gradninja.__version__}\n"


def test_python_m_gradninja() -> None:
    command = [sys.executable, "-m", "gradninja", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"gradninja {gradninja.__version__}\n"


@pytest.mark.parametrize("asked", [(), ("--help",)])
def test_alone_it_shows_the_verbs_by_panel_and_examples(
    asked: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*asked) == 0
    told = capsys.readouterr().out
    places = [told.index(f"─ {panel} ─") for panel in PANELS]
    assert places == sorted(places)
    for verbs in PANELS.values():
        assert all(re.search(rf"│ {verb.__name__} +\w.*\. +│", told) for verb in verbs), told
    assert "To try first:" in told and "--install-completion" in told
    assert len(told.splitlines()) <= SCREEN


def test_the_help_of_train_fits_a_screen_and_tells_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("train", "--help") == 0
    told = capsys.readouterr().out
    assert len(told.splitlines()) <= SCREEN
    for name, parameter in inspect.signature(train).parameters.items():
        if name in {"given", "words"}:
            continue
        (row,) = re.findall(rf"│ --{name.removeprefix('as_').replace('_', '-')} .*│", told)
        default = parameter.default
        if isinstance(default, float | int) and not isinstance(default, bool) and default:
            assert f"({default:g})" in row or f"({default})" in row


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        (["derive"], "dx += 2 * x * (dvar / x.shape[1])"),
        (["fuse"], "var: answered in one go"),
        (["explain"], "xhat"),
        (["hint", "-", "dvar"], "hint 1 of 5"),
    ],
    ids=lambda value: value[0],
)
def test_the_standard_input_is_read(
    verb: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    typed(monkeypatch, LAYER)
    assert call(*(verb if "-" in verb else [*verb, "-"])) == 0
    assert said in capsys.readouterr().out


def test_a_model_on_the_standard_input_is_compiled(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, Path(gradninja.__file__).with_name("models").joinpath("mlp.py").read_text())
    assert call("compile", "-", "--show") == 0
    assert "losses[step] = loss" in capsys.readouterr().out


def test_a_backward_on_the_standard_input_is_judged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, LAYER)
    assert call("check", "-", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["file"] == "-"
    assert [row["name"] for row in report["lines"] if row["verdict"] == "wrong"] == ["dx"]


def test_what_is_wrong_on_the_standard_input_is_told_of_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside.py").write_text("WIDTH = 3\n")
    head = "import torch\nfrom beside import WIDTH\n\ndef inputs():\n"
    text = f'{head}    return {{"x": torch.ones(WIDTH)}}\n\n'
    typed(monkeypatch, text + "def forward(x):\n    y = 2 * x\n    return y\n")
    assert call("derive", "-") == 0  # what it imports is looked for where one stands
    typed(monkeypatch, text + "def forward(x):\n    y = oops(x)\n    return y\n")
    assert call("derive", "-") == 2
    told = capsys.readouterr().err
    assert "  the standard input, line 8\n" in told and "stdin.py" not in told
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["layer.py"], "gradninja check layer.py judges its backward"),
        (["shard", "layer.py"], "--split n=data"),
        (["check", "loose.ipynb"], "`%load_ext gradninja`, then `gn.cmp`"),
        (["derive", "loose.ipynb"], "`%load_ext gradninja`, then `gn.cmp`"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_a_newcomer_may_type_is_answered_with_what_to_type(
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("layer.py").write_text(LAYER)
    cell = {"cell_type": "code", "source": ["y = 2"], "metadata": {}, "outputs": []}
    Path("loose.ipynb").write_text(json.dumps({"cells": [cell], "nbformat": 4}))
    assert call(*words) == 2
    assert said in re.sub(r"\s+", " ", capsys.readouterr().err)
