"""Functions that come with no values: those that are guessed accuse nothing that is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from functions_trial import judged, planted, texts, without_inputs
from gradninja.check import CheckError, Report, check

REFUSED = {"ctc"}  # its labels, and how many of them, hang together


def on_guesses(text: str, folder: Path) -> Report:
    return judged(without_inputs(text), folder)


@pytest.mark.parametrize("name", sorted(set(texts()) - REFUSED))
def test_what_is_right_is_right_on_guessed_values(name: str, tmp_path: Path) -> None:
    report = on_guesses(next(planted(name)).right, tmp_path)
    assert report.ok, str(report)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_no_guess_runs_on_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckError, match="no values to call"):
        on_guesses(next(planted(name)).right, tmp_path)


@pytest.mark.parametrize(
    "name", ["rope", "layer_norm_rows", "embedding_bag", "tversky", "fake_quant_channel"]
)
def test_no_values_are_guessed_that_hide_a_mistake(name: str, tmp_path: Path) -> None:
    """Though those are kept on which the backward is right, where there are some."""
    for mistake in planted(name):
        assert not on_guesses(mistake.text, tmp_path).ok, mistake.line


POWER = """
import torch


class Power(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, p):
        ctx.save_for_backward(x)
        ctx.p = p
        return x.abs() ** p

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x.abs() ** (ctx.p - 1) * x.sign() * grad, None
"""


def test_a_number_is_not_guessed_for_being_the_one_that_is_right(tmp_path: Path) -> None:
    (tmp_path / "power.py").write_text(POWER)
    report = check(tmp_path / "power.py")
    assert not report.ok and report.wrong[0].line == 15


def test_what_is_left_out_of_the_gradient_on_purpose_is_said(tmp_path: Path) -> None:
    report = on_guesses(next(planted("dice")).right, tmp_path)
    assert any("`eps` is not right, and taken as left out" in note for note in report.notes)


FLASH = """
import torch


class Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v):
        s = q @ k.T
        lse = torch.logsumexp(s, -1, keepdim=True)
        o = torch.exp(s - lse) @ v
        ctx.save_for_backward(q, k, v, o, lse)
        return o

    @staticmethod
    def backward(ctx, do):
        q, k, v, o, lse = ctx.saved_tensors
        dq = torch.zeros_like(q)
        dk, dv = [], []
        for kj, vj in zip(k, v):
            p = torch.exp(q @ kj - lse[:, 0])
            ds = p * (do @ vj - (do * o).sum(-1))
            dq = dq + ds[:, None] * kj
            dk.append(ds @ q)
            dv.append(p @ do)
        return dq, torch.stack(dk), torch.stack(dv)
"""


def test_what_rounding_leaves_of_a_gradient_of_zero_is_no_mistake(tmp_path: Path) -> None:
    """Saturated, the true gradient is zero, and what is computed anew is rounded another way."""
    (tmp_path / "flash.py").write_text(FLASH)
    report = check(tmp_path / "flash.py")
    assert report.ok and not any("huge" in one for one in report.not_looked_at), str(report)
