"""What a report looks like: table, JSON, HTML, the pytest helper, the watch."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import gradninja as gn
from gradninja.check import BackwardWrong, LineReport, Report, Verdict, assert_backward, check
from gradninja.check.tell.watching import Saves
from gradninja.cli import app
from paths import ROOT

FORWARD = """
import torch
from jaxtyping import Float
def forward(x: Float[torch.Tensor, "n d"], b: Float[torch.Tensor, "d"]):
    y = x.exp()
    z = y + b
    return z
"""
RIGHT = "def backward(y, dz):\n    dy = dz\n    dx = dy * y\n    db = dz.sum(0)\n"
WRONG = RIGHT.replace("dz.sum(0)", "dz").replace("dy * y", "dy * y * 2")
KEYS = {
    "name", "line", "source", "verdict", "max_abs", "max_rel", "shape", "expected_shape", "kind",
    "diagnosis", "fix",
}  # fmt: skip


@pytest.fixture(scope="module")
def wrong() -> Report:
    return check(FORWARD + WRONG)


def test_the_table_has_the_lectures_columns(wrong: Report) -> None:
    lines = str(wrong).splitlines()
    assert lines[0].split() == [
        "gradient", "verdict", "exact", "approximate", "maxdiff", "line", "as", "written",
    ]  # fmt: skip
    rows = {line.split()[0]: line.split() for line in lines[1:4]}
    assert rows["dy"][:4] == ["dy", "exact", "True", "True"]
    assert rows["dx"][:4] == ["dx", "wrong", "False", "False"]
    assert rows["db"][:3] == ["db", "wrong", "shape"]


def test_the_mend_and_the_tolerance_are_told(wrong: Report) -> None:
    said = " ".join(str(wrong).split())
    assert "write: dx = dy * y" in said
    assert "write: db = dz.sum(0)" in said
    assert "(5, 7), it should be (7,)" in said
    assert "in float64 within" in said
    assert "n=5, d=7" in said


def test_json_is_strict_and_comes_back(wrong: Report) -> None:
    row = json.loads(wrong.to_json(), parse_constant=pytest.fail)
    assert row["ok"] is False
    assert all(set(line) >= KEYS for line in row["lines"])
    assert Report.from_dict(row) == wrong
    infinite = LineReport("dx", 1, "dx = y", Verdict.WRONG, max_abs=float("inf"))
    assert json.loads(Report("f", (infinite,)).to_json())["lines"][0]["max_abs"] is None


def test_html_is_escaped() -> None:
    line = LineReport("dx", 1, "dx = a < b", Verdict.WRONG, diagnosis="<script>", fix="dx = a & b")
    found = Report("<file>", (line,))._repr_html_()
    assert "<script>" not in found
    assert "<file>" not in found
    assert "dx = a &lt; b" in found
    assert found.startswith("<table>")


def test_assert_backward_says_the_report() -> None:
    assert_backward(FORWARD + RIGHT)
    with pytest.raises(BackwardWrong) as caught:
        gn.assert_backward(FORWARD + WRONG)
    assert "write: dx = dy * y" in str(caught.value)
    assert caught.value.report.wrong
    assert isinstance(caught.value, AssertionError)


def outside(x: torch.Tensor, w: torch.Tensor, beta: float = 0.5) -> torch.Tensor:
    y = x * w
    z = y * beta
    return z.sum()


def outside_backward(x: torch.Tensor, w: torch.Tensor, y: torch.Tensor, beta: float) -> None:
    dy = torch.full_like(y, beta)
    dx = dy * w
    dw = (dy * x).sum(0)
    del dx, dw


def test_live_functions_with_defaults() -> None:
    inputs = {"x": torch.randn(4, 3), "w": torch.randn(3)}
    report = check(outside, outside_backward, inputs)
    assert report.ok, str(report)
    assert report.draws == ("the values of inputs()",)
    other = check(outside, outside_backward, {**inputs, "beta": 2.0})
    assert other.ok, str(other)
    first = next(line for line in report.lines if line.name == "dx")
    assert first.line == outside_backward.__code__.co_firstlineno + 2


def test_a_backward_from_another_file(tmp_path: Path) -> None:
    forward, backward = tmp_path / "model.py", tmp_path / "mine.py"
    forward.write_text(FORWARD)
    backward.write_text(RIGHT.replace("def backward", "def other"))
    assert check(forward, f"{backward}:other").ok
    assert check(forward, backward).ok
    assert check(f"{forward}:forward", str(backward)).file == str(backward)


def test_the_command_judges_a_named_backward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "two.py"
    path.write_text(FORWARD + RIGHT + WRONG.replace("def backward", "def backward_fused"))
    worker = importlib.import_module("gradninja.check.worker")
    monkeypatch.setattr(
        worker, "check_apart", lambda file, backward, *_, **asked: check(file, backward, **asked)
    )
    runner = CliRunner()
    assert runner.invoke(app, ["check", str(path)]).exit_code == 0
    found = runner.invoke(app, ["check", f"{path}:backward_fused", "--json"])
    assert found.exit_code == 1
    assert json.loads(found.stdout)["ok"] is False
    found = runner.invoke(app, ["check", str(path), "--backward", "nothing"])
    assert found.exit_code == 2
    assert "nothing" in found.stderr


def test_watch_checks_again_after_each_save(tmp_path: Path) -> None:
    path = tmp_path / "file.py"
    path.write_text("one")

    def write(text: str, stamp: int) -> Callable[[], None]:
        def do() -> None:
            path.write_text(text)
            os.utime(path, ns=(stamp, stamp))

        return do

    steps = iter([lambda: None, write("two", 1), path.unlink, lambda: None, write("three", 2),
                  lambda: None, write("four", 3)])  # fmt: skip
    seen = []

    def sleep(seconds: float) -> None:
        assert seconds > 0
        next(steps)()

    watched = iter(Saves([path], sleep))
    for _ in range(3):
        next(watched)
        seen.append(path.read_text())
    assert seen == ["two", "three", "four"]
    assert next(steps, None) is None


def test_the_command_watches_until_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.py"
    path.write_text("")
    reports = [check(FORWARD + RIGHT), check(FORWARD + WRONG)]
    given = iter(reports)

    def checked(*_: object, **asked: object) -> Report:
        """The file is saved while the first check runs."""
        path.write_text("saved")
        return next(given)

    def stopped(seconds: float) -> None:
        raise KeyboardInterrupt

    worker = importlib.import_module("gradninja.check.worker")
    watching = importlib.import_module("gradninja.check.tell.watching")
    monkeypatch.setattr(worker, "check_apart", checked)
    monkeypatch.setattr(watching, "Saves", lambda paths: Saves(paths, stopped))
    found = CliRunner().invoke(app, ["check", str(path), "--watch", "--json"])
    assert [json.loads(line)["ok"] for line in found.stdout.splitlines()] == [True, False]
    assert found.exit_code == 1


def test_the_slip_of_the_notes() -> None:
    path = ROOT / "examples" / "seed_notes_slip.py"
    report = check(path)
    (line,) = report.wrong
    assert line.name == "dbndiff"
    assert line.source == "dbndiff = dbnvar_inv * dhpreact"
    assert line.fix == "dbndiff = bnvar_inv * dbnraw"
    text = path.read_text(encoding="utf-8")
    assert f"line {line.line}: {line.source}" in text
    assert f"dbndiff: wrong ({line.kind})" in text
    assert check(text.replace(f"    {line.source}  #", f"    {line.fix}  #")).ok
