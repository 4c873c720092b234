"""Float32 loses digits: that is no mistake. A mistake that is as small as rounding is one."""

from __future__ import annotations

import pytest

from gradninja.check import Report, Verdict, check

HEADER = "import torch\nfrom jaxtyping import Float\nfrom torch import Tensor\n"
SQUARES = (
    HEADER
    + """
def inputs():
    c = torch.tensor(14_181_959.0, dtype=torch.float64)
    return {"x": c + torch.arange(1, 6, dtype=torch.float64), "c": c}

def forward(x: Float[Tensor, "n"], c: Float[Tensor, ""]):
    y = (x - c) ** 2
    return y

def backward(x, c, dy):
    dx = DX
    dc = -dx.sum()
"""
)
VARIANCE = (
    HEADER
    + """
def inputs():
    generator = torch.Generator().manual_seed(0)
    return {"x": torch.randn(2000, 3, generator=generator, dtype=torch.float64)}

def forward(x: Float[Tensor, "n d"]):
    n = x.shape[0]
    mean = x.sum(0) / n
    diff = x - mean
    var = (diff**2).sum(0) / (n - 1)
    return var

def backward(x, n, diff, dvar):
    ddiff = 2 * diff * dvar / COUNT
    dx = ddiff - ddiff.mean(0)
"""
)


def judged(text: str, name: str) -> tuple[Report, Verdict]:
    report = check(text)
    return report, next(line.verdict for line in report.lines if line.name == name)


def test_digits_that_cancel_in_float32_are_noted_and_not_accused() -> None:
    """x**2 - c**2 for (x - c) * (x + c): float32 has too few bits for x**2."""
    report, verdict = judged(SQUARES.replace("DX", "2 * dy * (x**2 - c**2) / (x + c)"), "dx")
    assert verdict is Verdict.CLOSE
    assert report.ok
    assert "`dx` is right, but loses digits in float32: it is off by" in str(report)


def test_what_keeps_its_digits_is_not_noted() -> None:
    report, verdict = judged(SQUARES.replace("DX", "2 * dy * (x - c)"), "dx")
    assert verdict in (Verdict.EXACT, Verdict.CLOSE)
    assert "loses digits" not in str(report)


def test_what_overflows_in_float32_alone_is_wrong() -> None:
    dx = "2 * dy * (x - c) * (x**3 * x**3) / (x**3 * x**3)"
    report, verdict = judged(SQUARES.replace("DX", dx), "dx")
    assert verdict is Verdict.WRONG
    assert "leaves float32's range" in str(report)


@pytest.mark.parametrize(("count", "verdict"), [("(n - 1)", Verdict.CLOSE), ("n", Verdict.WRONG)])
def test_n_for_n_less_one_does_not_pass_for_rounding(count: str, verdict: Verdict) -> None:
    """With 2,000 rows the two are 5 parts in 10,000 apart, less than float32 may lose."""
    report, found = judged(VARIANCE.replace("COUNT", count), "ddiff")
    assert found in ({Verdict.EXACT, Verdict.CLOSE} if verdict is Verdict.CLOSE else {verdict})
    assert report.ok == (verdict is Verdict.CLOSE)


def test_a_forward_of_numbers_alone_has_draws() -> None:
    text = HEADER + "def forward(a: Float[Tensor, ''], b: Float[Tensor, '']):\n    y = a * b\n"
    report = check(f"{text}    return y\n\ndef backward(a, b):\n    da = b\n    db = b\n")
    assert [line.name for line in report.wrong] == ["db"]
