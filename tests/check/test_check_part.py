"""Part done is no mistake: what is not written is to do, and what is asked for is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gradninja as gn
from gradninja.check import BackwardWrong, CheckError, Verdict
from gradninja.cli import app
from gradninja.models import load

MODEL = load("mlp_batchnorm").path.read_text(encoding="utf-8")
FIRST = """
dlogprobs = torch.zeros_like(logprobs)
dlogprobs[range(n), Yb] = -1 / n
dprobs = dlogprobs / probs
dcounts = counts_sum_inv * dprobs
dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)
dcounts_sum = -(counts_sum**-2) * dcounts_sum_inv
dcounts += dcounts_sum
"""


def part(lines: str, **asked: object) -> gn.Report:
    return gn.check(MODEL, lines, **asked)  # type: ignore[arg-type]


def test_what_is_not_written_is_to_do() -> None:
    report = part(FIRST)
    assert report.ok
    assert str(report).splitlines()[-1].endswith("5 of 26 right, next: dnorm_logits")
    names = [line.name for line in report.todo]
    assert names[:5] == ["dnorm_logits", "dlogit_maxes", "dlogits", "dh", "dW2"]
    assert {"dC", "dW1", "db1", "demb"} <= set(names)
    assert "to do: dnorm_logits" in str(report) and "to do: dnorm_logits" in report._repr_html_()
    assert gn.Report.from_dict(json.loads(report.to_json())) == report


def test_what_is_written_in_one_go_leaves_nothing_to_do_on_the_way() -> None:
    """Who writes `dlogits` at once needs no `dprobs`."""
    report = part("dlogits = probs.clone()\ndlogits[range(n), Yb] -= 1\ndlogits = dlogits / n\n")
    assert report.ok
    assert len(report.lines) == 19
    assert "dprobs" not in {line.name for line in report.lines}
    assert {line.name for line in report.todo} >= {"dh", "dC"}


def test_a_wrong_gradient_is_wrong_in_a_part_though_nothing_reads_it() -> None:
    wrong = FIRST.replace("dcounts_sum = -(", "dcounts_sum = (").replace(
        "dcounts += dcounts_sum", ""
    )
    report = part(wrong, only=["dcounts_sum"])
    assert [(line.name, line.kind) for line in report.wrong] == [("dcounts_sum", "sign")]
    report = part(wrong)
    assert {line.name for line in report.wrong} == {"dcounts_sum", "dcounts"}
    assert "3 right, 21 to do" in str(report)


def test_the_whole_is_asked_for_in_a_test_or_by_word() -> None:
    assert {line.verdict for line in part(FIRST, complete=True).wrong} == {Verdict.MISSING}
    with pytest.raises(BackwardWrong, match="no line writes `dC`"):
        gn.assert_backward(MODEL, FIRST)
    gn.assert_backward(MODEL, FIRST, complete=False)


def test_nothing_is_written_yet() -> None:
    report = gn.check(
        "def forward(x: Float[Tensor, 'n']):\n    y = x.exp()\n    return y.sum()\n", "pass\n"
    )
    assert [line.name for line in report.todo] == ["dy", "dx"]


def test_only_what_is_asked_for_is_judged() -> None:
    wrong = MODEL.replace("dh = dlogits @ W2.T", "dh = dlogits")
    assert not gn.check(wrong, only=["dh"]).ok
    report = gn.check(wrong, only=["dW2", "bnraw"])
    assert report.ok
    assert [line.name for line in report.lines] == ["dW2", "dbnraw"]
    with pytest.raises(CheckError, match="`dq` is no gradient of this forward"):
        gn.check(wrong, only=["dq"])


def test_a_lost_axis_of_size_1_can_be_let_go() -> None:
    line = "dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)"
    assert line in FIRST
    lost = FIRST.replace(line, line.replace(", keepdim=True", ""))
    assert not part(lost, only=["dcounts_sum_inv"]).ok
    report = part(lost, only=["dcounts_sum_inv"], lenient=True)
    assert report.ok
    assert "an axis of size 1 that is lost lines up with another" in str(report)
    wrong = lost.replace("(counts * dprobs)", "(counts + dprobs)")
    assert not part(wrong, only=["dcounts_sum_inv"], lenient=True).ok  # numbers are numbers


def test_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "part.py"
    head, _, _ = MODEL.partition("def backward(")
    file.write_text(head + FIRST, encoding="utf-8")
    found = CliRunner().invoke(app, ["check", str(file), "--complete", "--only", "dprobs,C"])
    assert found.exit_code == 1, found.output
    assert "1 of 2 to mend: dC" in found.stdout
