"""Typical wrong attempts in the lecture's own variables: the kind is named, and no solution."""

from __future__ import annotations

import pytest

from gradninja.check.diagnosis import Kind
from gradninja.learn.compare import Comparison, Desk
from gradninja.learn.session import Session, cells
from lecture import FORWARD, LINES, SETUP, exercise, run

# Two attempts of each of the kinds that people make; `max ties` needs a loss that takes the max.
ATTEMPTS: list[tuple[Kind, str, str]] = [
    (Kind.NO_SUM, "b2", "db2 = dlogits"),
    (Kind.NO_SUM, "counts_sum_inv", "dcounts_sum_inv = counts * dprobs"),
    (Kind.SECOND_USE, "counts", "dcounts = counts_sum_inv * dprobs"),
    (Kind.SECOND_USE, "hprebn", "dhprebn = dbndiff.clone()"),
    (Kind.ASSIGN_FOR_ADD, "bndiff",
     "dbndiff = bnvar_inv * dbnraw\ndbndiff = (2*bndiff) * dbndiff2"),
    (Kind.ASSIGN_FOR_ADD, "counts",
     "dcounts = counts_sum_inv * dprobs\ndcounts = torch.ones_like(counts) * dcounts_sum"),
    (Kind.LOST_KEEPDIM, "counts_sum_inv", "dcounts_sum_inv = (counts * dprobs).sum(1)"),
    (Kind.LOST_KEEPDIM, "bnbias", "dbnbias = dhpreact.sum(0)"),
    (Kind.MISSING_CLONE, "bndiff", LINES["bndiff"]),
    (Kind.MISSING_CLONE, "bndiff", LINES["bndiff"] + "\n"),
    (Kind.LOST_REPEATS, "C", "dC = torch.zeros_like(C)\ndC[Xb] += demb"),
    (Kind.LOST_REPEATS, "C", "dC = torch.zeros_like(C)\ndC[Xb] = demb"),
    (Kind.BESSEL, "bndiff2", "dbndiff2 = (1.0/n)*torch.ones_like(bndiff2) * dbnvar"),
    (Kind.BESSEL, "bndiff2", "dbndiff2 = dbnvar.expand_as(bndiff2) / n"),
    (Kind.MISSING_COUNT, "logprobs",
     "dlogprobs = torch.zeros_like(logprobs)\ndlogprobs[range(n), Yb] = -1.0"),
    (Kind.MISSING_COUNT, "hprebn", "dhprebn = dbndiff.clone()\n"
     "dhprebn += dbnmeani"),
    (Kind.WRONG_AXIS, "bnbias", "dbnbias = dhpreact.sum(1, keepdim=True)"),
    (Kind.WRONG_AXIS, "counts_sum_inv", "dcounts_sum_inv = (counts * dprobs).sum(0, keepdim=True)"),
    (Kind.GRADIENT_FOR_VALUE, "bndiff",
     "dbndiff = dbnvar_inv * dbnraw\ndbndiff += (2*bndiff) * dbndiff2"),
    (Kind.GRADIENT_FOR_VALUE, "counts", "dcounts = dcounts_sum_inv * dprobs\n"
     "dcounts += torch.ones_like(counts) * dcounts_sum"),
    (Kind.VALUE_FOR_GRADIENT, "W2", "dW2 = h.T @ logits"),
    (Kind.VALUE_FOR_GRADIENT, "bnraw", "dbnraw = bngain * hpreact"),
    (Kind.SKIPPED_LINK, "bnvar_inv", "dbnvar_inv = (bndiff * dhpreact).sum(0, keepdim=True)"),
    (Kind.SKIPPED_LINK, "W1", "dW1 = embcat.T @ dhpreact"),
    (Kind.TRANSPOSED, "W2", "dW2 = (dlogits.T @ h)"),
    (Kind.TRANSPOSED, "h", "dh = (W2 @ dlogits.T)"),
    (Kind.SIGN, "counts_sum", "dcounts_sum = counts_sum**-2 * dcounts_sum_inv"),
    (Kind.SIGN, "logprobs",
     "dlogprobs = torch.zeros_like(logprobs)\ndlogprobs[range(n), Yb] = 1.0/n"),
    (Kind.TIES, "logits", "dlogits = (logits == logit_maxes).float() * dlogit_maxes"),
    (Kind.TIES, "logits", "dlogits = torch.where(logits == logit_maxes, dlogit_maxes, 0.0)"),
    (Kind.MISSING_FACTOR, "hpreact", "dhpreact = 1.0 - h**2"),
    (Kind.MISSING_FACTOR, "counts_sum", "dcounts_sum = -counts_sum**-2"),
]  # fmt: skip

