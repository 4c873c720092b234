"""What a diagnosis says, how it writes the mend, and what it does when it finds none."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

import pytest

from gradninja.check import LineReport, check
from gradninja.check.diagnosis import Diagnosis, Kind, apply
from gradninja.check.diagnosis.candidates.tree_edits import Style, places, replaced
from gradninja.check.diagnosis.case import Case
from mistakes import MISTAKES
from mutation_trial import recorded
from paths import ROOT

HEADER = """import torch
from jaxtyping import Float
from torch import Tensor


"""

TANH = (
    HEADER
    + """def forward(
    x: Float[Tensor, "n d"], W: Float[Tensor, "d k"], g: Float[Tensor, "1 k"]
):
    z = x @ W
    h = torch.tanh(z)
    y = h * g
    return y


def backward(x, W, g, {asked}dy):
    dg = (h * dy).sum(0, keepdim=True)
    dh = dy * g  # back through the gain
{lines}
    dx = dz @ W.T
    dW = x.T @ dz
"""
)


def only(text: str) -> tuple[LineReport, Diagnosis]:
    """The one wrong line of a text, and its diagnosis; the mend makes the text right."""
    with recorded() as diagnoses:
        (row,) = check(text, complete=True).wrong
    found = diagnoses[row.name]
    assert check(apply(found.patches, text)).wrong == ()
    return row, found


def planted(kind: Kind, gradient: str) -> LineReport:
    (mistake,) = (m for m in MISTAKES if m.kind is kind and m.gradient == gradient)
    (row,) = check(mistake.plant(), complete=True).wrong
    return row


def test_second_use_names_the_uses() -> None:
    said = planted(Kind.SECOND_USE, "dcounts").diagnosis
    assert said is not None
    assert "`counts` is used twice, in `counts_sum` and in `probs`" in said
    assert "the path through `counts_sum` is missing" in said


def test_missing_sum_names_the_axis() -> None:
    said = planted(Kind.NO_SUM, "dbnvar_inv").diagnosis
    assert said is not None
    assert "along axis 0 (n) in `bnraw = bndiff * bnvar_inv` (line 71)" in said
    assert "a broadcast in the forward is a sum in the backward" in said


def test_two_mistakes_on_one_line() -> None:
    """The line for dbndiff in the notes that the project began with."""
    forward = ROOT / "tests" / "support" / "programs" / "lecture.py"
    source = ast.get_source_segment(
        forward.read_text(),
        next(
            node
            for node in ast.parse(forward.read_text()).body
            if isinstance(node, ast.FunctionDef) and node.name == "seed_notes"
        ),
    )
    assert source is not None
    text = (
        HEADER
        + source.replace("def seed_notes", "def forward")
        + """


def backward(bndiff, bnvar_inv, bngain, bnraw, dhpreact):
    dbnraw = bngain * dhpreact
    dbngain = (bnraw * dhpreact).sum(0, keepdim=True)
    dbnbias = dhpreact.sum(0, keepdim=True)
    dbnvar_inv = (bndiff * dbnraw).sum(0, keepdim=True)
    dbndiff = dbnvar_inv * dhpreact
"""
    )
    row, _ = only(text)
    assert row.fix == "dbndiff = bnvar_inv * dbnraw"
    assert row.diagnosis is not None
    assert row.diagnosis.startswith("There are two mistakes: ")
    assert Kind.GRADIENT_FOR_VALUE.value in row.diagnosis
    assert Kind.SKIPPED_LINK.value in row.diagnosis


def test_value_that_was_not_asked_for() -> None:
    text = TANH.format(asked="", lines="    dz = dh").replace(
        "(h * dy)", "(torch.tanh(x @ W) * dy)"
    )
    row, found = only(text)
    assert found.kind is Kind.SKIPPED_LINK
    assert "`dz` needs `h` of the forward" in found.text
    assert "def backward(x, W, g, dy, h):" in apply(found.patches, text)
    assert row.fix == "dz = (1 - h**2) * dh"


def test_a_count_is_put_in_after_several_statements() -> None:
    """The lecture's form in place: `dlogits[range(n), y] -= 1` is no line to divide."""
    text = (
        HEADER.replace("Float", "Float, Int")
        + """def forward(logits: Float[Tensor, "n vocab"], y: Int[Tensor, "n"]):
    n = logits.shape[0]
    probs = logits.softmax(1)
    loss = -probs[range(n), y].log().mean()
    return loss


def backward(n, y, probs):
    dlogits = probs.clone()
    dlogits[range(n), y] -= 1
"""
    )
    row, found = only(text)
    assert (found.kind, row.fix) == (Kind.MISSING_COUNT, "dlogits /= n")


