"""Backwards of arrays in the forms of courses and repositories, judged as they stand."""

from __future__ import annotations

from pathlib import Path

import numpy_course_forms
import numpy_forms
import pytest
import torch_forms

import gradninja as gn
from gradninja.check.diagnosis import Kind

FORMS = numpy_forms.FORMS | numpy_course_forms.FORMS | torch_forms.FORMS
MISTAKES = numpy_forms.MISTAKES | numpy_course_forms.MISTAKES | torch_forms.MISTAKES
PLANTED = [(name, *mistake) for name, several in MISTAKES.items() for mistake in several]


@pytest.mark.parametrize("name", FORMS)
def test_right_as_it_is_published(name: str, tmp_path: Path) -> None:
    path = tmp_path / "published.py"
    path.write_text(FORMS[name])
    report = gn.check(path)
    assert report.ok, str(report)
    assert any(row.verdict in ("exact", "close") for row in report.lines)
    assert not any("not judged" in note for note in report.notes), report.notes


@pytest.mark.parametrize(("name", "right", "wrong"), PLANTED)
def test_one_mistake_is_one_line(name: str, right: str, wrong: str, tmp_path: Path) -> None:
    text = FORMS[name]
    assert text.count(right) == 1
    path = tmp_path / "wrong.py"
    path.write_text(text.replace(right, wrong))
    (row,) = gn.check(path).wrong
    assert row.line == text.partition(right)[0].count("\n") + 1
    assert row.kind in {kind.value for kind in Kind} - {Kind.UNKNOWN.value}
    rows = path.read_text().split("\n")
    assert row.place == f"in place of line {row.line}" and row.fix is not None
    assert name in torch_forms.FORMS or "torch" not in row.fix
    indent = rows[row.line - 1][: len(rows[row.line - 1]) - len(rows[row.line - 1].lstrip())]
    rows[row.line - 1] = indent + row.fix
    path.write_text("\n".join(rows))
    assert gn.check(path).ok, row.fix


def test_a_backward_that_asks_for_labels_that_no_cost_takes_is_not_accused(tmp_path: Path) -> None:
    text = FORMS["a cost beside the forward"]
    start, end = text.index("def compute_cost"), text.index("def backward_propagation")
    path = tmp_path / "alone.py"
    path.write_text(text[:start] + text[end:])
    with pytest.raises(gn.GradninjaError, match="wants `Y`, which is no name of the forward"):
        gn.check(path)


def test_what_a_list_of_gradients_leaves_out_is_not_to_do(tmp_path: Path) -> None:
    path = tmp_path / "recurrent.py"
    path.write_text(FORMS["a recurrent network whose sizes are counted"])
    report = gn.check(path)
    assert not report.todo, str(report)
    assert any("`hprev` is given no gradient" in note for note in report.notes), report.notes


TRUTHS = """
import numpy as np

def softmax_loss_naive(W, X, y, reg):
    loss = 0.0
    dW = np.zeros_like(W)
    num_train = X.shape[0]
    for i in range(num_train):
        scores = X[i].dot(W)
        scores -= np.max(scores)
        p = np.exp(scores) / np.sum(np.exp(scores))
        loss -= np.log(p[y[i]])
        for j in range(W.shape[1]):
            dW[:, j] += (p[j] - (j == y[i])) * X[i]
    loss = loss / num_train + reg * np.sum(W * W)
    dW = dW / num_train + 2 * reg * W
    return loss, dW
"""


def test_a_truth_that_is_subtracted_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "softmax.py"
    path.write_text(TRUTHS)
    report = gn.check(path)
    assert report.ok and [row.name for row in report.lines if row.verdict == "close"] == ["dW"]
    path.write_text(TRUTHS.replace("p[j] - (j", "p[j] + (j"))
    assert [row.name for row in gn.check(path).wrong] == ["dW"]
