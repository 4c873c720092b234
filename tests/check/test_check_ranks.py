"""`gn.check(..., split=)`: what people get wrong in a backward over ranks is named and mended."""

from __future__ import annotations

from pathlib import Path

import pytest

import gradninja as gn
from calling import call
from gradninja.errors import GradninjaError

FORWARD = """
def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d k"], b: Float[Tensor, "k"]):
    n = x.shape[0]
    h = x @ w + b
    m = h.sum(0, keepdim=True) / n
    c = h - m
    y = torch.tanh(c) + 0.1 * h
    loss = (y**2).sum() / n
    return loss
"""
BACKWARD = """
def backward(x, w, c, y, n_all, data):
    dy = 2 * y / n_all
    dc = (1 - torch.tanh(c)**2) * dy
    dm = -dc.sum(0, keepdim=True)
    dm = fc.all_reduce(dm, "sum", data)
    dh = dc + dm / n_all + 0.1 * dy
    dw = x.T @ dh
    db = dh.sum(0)
    dx = dh @ w.T
    dw, db = fc.all_reduce_coalesced([dw, db], "sum", data)
    return dx, dw, db
"""
# The same in the in-place calls of torch.distributed.
IN_PLACE = """
import torch.distributed as dist

def backward(x, w, c, y, n_all, group):
    dy = 2 * y / n_all
    dc = (1 - torch.tanh(c)**2) * dy
    dm = -dc.sum(0, keepdim=True)
    dist.all_reduce(dm, op=dist.ReduceOp.SUM, group=group)
    dh = dc + dm / n_all + 0.1 * dy
    dw = x.T @ dh
    db = dh.sum(0)
    dx = dh @ w.T
    for d in (dw, db):
        torch.distributed.all_reduce(d, group=group)
    return dx, dw, db
"""
SPLIT = {"n": "data"}


@pytest.mark.parametrize("text", [BACKWARD, IN_PLACE], ids=["functional", "in place"])
def test_a_right_backward_is_right(text: str) -> None:
    report = gn.check(FORWARD, text, split=SPLIT)
    assert report.ok and [line.name for line in report.lines] == ["dx", "dw", "db"], str(report)


ONE = ("dw, db = fc.all_reduce_coalesced([dw, db]", "(dw,) = fc.all_reduce_coalesced([dw]")
MISTAKES = [
    # of a right text this, that in its place; the kind, the mend, the gradients that it spoils
    ('    dm = fc.all_reduce(dm, "sum", data)\n', "", "a missing all_reduce",
     "dm = fc.all_reduce(dm, 'sum', data)", "dx dw db"),
    ("dw, db = fc.all_reduce_coalesced([dw, db]", "(dw,) = fc.all_reduce_coalesced([dw]",
     "a missing all_reduce", "db = fc.all_reduce(db, 'sum', data)", "db"),
    ("dx = dh @ w.T", 'dx = fc.all_reduce(dh @ w.T, "sum", data)', "one all_reduce too many",
     "dx = dh @ w.T", "dx"),
    ("+ 0.1 * dy\n", '+ 0.1 * dy\n    dm = fc.all_reduce(dm, "sum", data)\n    dh = dc + dm / n_all'
     " + 0.1 * dy\n", "one all_reduce too many", None, "dx dw db"),
    ('[dw, db], "sum"', '[dw, db], "avg"', "a mean for a sum",
     "dw, db = fc.all_reduce_coalesced([dw, db], 'sum', data)", "dw db"),
    ("2 * y / n_all", "2 * y / y.shape[0]", "a rank's own length for the whole's",
     "dy = 2 * y / n_all", "dx dw db"),
    ("dm / n_all", "dm / len(x)", "a rank's own length for the whole's",
     "dh = dc + dm / n_all + 0.1 * dy", "dx dw db"),
    ("2 * y / n_all", "2 * y * w.shape[1] / y.numel()", "a rank's own length for the whole's",
     "dy = 2 * y * w.shape[1] / (n_all * y.shape[1])", "dx dw db"),
    ("    return dx", "    db = db + db.new_tensor(dist.get_rank())\n    return dx",
     "a gradient that differs between ranks", None, "db"),
    ("dy = 2 * y", "dy = 3 * y", "wrong on one rank, too", None, "dx dw db"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "kind", "fix", "spoilt"), MISTAKES)
def test_mistakes_are_named_and_mended(
    right: str, wrong: str, kind: str, fix: str | None, spoilt: str
) -> None:
    assert right in BACKWARD
    report = gn.check(FORWARD, BACKWARD.replace(right, wrong), split=SPLIT)
    assert [line.name for line in report.wrong] == spoilt.split(), str(report)
    assert {line.kind for line in report.wrong} == {kind}
    assert {line.fix for line in report.wrong} == {fix}


def test_what_is_summed_though_its_shares_differ_in_length_is_alone_to_blame() -> None:
    text = BACKWARD.replace(
        "    return dx", '    dx = fc.all_reduce(dx, "sum", data)\n    return dx'
    )
    (line,) = gn.check(FORWARD, text, split=SPLIT).wrong
    assert (line.name, line.kind, line.fix) == ("dx", "one all_reduce too many", None)
    assert line.place.startswith("take out line")


def test_two_mistakes_are_two() -> None:
    text = BACKWARD.replace("2 * y / n_all", "2 * y / y.shape[0]").replace(*ONE)
    report = gn.check(FORWARD, text, split=SPLIT)
    kinds = {line.name: line.kind for line in report.wrong}
    assert kinds["dw"] == "a rank's own length for the whole's"
    assert kinds["db"] == "a missing all_reduce"


def test_the_mend_is_in_the_texts_own_words() -> None:
    text = IN_PLACE.replace(
        "    for d in (dw, db):\n        torch.distributed.all_reduce(d, group=group)\n",
        "    dist.all_reduce(dw, group=group)\n",
    )
    (line,) = gn.check(FORWARD, text, split=SPLIT).wrong
    assert (line.name, line.fix) == ("db", "dist.all_reduce(db, group=group)")


def test_ranks_that_wait_for_each_other_are_told() -> None:
    text = IN_PLACE.replace(
        "    dist.all_reduce(dm,", "    if dist.get_rank() == 0: dist.all_reduce(dm,"
    )
    with pytest.raises(GradninjaError, match=r"rank|wait"):
        gn.check(FORWARD, text, split=SPLIT)


def test_a_name_that_nothing_has_is_no_matter_of_ranks() -> None:
    text = BACKWARD.replace("fc.all_reduce(dm", "funcol.all_reduce(dm")
    with pytest.raises(GradninjaError, match="name 'funcol' is not defined"):
        gn.check(FORWARD, text, split=SPLIT)


def test_the_command_line(tmp_path: Path, capsys) -> None:
    file = tmp_path / "layer.py"
    wrong = BACKWARD.replace(*ONE)
    head = "import torch\nimport torch.distributed._functional_collectives as fc\n"
    file.write_text(f"{head}{FORWARD}{wrong}")
    assert call("check", str(file), "--split", "n=data") == 1
    told = capsys.readouterr().out
    assert "db: wrong (a missing all_reduce)" in told
    (number,) = (n for n, line in enumerate(file.read_text().splitlines(), 1) if "db = dh" in line)
    assert f"after line {number}, write: db = fc.all_reduce(db, 'sum', data)" in told
