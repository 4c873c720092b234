"""`gradninja derive` and `gradninja explain`, as a person uses them."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from calling import call
from gradninja import memory

FORWARD = """\
import torch
from jaxtyping import Float
from torch import Tensor


def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d k"], b: Float[Tensor, "k"]):
    hpreact = x @ w + b
    h = torch.tanh(hpreact)
    return h


def scaled(x: Float[Tensor, "n"], factor: float = 2.0):
    y = x * factor
    return y
"""

DOUBLED = """\
    h = torch.tanh(hpreact)
    for i in range(40):
        h = torch.cat([h, h])
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "layer.py"
    path.write_text(FORWARD)
    return path


def test_derive_prints_a_backward_that_runs(file: Path, capsys) -> None:
    assert call("derive", str(file)) == 0
    text = capsys.readouterr().out
    assert "dhpreact = (1 - h ** 2) * dh" in text and "dw = x.T @ dhpreact" in text
    scope: dict = {}
    exec(text, scope)
    x, w, dh = torch.randn(3, 2), torch.randn(2, 4), torch.randn(3, 4)
    h = torch.tanh(x @ w)
    dx, dw, db = scope["backward"](x=x, w=w, h=h, dh=dh)
    assert (dx.shape, dw.shape, db.shape) == (x.shape, w.shape, (4,))


def test_derive_takes_a_name_wrt_and_style(file: Path, capsys) -> None:
    assert call("derive", f"{file}:scaled") == 0
    assert "dx = factor * dy" in capsys.readouterr().out
    assert call("derive", str(file), "--wrt", "w", "--style", "exact") == 0
    text = capsys.readouterr().out
    assert text.rstrip().endswith("return dw") and "addcmul" in text


def test_derive_as_function(file: Path, capsys) -> None:
    assert call("derive", str(file), "--as", "function") == 0
    scope: dict = {}
    exec(capsys.readouterr().out, scope)
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((3, 2), (2, 4), 4)]
    assert torch.autograd.gradcheck(scope["forward"], inputs)


def test_derive_as_json(file: Path, capsys) -> None:
    assert call("derive", str(file), "--json") == 0
    row = json.loads(capsys.readouterr().out)
    line = next(line for line in row["lines"] if line["name"] == "db")
    assert line["source"] == "db = dhpreact.sum(0)"
    assert line["forward"] == {"line": 7, "source": "hpreact = x @ w + b"}
    assert line["axes"] == ["k"] and line["rules"] == ["add"]
    assert any("a broadcast in the forward is a sum in the backward" in why for why in line["why"])
    assert row["kept"] == ["h"] and row["not_kept"] == ["hpreact"]


@pytest.mark.parametrize("view", ["text", "markdown", "html"])
def test_explain_has_every_line(view: str, file: Path, tmp_path: Path, capsys) -> None:
    assert call("explain", str(file), "--as", view) == 0
    printed = capsys.readouterr().out
    for line in ("dhpreact", "dw", "hpreact = x @ w + b"):
        assert line in printed
    out = tmp_path / "page"
    assert call("explain", str(file), "--as", view, "--out", str(out)) == 0
    assert out.read_text().strip() == printed.strip()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def forward(x: Float[Tensor, 'n']):\n    x[0] = 1\n    return x\n", "changes the input"),
        ("def forward(x):\n    return x * 2\n", "the shape of `x` is not known"),
        (
            "def forward(x: Float[Tensor, 'n']):\n    return torch.nanquantile(x, 0.5)\n",
            "no rule for",
        ),
        ("def forward(x: Float[Tensor, 'n']:\n", "not Python"),
        ("x = 1\n", "has no function"),
    ],
)
def test_what_cannot_be_derived_is_told_with_a_caret(
    text: str, told: str, tmp_path: Path, capsys
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    for verb in ("derive", "explain"):
        assert call(verb, str(path)) == 2
        error = capsys.readouterr().err
        assert told in error and "Traceback" not in error
        assert "^" in error or "function" in error


def test_a_missing_file_is_told(capsys) -> None:
    assert call("derive", "nowhere.py") == 2
    assert "cannot read nowhere.py" in capsys.readouterr().err


LOUD = """import os, sys, torch
os.system("echo noise")
print("noise")


def inputs():
    {line}
    return {{"x": torch.randn(3)}}


def forward(x):
    y = x * 2
    return y
"""


@pytest.mark.parametrize("verb", ["derive", "fuse", "explain"])
def test_what_a_file_prints_or_ends_is_kept_from_the_answer(
    verb: str, tmp_path: Path, capfd
) -> None:
    """The file runs in this process: its prints go to stderr, and it may not end the program."""
    path = tmp_path / "loud.py"
    for line, code, said in [
        ("sys.setrecursionlimit(200)", 0, "noise"),
        ("sys.exit(0)", 2, "ends the program"),
        ("raise KeyboardInterrupt", 2, "interrupted while the file ran"),
        ("return {'x': torch.eye(3).to_sparse()}", 2, "sparse"),
    ]:
        path.write_text(LOUD.format(line=line), encoding="utf-8")
        assert call(verb, str(path)) == code
        out, err = capfd.readouterr()
        assert "noise" not in out
        assert bool(out) is (code == 0)
        assert said in err


def test_derive_ends_after_its_time(tmp_path: Path) -> None:
    path = tmp_path / "loud.py"
    path.write_text(LOUD.format(line="while True: pass"), encoding="utf-8")
    run = "import sys; from gradninja.cli import main; sys.argv[0] = 'gradninja'; main()"
    command = [sys.executable, "-c", run, "derive", str(path), "--timeout", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert not done.stdout
    assert "within 1 s" in done.stderr
    assert "while True: pass" in done.stderr


def test_what_wants_more_memory_than_is_free_is_refused(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words, at the line that wants it; and what the process may take is as it was."""
    real = memory._kilobytes
    monkeypatch.setattr(
        memory, "_kilobytes", lambda *at: 500_000 if at[1] == "MemAvailable" else real(*at)
    )
    path = tmp_path / "doubled.py"
    path.write_text(FORWARD.replace("    h = torch.tanh(hpreact)\n", DOUBLED), encoding="utf-8")
    before = resource.getrlimit(resource.RLIMIT_DATA)
    assert call("derive", str(path)) == 2
    said = capsys.readouterr().err
    assert "memory" in said and "h = torch.cat([h, h])" in said and "Traceback" not in said
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