def test_a_position_is_no_count() -> None:
    text = (
        HEADER
        + """def forward(x: Float[Tensor, "t n d"], W: Float[Tensor, "d d"]):
    h0 = torch.tanh(x[0])
    h1 = torch.tanh(x[1] + h0 @ W)
    return h1


def backward(x, W, h0, h1, dh1):
    t = 0
    dz1 = (1 - h1**2) * dh1
    dW = h0.T @ dz1
    dh0 = dz1 @ W.T
    dx = torch.zeros_like(x)
    dx[t + 1] += dz1
    dx[t + 1] += (1 - h0**2) * dh0
"""
    )
    row, found = only(text)
    assert (found.kind, row.fix) == (Kind.WRONG_CONSTANT, "dx[t] += (1 - h0**2) * dh0")


def test_no_edit_mends_it() -> None:
    """Then the derived lines are offered, and it is said what is known of the value."""
    text = TANH.format(asked="h, ", lines="    dz = torch.zeros_like(x).cos().cumsum(1)")
    row, found = only(text)
    assert found.kind is Kind.UNKNOWN
    assert found.text.startswith("No single edit of this line mends it; derived, it reads as below")
    assert "It has shape (n, d), `z` has (n, k)." in found.text
    assert row.fix == "dz = (1 - h**2) * dh"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dz = (1 - h**2) * dh * h.shape[0] ** 3 * 1.7", "times what it should be"),
        ("dz = (1 - h**2) * dh * g.exp().sin().sum() * g.cosh().cos()", "Along axis 0 (n)"),
        ("dz = ((1 - h**2) * dh).clamp(max=0.1).clamp(min=-0.1)", "It is right but for"),
        ("dz = nothing(h, dh)", "The line raises NameError"),
    ],
)
def test_clues(line: str, said: str) -> None:
    """What is said where the search has found nothing."""
    with recorded(runs=0.0) as diagnoses:
        check(TANH.format(asked="h, ", lines=f"    {line}"))
    assert diagnoses["dz"].kind is Kind.UNKNOWN
    assert said in diagnoses["dz"].text


def test_search_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no time left no edit is tried, and derive's lines are still told."""
    text = TANH.format(asked="h, ", lines="    dz = (1 - h) * dh")
    tried = set()
    fits = Case.fits

    def noted(case: Case, statements: Sequence[ast.stmt], draw: int) -> bool:
        found = fits(case, statements, draw)
        tried.add("; ".join(map(ast.unparse, statements)))
        return found

    monkeypatch.setattr(Case, "fits", noted)
    with recorded(runs=0.0) as diagnoses:
        check(text)
    assert tried == {"dz = (1 - h ** 2) * dh"}
    assert diagnoses["dz"].kind is Kind.UNKNOWN
    assert diagnoses["dz"].fix == "dz = (1 - h**2) * dh"


def test_patches_keep_comments_and_indentation(tmp_path: Path) -> None:
    text = TANH.format(
        asked="h, ", lines="    if True:\n        pass\n    dz=(1-h)*dh   # the bend"
    )
    row, found = only(text)
    assert row.fix == "dz=(1-h**2)*dh"
    assert "    dz=(1-h**2)*dh  # the bend\n" in apply(found.patches, text)


@pytest.mark.parametrize(
    ("old", "part", "new", "wanted"),
    [
        ("d = a*b + c", "a*b", "-(a*b)", "d = -(a*b) + c"),
        ("d = (a*b)", "a*b", "(a*b).sum(0)", "d = (a*b).sum(0)"),
        ("d = a / b / c", "b", "b + c", "d = a / (b + c) / c"),
        ("d = f(a,b)**2", "a", "a.T", "d = f(a.T,b)**2"),
        ("d = -a**2 @ b", "b", "b - 1", "d = -a**2 @ (b - 1)"),
    ],
)
def test_edits_are_written_in_the_author_s_style(
    old: str, part: str, new: str, wanted: str
) -> None:
    statement = ast.parse(old).body[0]
    place = next(p for p in places(statement) if ast.get_source_segment(old, p.node) == part)
    edited = replaced(statement, place, ast.parse(new, mode="eval").body)
    written = Style(old, [statement]).statement(edited, statement)
    assert ast.dump(ast.parse(written)) == ast.dump(ast.parse(wanted))
    assert written.replace(" ", "") == wanted.replace(" ", "")