# What spoils `dbndiff` after it was written right.
LATER = {
    8: "dhprebn = dbndiff\ndhprebn += 1.0/n * (torch.ones_like(hprebn) * dbnmeani)",
    9: "dhprebn = dbndiff.view(n, -1)\ndhprebn += 1.0/n * dbnmeani",
}
PEAK = """
logits = torch.cat([h, h], 1)
logit_maxes = logits.max(1, keepdim=True).values
loss = logit_maxes.mean()
"""


def cells_of(number: int) -> list[str]:
    kind, name, attempt = ATTEMPTS[number]
    if kind == Kind.TIES:
        head, _, _ = FORWARD.partition("logits = h @ W2")
        return ["", SETUP, head + PEAK, "dlogit_maxes = torch.ones_like(logit_maxes) / n", attempt]
    if number in LATER:
        return exercise(hprebn=LATER[number])
    return exercise(**{name: attempt})


@pytest.fixture(scope="module")
def compared() -> list[Comparison]:
    desk, found = Desk(), []
    for number, (_, name, _) in enumerate(ATTEMPTS):
        texts = cells_of(number)
        # An attempt may be of another shape, or raise, and what is below it with it.
        stop = len(texts) if number in LATER else texts.index(ATTEMPTS[number][2]) + 1
        names = run(texts[:stop])
        here = Session(tuple(cells(texts[:stop])), names, True)
        found.append(desk.compare(here, name, names[f"d{name}"], names[name]))
    return found


def test_the_kind_is_named(compared: list[Comparison]) -> None:
    named = [
        found.kind == kind.value for found, (kind, _, _) in zip(compared, ATTEMPTS, strict=True)
    ]
    assert all(not found.ok for found in compared)
    missed = [(f, k.value) for f, (k, _, _) in zip(compared, ATTEMPTS, strict=True) if f.kind != k]
    assert sum(named) >= len(ATTEMPTS) - 2, missed


def test_no_solution_is_told_before_it_is_asked_for(compared: list[Comparison]) -> None:
    for found, (_, name, attempt) in zip(compared, ATTEMPTS, strict=True):
        said = found.text()
        assert found.mend and found.mend not in said
        for line in LINES[name].splitlines():
            solution = line.partition("= ")[2]
            assert solution in attempt or solution not in said
        assert found.mend in found.text(mend=True)


SLOPES = {
    "hpreact": "dhpreact = 1 - h**2",
    "bndiff2": "dbndiff2 = (1.0/(n-1)) * torch.ones_like(bndiff2)",
    "bnvar": "dbnvar = -0.5*(bnvar + 1e-5)**-1.5",
    "bngain": "dbngain = bnraw.sum(0, keepdim=True)",
}


@pytest.mark.parametrize("name", SLOPES)
def test_a_slope_alone_lacks_a_factor_whatever_else_is_written(name: str) -> None:
    """As in a notebook where all 26 stand in one cell: the gradients after it are there, too."""
    texts = exercise(**{name: SLOPES[name]})
    names = run(texts)
    here = Session(tuple(cells(texts)), names, True)
    found = Desk().compare(here, name, names[f"d{name}"], names[name])
    assert (found.verdict, found.kind) == ("wrong", "missing factor")
    assert found.mend is not None and found.mend.count(" = ") == 1


def test_of_a_gradient_that_is_zero_in_truth_no_sign_is_wrong() -> None:
    turned = exercise(logit_maxes="dlogit_maxes = dnorm_logits.sum(1, keepdim=True)")
    names = run(turned)
    here = Session(tuple(cells(turned)), names, True)
    found = Desk().compare(here, "logit_maxes", names["dlogit_maxes"], names["logit_maxes"])
    assert found.ok and "is zero" in found.text()
    assert not Desk().compare(here, "logit_maxes", names["dprobs"], names["logit_maxes"]).ok
