"""Wrong backwards: one mistake is one red line, the right one, and what was written is told."""

from __future__ import annotations

import textwrap
from importlib.resources import files

import pytest
import torch

from gradninja.check import Report, Verdict, check

MODEL = (files("gradninja.models") / "mlp_batchnorm.py").read_text(encoding="utf-8")
IMPORTS = """
import torch, torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
"""
PRODUCT = (
    IMPORTS
    + """
def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d"], b: Float[Tensor, "1 d"]):
    y = x * w
    z = y + b
    return z
"""
)


def changed(old: str, new: str) -> Report:
    assert MODEL.count(old) >= 1
    return check(MODEL.replace(old, new, 1), complete=True)


def accused(report: Report) -> list[tuple[str, Verdict]]:
    return [(line.name, line.verdict) for line in report.wrong]


@pytest.mark.parametrize(
    ("old", "new", "name", "verdict"),
    [
        ("dbndiff = bnvar_inv * dbnraw", "dbndiff = bnvar * dbnraw", "dbndiff", "wrong"),
        ("dcounts += dcounts_sum", "dcounts -= dcounts_sum", "dcounts", "wrong"),
        ("1 / (n - correction) * dbnvar", "1 / n * dbnvar", "dbndiff2", "wrong"),
        ("(bnvar + 1e-5) ** -1.5", "bnvar ** -1.5", "dbnvar", "wrong"),
        ("dbnbias = dhpreact.sum(0, keepdim=True)", "dbnbias = dhpreact.sum(0)", "dbnbias",
         "wrong shape"),
        ("dbnbias = dhpreact.sum(0, keepdim=True)", "dbnbias = dhpreact", "dbnbias", "wrong shape"),
        ("dh = dlogits @ W2.T", "dh = dlogits @ W2", "dh", "error"),
        ("db2 = dlogits.sum(0)", "ddb2 = dlogits.sum(0)", "db2", "missing"),
        ("dC.index_put_((Xb,), demb, accumulate=True)", "dC[Xb] += demb", "dC", "wrong"),
        ("dlogprobs[range(n), Yb] = -1 / n", "dlogprobs[range(n), Yb] = 1 / n", "dlogprobs",
         "wrong"),
        ("dhpreact = (1 - h**2) * dh", "dhpreact = None", "dhpreact", "wrong"),
        ("db1 = dhprebn.sum(0)", "db1 = h.sum(0)", "db1", "wrong"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_red_line(old: str, new: str, name: str, verdict: str) -> None:
    report = changed(old, new)
    assert accused(report) == [(name, Verdict(verdict))], str(report)
    assert not report.ok
    (line,) = report.wrong
    if verdict != "missing":
        text = MODEL.replace(old, new, 1).splitlines()
        assert line.line is not None
        assert new in text[line.line - 1]
        assert text[line.line - 1].strip().startswith(line.source)
    assert line.diagnosis


def test_a_wrong_line_spoils_what_comes_after_it_as_written() -> None:
    report = changed("dbndiff = bnvar_inv * dbnraw", "dbndiff = bnvar * dbnraw")
    spoilt = {line.name for line in report.lines if line.as_written}
    assert spoilt == {"dbndiff", "dbnmeani", "dhprebn", "dembcat", "dW1", "demb", "dC"}
    above = next(line for line in report.lines if line.name == "dbngain")
    assert above.ok
    assert not above.as_written


def test_shapes_are_told_and_not_compared_by_broadcasting() -> None:
    line = changed("dbnbias = dhpreact.sum(0, keepdim=True)", "dbnbias = dhpreact.sum(0)").wrong[0]
    assert line.shape is not None
    assert line.expected_shape == (1, *line.shape)
    assert line.max_abs is None


def test_a_line_that_raises_is_told_and_the_walk_goes_on() -> None:
    report = changed("dh = dlogits @ W2.T", "dh = dlogits @ W3.T")
    assert accused(report) == [("dh", Verdict.ERROR)]
    (line,) = report.wrong
    assert line.diagnosis is not None
    assert "W3" in line.diagnosis
    after = next(line for line in report.lines if line.name == "dC")
    assert after.ok
    assert after.as_written.startswith("not reached")


def test_a_local_of_the_persons_own_that_raises_is_told_once() -> None:
    report = check(PRODUCT, "delta = dz * nothing\ndx = delta * w\ndw = (delta * x).sum(0)\n"
                   "db = dz.sum(0, keepdim=True)\n")  # fmt: skip
    assert accused(report) == [("delta", Verdict.ERROR)], str(report)
    assert report.wrong[0].line == 1
    assert len([note for note in report.notes if "not judged" in note]) == 2


def test_zero_gradients_are_vacuous_and_not_accused() -> None:
    report = changed("db1 = dhprebn.sum(0)", "db1 = torch.zeros_like(b1)").lines
    # b1 is not asked for: the one thing to mend; the zeros themselves agree.
    vacuous = {line.name for line in report if line.verdict == Verdict.VACUOUS}
    assert vacuous == {"db1", "dlogit_maxes"}
    assert [line.name for line in report if not line.ok] == ["b1"]


def test_a_missing_parameter_is_told_once() -> None:
    report = changed("C, W1, W2, bngain, Xb, Yb, correction,\n    n, emb", "C, W1, W2, bngain, Xb, "
                     "Yb, correction,\n    emb")  # fmt: skip
    assert accused(report) == [("n", Verdict.ERROR)]
    assert report.wrong[0].fix == "add `n` to the parameters of `backward`"


def test_bessel_is_never_rounding() -> None:
    text = (
        IMPORTS
        + """
def forward(x):
    n = x.shape[0]
    mean = x.mean()
    var = ((x - mean)**2).sum() / (n - 1)
    return var
"""
    )
    values = {"x": torch.randn(10_000, generator=torch.Generator().manual_seed(0))}
    right = check(text, "dx = dvar * 2 * (x - mean) / (n - 1)\n", values)
    wrong = check(text, "dx = dvar * 2 * (x - mean) / n\n", values)
    assert right.ok, str(right)
    assert accused(wrong) == [("dx", Verdict.WRONG)], str(wrong)
    assert wrong.wrong[0].max_rel == pytest.approx(1e-4, rel=1e-2)


def test_only_one_small_element_wrong() -> None:
    text = (
        IMPORTS
        + """
def forward(x: Float[Tensor, "n"]):
    y = x.exp()
    return y
"""
    )
    values = {"x": torch.linspace(-30.0, 5.0, 8)}
    assert check(text, "dx = dy * y\n", values).ok
    report = check(text, "dx = dy * y\ndx[0] *= 1.5\n", values)
    assert accused(report) == [("dx", Verdict.WRONG)], str(report)


def test_ties_that_only_inputs_has() -> None:
    text = (
        IMPORTS
        + """
def forward(x: Float[Tensor, "n d"]):
    m = x.amax(1)
    return m
"""
    )
    lines = "dx = (x == m[:, None]) * dm[:, None]\n"
    ties = {"x": torch.tensor([[1.0, 2.0, 2.0], [3.0, 1.0, 0.0]])}
    assert check(text, lines).ok
    report = check(text, lines, ties)
    assert accused(report) == [("dx", Verdict.WRONG)]
    assert any("inputs()" in note for note in report.wrong[0].notes)


def test_overflow_in_float32_is_told() -> None:
    text = (
        IMPORTS
        + """
def forward(x: Float[Tensor, "n"]):
    y = torch.nn.functional.softplus(x)
    return y
"""
    )
    values = {"x": torch.tensor([1.0, 100.0])}
    good = check(text, "dx = dy / (1 + (-x).exp())\n", values)
    bad = check(text, "dx = dy * x.exp() / (1 + x.exp())\n", values)
    assert good.ok, str(good)
    assert accused(bad) == [("dx", Verdict.WRONG)]
    assert bad.wrong[0].kind == "overflow in float32"


@pytest.mark.parametrize(
    ("lines", "maker"),
    [
        ("dy = dz\ndb = dz.sum(0, keepdim=True)\ndx = dy\ndw = (dy * x).sum(0)\ndx *= w\n", 3),
        ("dy = dz.clone()\ndb = dy.sum(0, True)\nv = dy.T\ndw = (dy * x).sum(0)\n"
         "v *= 2\ndx = dz * w\n", 3),
        ("db = dz.sum(0, keepdim=True)\ndw = (dz * x).sum(0)\ndx = dz[:]\ndx *= w\n", 3),
    ],
)  # fmt: skip
def test_the_line_that_made_an_alias_is_named(lines: str, maker: int) -> None:
    report = check(PRODUCT, lines)
    assert [line.line for line in report.wrong] == [maker], str(report)
    (line,) = report.wrong
    assert line.kind == "missing .clone()"
    assert line.fix is None or line.fix.endswith(".clone()")


def test_the_alias_of_the_lecture() -> None:
    """Of lines, each gradient is looked at."""
    body = MODEL.partition('"""Every gradient, one variable at a time')[2].partition("\n")[2]
    lines = textwrap.dedent(body.partition("    return")[0])
    assert check(MODEL, lines, complete=True).ok
    report = check(MODEL, lines.replace("dhprebn = dbndiff.clone()", "dhprebn = dbndiff"))
    assert accused(report) == [("dhprebn", Verdict.WRONG)]
    (line,) = report.wrong
    assert line.source == "dhprebn = dbndiff"
    assert line.fix == "dhprebn = dbndiff.clone()"
    assert next(line for line in report.lines if line.name == "dbndiff").ok


def test_an_alias_that_nobody_sees_is_no_mistake() -> None:
    """Of a function, what it returns."""
    report = changed("dhprebn = dbndiff.clone()", "dhprebn = dbndiff")
    assert report.ok
    assert "`dhprebn` and `dbndiff` share memory" in str(report)
    text = (
        IMPORTS
        + """
def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "n d"]):
    a = x * 2
    b = a * w
    c = a + b
    return c

def backward(dc, a, w):
    db = dc
    da = db
    {}
    return da * 2, dw
"""
    )
    read_before, read_after = "dw = db * a", "da += db * w"
    assert check(text.format(f"{read_before}\n    {read_after}"), complete=True).ok
    report = check(text.format(f"{read_after}\n    {read_before}"), complete=True)
    assert [line.kind for line in report.wrong] == ["missing .clone()"]


def test_a_spoilt_value_of_the_forward_is_told_where_it_is_read_later() -> None:
    text = (
        IMPORTS
        + """
def forward(logits: Float[Tensor, "n d"], w: Float[Tensor, "n d"]):
    probs = torch.softmax(logits, 1)
    y = probs * w
    return y
"""
    )
    rest = "dprobs = dy * w\ndlogits = probs * (dprobs - (dprobs * probs).sum(1, keepdim=True))\n"
    harm = "t = probs\nt *= 2\ndw = dy * probs / 2\n" + rest
    report = check(text, harm)
    assert [line.line for line in report.wrong][:1] == [1], str(report)
    harmless = "dw = dy * probs\n" + rest + "t = probs\nt *= 2\n"
    assert check(text, harmless).ok


def test_what_was_spoilt_and_is_bound_again_before_it_is_read_did_no_harm() -> None:
    """Not all comes out right, so that an alias would be told where it did."""
    lines = "g = dz\nh = y\nh += 1\ny = w * g\ndx = y\ndw = g.sum(0) * 2\ndb = dz.sum(0, True)\n"
    report = check(PRODUCT, lines)
    assert [(line.name, line.kind) for line in report.wrong] == [("dw", "unknown")], str(report)


def test_read_before_its_last_contribution() -> None:
    report = changed(
        "    dhprebn += 1 / n * dbnmeani\n    # hprebn = embcat @ W1 + b1\n"
        "    dembcat = dhprebn @ W1.T\n",
        "    dembcat = dhprebn @ W1.T\n    dhprebn += 1 / n * dbnmeani\n",
    )
    assert accused(report) == [("dembcat", Verdict.WRONG)]
    assert report.wrong[0].kind == "read too early"


def test_known_contributions_are_told() -> None:
    report = check(MODEL)
    notes = {line.name: line.notes for line in report.lines}
    assert any("bnraw = bndiff * bnvar_inv" in note for note in notes["dbndiff"])
    assert any("norm_logits = logits - logit_maxes" in note for note in notes["dlogits"])


def test_the_statement_that_adds_the_wrong_part_is_named() -> None:
    first = changed("dcounts = counts_sum_inv * dprobs", "dcounts = counts_sum * dprobs")
    second = changed("dbndiff += 2 * bndiff * dbndiff2", "dbndiff += 3 * bndiff * dbndiff2")
    assert first.wrong[0].source == "dcounts = counts_sum * dprobs"
    assert second.wrong[0].source == "dbndiff += 3 * bndiff * dbndiff2"


def test_a_name_bound_again_wants_the_inputs_own_gradient() -> None:
    text = (
        IMPORTS
        + """
def forward(x: Float[Tensor, "n d"]):
    x = x * 3
    y = x * x
    return y
"""
    )
    assert check(text, "dx = 2 * x * dy\ndx = dx * 3\n").ok
    assert accused(check(text, "dx = 2 * x * dy\n")) == [("dx", Verdict.WRONG)]


def test_float32_and_float64_are_both_run() -> None:
    """A line that is wrong in one precision only is wrong."""
    for dtype in ("float32", "float64"):
        lines = f"dx = dz * w * (1.1 if dz.dtype == torch.{dtype} else 1.0)\n"
        # `torch.float32` reads as float64 in the float64 run, so the name is taken from outside.
        lines = lines.replace(f"torch.{dtype}", f"getattr(torch, '{dtype}')")
        rest = "dw = (dz * x).sum(0)\ndb = dz.sum(0, keepdim=True)\n"
        report = check(PRODUCT, lines + rest)
        assert accused(report) == [("dx", Verdict.WRONG)], (dtype, str(report))


def test_non_contiguous_cotangents_are_tried() -> None:
    rest = "dw = (dz * x).sum(0)\ndb = dz.sum(0, keepdim=True)\n"
    report = check(PRODUCT, "dx = dz.view(-1).view(x.shape) * w\n" + rest)
    assert accused(report) == [("dx", Verdict.ERROR)]
    assert any("not contiguous" in note for note in report.wrong[0].notes)
    assert check(PRODUCT, "dx = dz.reshape(-1).view(x.shape) * w\n" + rest).ok


def test_a_line_inside_of_a_loop_is_named() -> None:
    lines = """
dw = torch.zeros_like(w)
for i in range(x.shape[0]):
    row = dz[i]
    dw += x[i]
dx = dz * w
db = dz.sum(0, keepdim=True)
"""
    report = check(PRODUCT, lines)
    assert accused(report) == [("dw", Verdict.WRONG)]
    right = lines.replace("dw += x[i]", "dw += row * x[i]")
    assert check(PRODUCT, right).ok
    (line,) = report.wrong
    assert line.line in (3, 5)
    assert line.source == lines.splitlines()[line.line - 1].strip() or line.line == 3
