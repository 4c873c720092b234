"""The person's own locals, which no truth is known of: a mistake in one is told once, there."""

from __future__ import annotations

from gradninja.check import LineReport, Report, Verdict, check
from gradninja.check.diagnosis import apply
from mutation_trial import recorded

TEXT = """
import torch
from jaxtyping import Float
from torch import Tensor


def forward(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], w: Float[Tensor, "d k"]):
    y = (a - 2 * b) ** 3 @ w
    return y


def backward(a, b, w, dy):
    cube = dy @ w.T
    slope = 3 * (a - 2 * b) ** 2 * cube
    da = slope
    db = -2 * slope
    dw = ((a - 2 * b) ** 3).T @ dy
    return da, db, dw
"""
SCALAR = """
import torch
from jaxtyping import Float
from torch import Tensor


def forward(x: Float[Tensor, ""], z: Float[Tensor, ""]):
    return x * z + x


def backward(x, z, out):
    dout = torch.ones_like(out)
    dx = z * dout
    dx += dout
    dz = x * dout
    return dx, dz
"""


def judged(text: str) -> tuple[Report, LineReport]:
    """The report and its one wrong line, whose mend makes all right."""
    with recorded() as diagnoses:
        report = check(text)
    (row,) = report.wrong
    assert check(apply(next(iter(diagnoses.values())).patches, text)).ok
    return report, row


def test_what_is_right_is_right() -> None:
    assert check(TEXT).ok
    assert check(SCALAR).ok


def test_a_local_that_two_gradients_read_is_told_once() -> None:
    report, row = judged(TEXT.replace("3 * (a - 2 * b) ** 2", "3 * (a + 2 * b) ** 2"))
    assert (row.line, row.kind) == (14, "sign")
    assert row.fix == "slope = 3 * (a - 2 * b) ** 2 * cube"
    other = next(line for line in report.lines if line.name == "db")
    assert other.verdict is Verdict.CLOSE
    assert other.notes == ("right once line 14 is mended",)
    assert other.as_written


def test_an_edit_of_a_local_keeps_what_is_right() -> None:
    """`slope` times -1 would make `db` right, and `da` wrong."""
    _, row = judged(TEXT.replace("db = -2 * slope", "db = 2 * slope"))
    assert (row.name, row.line, row.fix) == ("db", 16, "db = -2 * slope")


def test_two_mistakes_that_share_a_local_are_both_told() -> None:
    wrong = TEXT.replace("db = -2 * slope", "db = 2 * slope").replace(
        "da = slope", "da = 5 * slope"
    )
    assert [(row.name, row.line) for row in check(wrong).wrong] == [("da", 15), ("db", 16)]


def test_a_local_that_raises_is_mended() -> None:
    """Its gradients cannot be had; what makes them right is the mend."""
    _, row = judged(TEXT.replace("slope = 3", "slope += 3"))
    assert (row.name, row.verdict, row.line) == ("slope", Verdict.ERROR, 14)
    assert row.fix == "slope = 3 * (a - 2 * b) ** 2 * cube"
    _, row = judged(TEXT.replace("cube = dy @ w.T", "cube = dy @ w"))
    assert (row.name, row.line, row.fix) == ("cube", 13, "cube = dy @ w.T")


def test_the_gradient_of_the_output_is_given_and_not_mended() -> None:
    """Twice `dout` would make `dx` right where its second path is missing and z is 1."""
    _, row = judged(SCALAR.replace("    dx += dout\n", ""))
    assert (row.name, row.line, row.kind) == ("dx", 13, "second use forgotten")
    _, row = judged(SCALAR.replace("dz = x * dout", "dz = 2 * x * dout"))
    assert (row.name, row.line, row.fix) == ("dz", 15, "dz = x * dout")


def test_the_only_gradient_s_line_may_be_lost() -> None:
    text = SCALAR.replace("    dx = z * dout\n    dx += dout\n    dz = x * dout\n", "")
    assert [row.kind for row in check(text, complete=True).wrong] == [
        "missing line",
        "missing line",
    ]


def test_a_lost_line_is_put_back_below_what_it_reads() -> None:
    text = """
import torch
from jaxtyping import Float
from torch import Tensor


def forward(x: Float[Tensor, "n d"]):
    s = x.exp()
    t = s.sum(1, keepdim=True)
    u = t.log()
    y = s * u
    return y


def backward(s, t, u, dy):
    ds = u * dy
    du = (s * dy).sum(1, keepdim=True)
    LOST
    ds += dt
    dx = s * ds
    return dx
"""
    assert check(text.replace("LOST", "dt = du / t")).ok
    _, row = judged(text.replace("    LOST\n", ""))
    assert row.fix == "dt = du / t"


def test_a_local_that_no_line_binds_is_one_red_row() -> None:
    made = "    cube = dy @ w.T\n"
    _, row = judged(TEXT.replace(made, ""))
    assert (row.name, row.kind, row.fix) == ("slope", "missing line", made.strip())
    made = "    slope = 3 * (a - 2 * b) ** 2 * cube\n"
    report, row = judged(TEXT.replace(made, ""))
    assert (row.name, row.line, row.kind) == ("slope", 14, "missing line")
    assert "read on line 14, 15" in (row.diagnosis or "")
    assert "`db` is not judged: `slope` is not defined" in report.notes


def test_a_local_s_line_that_no_edit_mends_is_told_there() -> None:
    """By what derive has in its place, so that the gradients' own lines stay as they are."""
    _, row = judged(TEXT.replace("3 * (a - 2 * b) ** 2 * cube", "3 * (a + 2 - b).exp()"))
    assert (row.name, row.line, row.kind) == ("da", 14, "unknown")
    assert row.fix == "slope = 3 * (a - 2 * b) ** 2 * (dy @ w.T)"


def test_a_local_that_holds_what_derive_does_is_not_the_mistake() -> None:
    """What `slope` lacks could be put into `cube` as well."""
    _, row = judged(TEXT.replace("slope = 3 * (a - 2 * b) ** 2 * cube", "slope = cube"))
    assert row.line == 14
    assert row.fix == "slope = 3 * (a - 2 * b) ** 2 * (dy @ w.T)"


def test_an_edit_that_raises_halfway_spoils_no_other() -> None:
    """`low.scatter_` is tried on the way, writes some elements and raises: no mend was found."""
    text = """
import torch
from jaxtyping import Float
from torch import Tensor


def forward(x: Float[Tensor, "n d"]):
    low = x.min(dim=0, keepdim=True)[0]
    high, at = torch.max(x, 0, keepdim=True)
    y = (x - low) / (high - low)
    return y


def backward(x, low, high, at, y, dy):
    dhigh = (-y / (high - low) * dy).sum(0, keepdim=True)
    dlow = ((y - 1) / (high - low) * dy).sum(0, keepdim=True)
    dx = dy / (high - low)
    dx.scatter_(0, at, dhigh)
    dx.scatter_add_(0, x.min(dim=0, keepdim=True).indices, dlow)
"""
    _, row = judged(text)
    assert row.fix == "dx.scatter_add_(0, at, dhigh)"
