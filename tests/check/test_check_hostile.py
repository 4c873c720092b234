"""Files that cannot be judged: a clear message, exit code 2, never a traceback of ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calling import call
from gradninja.check import CheckError, check
from gradninja.check.worker import check_apart
from gradninja.errors import GradninjaError

FORWARD = """
import torch
from jaxtyping import Float
def forward(x: Float[torch.Tensor, "n d"], w: Float[torch.Tensor, "d"]):
    y = x * w
    return y
"""
RIGHT = FORWARD + "def backward(x, w, dy):\n    dx = dy * w\n    dw = (dy * x).sum(0)\n"

UNJUDGED = {
    "empty file": ("", "no function"),
    "no forward": ("def backward(x): pass\n", "forward"),
    "no backward": (FORWARD, "no function named backward"),
    "a syntax error": (FORWARD + "def backward(x, w, dy:\n    dx = dy\n", "not Python"),
    "a syntax error that only compiling finds": (
        FORWARD + "def backward(x, w, dy):\n    dx = dy\n    break\n", "not Python"),
    "null bytes": (FORWARD + "\0", "not Python"),
    "an import that is not there": ("import no_such_module\n" + RIGHT, "no_such_module"),
    "an exception at the top": (RIGHT + "raise ValueError('mine')\n", "mine"),
    "the end of the program at the top": (RIGHT + "import sys\nsys.exit(0)\n", "SystemExit"),
    "a wrong name in the signature": (
        FORWARD + "def backward(x, w, dz):\n    dx = dz\n", "`dz`, which is no name"),
    "any number of values": (FORWARD + "def backward(*a, **k):\n    dx = 1\n", "any number"),
    "a return before the first line": (
        FORWARD + "def backward(x, w, dy):\n    return\n    dx = dy\n", "returns nothing"),
    "lines that write no gradient": (FORWARD + "delta = dy * w\n", "no line writes a gradient"),
    "no return": (RIGHT.replace("    return y\n", ""), "return"),
    "a return of nothing": (RIGHT.replace("return y\n", "return\n"), "return"),
    "a forward that does not run": (RIGHT.replace("x * w", "x @ w @ w"), "does not run"),
    "a forward in place": (RIGHT.replace("y = x * w", "y = x * w\n    x += 1"), "in place"),
    "an unknown name in the forward": (RIGHT.replace("x * w", "x * v"), "`v` is not defined"),
    "nan": (RIGHT.replace("x * w", "x * w * float('nan')"), "nan or infinite"),
    "no float input": (
        "def forward(n: int = 3):\n    y = n + 1\n    return y\ndef backward(dy):\n    dn = dy\n",
        "no tensor"),
    "a detached output": (RIGHT.replace("x * w", "(x * w).detach()"), "does not depend"),
    "unknown shapes": (
        "def forward(x):\n    return x\ndef backward(x, dout):\n    dx = dout\n", "shape of `x`"),
    "inputs() that raises": (
        RIGHT + "def inputs():\n    raise KeyError('k')\n", "`inputs()` does not run"),
    "inputs() of another kind": (RIGHT + "def inputs():\n    return 3\n", "dictionary"),
    "inputs() with other names": (
        RIGHT + "def inputs():\n    return {'q': torch.ones(3)}\n", "no input `q`"),
    "a default that raises": (
        FORWARD + "def backward(x, w, dy, k=1/0):\n    dx = dy\n", "division by zero"),
    "helpers that call each other twice, 25 deep": (
        FORWARD + "def a(t, n):\n    return b(b(t, n - 1), n - 1) if n else t\n"
        "def b(t, n):\n    return a(a(t, n - 1), n - 1) if n else t\n"
        "def backward(x, w, dy):\n    dx = a(dy, 25) * w\n", "among them, more than 1,000,000"),
    "a class that is no forward": ("class A:\n    pass\n", "no function"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNJUDGED)
def test_what_cannot_be_judged_is_refused(tmp_path: Path, name: str) -> None:
    text, told = UNJUDGED[name]
    path = tmp_path / "hostile.py"
    path.write_text(text)
    with pytest.raises(GradninjaError) as caught:
        check(path)
    assert told in str(caught.value)


def test_where_nothing_is_written_yet_all_is_to_do(tmp_path: Path) -> None:
    path = tmp_path / "blank.py"
    path.write_text(FORWARD + "def backward(x, w, dy):\n    pass\n")
    report = check(path)
    assert not report.wrong and {line.name for line in report.todo} == {"dx", "dw"}
    with pytest.raises(GradninjaError, match="writes no `d<name>`"):
        check(path, complete=True)


WRONG = {
    "an exception": "raise ValueError('mine')",
    "the end of the program": "raise SystemExit(3)",
    "a name that is not there": "dx = nothing",
    "a call with too few values": "dx = torch.where(x)[0] * torch.where()",
    "a division by zero": "dx = dy * (1 / 0)",
    "endless recursion": "f = lambda: f()\n    dx = f()",
    "input that nobody gives": "dx = dy * float(input())",
    "a number": "dx = 3.0",
    "nothing": "dx = None",
    "text": "dx = 'dy * w'",
    "nan": "dx = dy * w * float('nan')",
    "infinity": "dx = dy * w / 0",
    "complex numbers": "dx = dy * w * 1j",
    "a list": "dx = [dy * w]",
    "a generator": "dx = (g for g in dy)",
    "a huge tensor": "dx = torch.zeros(10**15)",
    "a tensor without memory": "dx = torch.empty(x.shape, device='meta')",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wild_line_is_wrong_and_the_others_are_judged(tmp_path: Path, name: str) -> None:
    path = tmp_path / "wild.py"
    path.write_text(RIGHT.replace("dx = dy * w", WRONG[name]))
    report = check(path)
    assert not report.ok
    assert {line.name for line in report.wrong} & {"dx", "f", "line 8"}
    json.loads(report.to_json())
    assert str(report)
    assert next(line for line in report.lines if line.name == "dw").ok, str(report)


def test_an_endless_loop_is_ended_and_its_line_is_told(tmp_path: Path) -> None:
    path = tmp_path / "endless.py"
    path.write_text(RIGHT.replace("dx = dy * w", "while True: pass\n    dx = dy * w"))
    with pytest.raises(CheckError) as caught:
        check_apart(str(path), None, 4.0)
    assert "did not come to an end" in caught.value.message
    assert "while True: pass" in str(caught.value)


def test_a_process_that_ends_itself_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ends.py"
    path.write_text(RIGHT.replace("dx = dy * w", "import os; os._exit(7)"))
    with pytest.raises(CheckError, match="ended with code 7"):
        check_apart(str(path), None, 60.0)


def test_prints_stay_out_of_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "prints.py"
    noise = "print('noise'); import os; os.write(1, b'noise')"
    path.write_text(RIGHT.replace("dx = dy * w", f"{noise}\n    dx = dy * w") + noise + "\n")
    assert call("check", str(path), "--json") == 0
    assert json.loads(capfd.readouterr().out)["ok"] is True


def test_a_wrong_line_leaves_with_1(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file.py"
    path.write_text(RIGHT.replace("dy * w", "dy + w"))
    assert call("check", str(path)) == 1
    said = capfd.readouterr()
    assert "write: dx = dy * w" in said.out
    assert not said.err


def test_a_file_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert call("check", "nowhere.py") == 2
    assert capfd.readouterr().err.startswith("error: cannot read nowhere.py")