def test_a_local_before_the_first_line_does_not_hide_a_missing_path() -> None:
    """Derive's lines for `x` hold one part twice; the search among them came to no end."""
    text = (
        HEADER
        + """def forward(x: Float[Tensor, "n d"], slope: Float[Tensor, "d"]):
    zero = torch.zeros_like(x)
    return torch.maximum(x, zero) + slope * torch.minimum(x, zero)


def backward(x, slope, zero, dout):
    dlow = slope * dout
    dslope = (torch.minimum(x, zero) * dout).sum(0)
    dx = torch.where(x == zero, 0.5 * dlow, (x < zero) * dlow)
"""
    )
    row, found = only(text)
    assert found.kind == Kind.SECOND_USE
    assert row.fix == "dx += torch.where(x == zero, 0.5 * dout, dout).masked_fill(zero > x, 0)"
    assert "`x` is used twice in" in found.text


ROWS = (
    HEADER
    + """def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d"], b: Float[Tensor, "d"]):
    s = x * w
    y = s * x + b
    return y


def backward(x, w, s, dy):
    ds = x * dy

    dx = s * dy
    dx += w * ds
    dw = (
        x * ds
    ).sum(0)
    db = dy.sum(0)
"""
)


@pytest.mark.parametrize(
    ("old", "new", "name", "place"),
    [
        ("    dx += w * ds\n", "", "dx", "after line 15"),
        ("    ds = x * dy\n\n", "\n\n", "ds", "after line 15"),
        ("    db = dy.sum(0)\n", "", "db", "after line 12"),
        ("    dx += w", "    dx = w", "dx", "in place of line 16"),
        ("        x * ds", "        x * dy", "dw", "in place of lines 17-19"),
        (
            "    ds = x * dy\n",
            "    ds = x; db = dy.sum(0)\n",
            "ds",
            "in place of `ds = x` in line 13",
        ),
        ("    dx += w * ds\n", "    dx += w * ds\n    dx += dy\n", "dx", "take out line 17"),
    ],
)
def test_a_mend_says_where_it_stands(old: str, new: str, name: str, place: str) -> None:
    report = check(ROWS.replace(old, new), complete=True)
    (row,) = report.wrong
    assert (row.name, row.place) == (name, place)
    told = " ".join(str(report).split())
    assert (f"{place}, write: " if row.fix else place) in told
    assert place in report._repr_html_()
    assert {line["name"]: line["place"] for line in report.to_dict()["lines"]}[name] == place


def test_several_lines_of_a_mend_stand_where_the_persons_stood() -> None:
    lines = "    dx = s.exp()\n    dx += w.log() * ds.cos()\n"
    report = check(ROWS.replace("    dx = s * dy\n    dx += w * ds\n", lines))
    (row,) = report.wrong
    assert row.fix is not None and len(row.fix.splitlines()) == 2
    assert row.place == "in place of lines 15 and 16"


PENALTY = (
    HEADER
    + """def forward(x: Float[Tensor, "n d"], W: Float[Tensor, "d k"], lam: float = 0.1):
    z = x @ W
    data = (z * z).sum()
    penalty = lam * (W * W).sum()
    loss = data + penalty
    return loss


def backward(x, W, z, lam):
    dz = 2 * z
    dx = dz @ W.T
{lines}
"""
)


@pytest.mark.parametrize(
    ("lines", "fix", "place"),
    [
        ("    dW = x.T @ dz\n    dW += lam * W", "dW += 2 * lam * W", "in place of line 18"),
        ("    dW = lam * W\n    dW += x.T @ dz", "dW = 2 * lam * W", "in place of line 17"),
        ("    dW = x.T @ dz + W * lam", "dW = x.T @ dz + 2 * W * lam", "in place of line 17"),
        (
            "    own = W * lam\n    dW = own + x.T @ dz",
            "own = 2 * W * lam",
            "in place of line 17",
        ),
    ],
)
def test_a_term_that_is_there_is_not_added_again(lines: str, fix: str, place: str) -> None:
    row, found = only(PENALTY.format(lines=lines))
    assert (found.kind, row.fix, row.place) == (Kind.MISSING_FACTOR, fix, place)


def test_a_term_of_a_cube_counts_three_times() -> None:
    text = (
        HEADER
        + """def forward(x: Float[Tensor, "n d"]):
    y = x * x * x
    return y


def backward(x, dy):
    dx = x * x * dy
"""
    )
    row, found = only(text)
    assert (found.kind, row.fix) == (Kind.MISSING_FACTOR, "dx = 3 * x * x * dy")
