"""Mends that are found by playing a Function: loops, kernels, what the forward makes, order."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradninja.check import check
from gradninja.check.given import run
from gradninja.check.tell.types import Verdict

SCAN = """
import torch


class Scan(torch.autograd.Function):
    @classmethod
    def forward(cls, ctx, a, x, h0):
        h, hs = h0, []
        for t in range(x.shape[1]):
            h = a[:, t] * h + x[:, t]
            hs.append(h)
        out = torch.stack(hs, dim=1)
        ctx.save_for_backward(a, out, h0)
        return out

    @classmethod
    def backward(cls, ctx, grad_out):
        a, out, h0 = ctx.saved_tensors
        grad_a, grad_x = torch.empty_like(a), torch.empty_like(out)
        carry = torch.zeros_like(h0)
        for t in range(out.shape[1] - 1, -1, -1):
            g = grad_out[:, t] + carry
            grad_a[:, t] = g * (out[:, t - 1] if t > 0 else h0)
            grad_x[:, t] = g
            carry = a[:, t] * g
        return grad_a, grad_x, carry


def inputs():
    return {"a": torch.rand(2, 5, 3), "x": torch.randn(2, 5, 3), "h0": torch.randn(2, 3)}
"""
CHUNKS = '''
import torch
import torch.nn.functional as F


class LinearCrossEntropy(torch.autograd.Function):
    """The gradients are made in the forward, chunk by chunk."""

    @staticmethod
    def forward(ctx, h, weight, target, chunk=2):
        grad_h, grad_weight = torch.zeros_like(h), torch.zeros_like(weight)
        loss = h.new_zeros(())
        for start in range(0, h.shape[0], chunk):
            x, t = h[start : start + chunk], target[start : start + chunk]
            logp = F.log_softmax(x @ weight.T, dim=-1)
            loss = loss + F.nll_loss(logp, t, reduction="sum")
            g = logp.exp()
            g[torch.arange(x.shape[0]), t] -= 1
            grad_h[start : start + chunk] = g @ weight
            grad_weight += g.T @ x
        ctx.save_for_backward(grad_h, grad_weight)
        return loss

    @staticmethod
    def backward(ctx, dy):
        grad_h, grad_weight = ctx.saved_tensors
        return grad_h * dy, grad_weight * dy, None, None


def inputs():
    target = torch.tensor([0, 4, 2, 2, 1])
    return {"h": torch.randn(5, 4), "weight": torch.randn(5, 4), "target": target}
'''
GATED = """
import torch


def launch(a, b, dc):
    s = torch.sigmoid(a)
    db = dc * a * s
    da = dc * b * s * (1 + a * (1 - s))
    return da, db


class Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return torch.from_numpy((a * torch.sigmoid(a) * b).detach().numpy())

    @staticmethod
    def backward(ctx, dc):
        a, b = ctx.saved_tensors
        da, db = launch(a, b, dc)
        return da, db


def inputs():
    return {"a": torch.randn(3, 4), "b": torch.randn(3, 4)}
"""
PLANTED = {
    "a factor in a loop": (SCAN, "carry = a[:, t] * g", "carry = g"),
    "an element of a loop": (SCAN, "grad_x[:, t] = g", "grad_x[:, t] = 2 * g"),
    "= for += in the forward": (CHUNKS, "grad_weight += g.T @ x", "grad_weight = g.T @ x"),
    "a mistake of a launcher": (GATED, "db = dc * a * s", "db = dc * a"),
    "swapped gradients": (GATED, "return da, db\n\n\nclass", "return db, da\n\n\nclass"),
}


@pytest.mark.parametrize("right", [SCAN, CHUNKS, GATED], ids=["scan", "chunks", "gated"])
def test_what_is_right_passes(right: str, tmp_path: Path) -> None:
    file = tmp_path / "right.py"
    file.write_text(right)
    assert check(file).ok, str(check(file))


@pytest.mark.parametrize("name", PLANTED)
def test_a_mistake_is_named_and_mended(name: str, tmp_path: Path) -> None:
    right, old, new = PLANTED[name]
    file = tmp_path / "wrong.py"
    file.write_text(right.replace(old, new))
    (row,) = check(file).wrong
    line = 1 + right[: right.index(old)].count("\n")
    assert row.line == line, str(row)
    file.write_text(right.replace(old, new).replace(new.partition("\n")[0], row.fix or ""))
    assert check(file).ok, row.fix
    assert (row.kind == "swapped") == (name == "swapped gradients")


UNPACKED = """
import torch


class Glu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        a, b = x.chunk(2, dim=1)
        s = b.sigmoid()
        ctx.save_for_backward(a, s)
        return a * s

    @staticmethod
    def backward(ctx, grad):
        s, a = ctx.saved_tensors
        return torch.cat([grad * s, grad * a * s * (1 - s)], dim=1)


def inputs():
    return {"x": torch.randn(3, 6, 4)}
"""


def test_what_has_another_name_in_the_text_is_not_written_by_ours(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(UNPACKED)
    (row,) = check(file).wrong
    assert row.fix == "a, s = ctx.saved_tensors", row.fix


STEPS = """
import torch


class Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return {forward}

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return {backward}, None


def inputs():
    return {{"x": torch.linspace(-2.0, 1.7, 12), "scale": 0.5}}
"""
RIGHT = {
    "a reversal": ("x.view_as(x)", "-ctx.scale * g", Verdict.MEANT),
    "a clip": ("x.clone()", "g.clamp(-ctx.scale, ctx.scale)", Verdict.MEANT),
    "rounding": ("torch.round(x / scale) * scale", "g", Verdict.CLOSE),
    "a sign in a window": ("torch.sign(x)", "g * (x.abs() <= 1)", Verdict.CLOSE),
    "a threshold": ("(x > 0).float()", "g.clone()", Verdict.CLOSE),
    "another step": ("torch.nn.functional.one_hot(x.argmax(), 12) * 1.0", "g", Verdict.MEANT),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_differs_on_purpose_is_no_mistake(name: str, tmp_path: Path) -> None:
    forward, backward, verdict = RIGHT[name]
    file = tmp_path / "step.py"
    file.write_text(STEPS.format(forward=forward, backward=backward))
    report = check(file)
    (row,) = report.lines
    right = {Verdict.MEANT} if verdict == Verdict.MEANT else {Verdict.EXACT, Verdict.CLOSE}
    assert row.verdict in right, str(report)
    assert bool(report.not_looked_at) == (verdict == Verdict.MEANT), report.not_looked_at


def test_a_mistake_in_an_estimator_is_one(tmp_path: Path) -> None:
    file = tmp_path / "step.py"
    file.write_text(STEPS.format(forward="torch.round(x / scale) * scale", backward="g * x"))
    (row,) = check(file).wrong
    assert row.fix == "return g, None"


def test_what_is_written_into_is_no_identity(tmp_path: Path) -> None:
    file = tmp_path / "step.py"
    text = STEPS.format(forward="x", backward="g").replace("ctx.scale =", "x.mul_(2); ctx.scale =")
    file.write_text(text.replace("ctx.save_for", "ctx.mark_dirty(x); ctx.save_for"))
    assert not check(file).ok


ROOT = """
import torch


class Root(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a):
        w, V = torch.linalg.eigh(a)
        ctx.save_for_backward(w, V)
        return V @ torch.diag(w.sqrt()) @ V.T

    @staticmethod
    def backward(ctx, g):
        w, V = ctx.saved_tensors
        s = w.sqrt()
        inner = V.T @ g @ V
        inner = inner / (s[:, None] + s[None, :])
        return V @ inner @ V.T


def inputs():
    m = torch.randn(4, 4)
    return {"a": m @ m.T + 4 * torch.eye(4)}
"""


def test_of_a_symmetric_matrix_the_symmetric_part_counts(tmp_path: Path) -> None:
    file = tmp_path / "root.py"
    file.write_text(ROOT)
    report = check(file)
    assert report.ok, str(report)
    file.write_text(ROOT.replace("V.T @ g @ V", "V @ g @ V.T"))
    (row,) = check(file).wrong
    assert (row.line, row.fix) == (16, "inner = V.T @ g @ V")


def test_the_search_for_a_mend_is_no_call_of_the_persons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a second check in one process, or a longer search, ends early and says less."""
    monkeypatch.setattr(run, "MOST_CALLS", 20_000)
    right, old, new = PLANTED["a factor in a loop"]
    file = tmp_path / "wrong.py"
    file.write_text(right.replace(old, new))
    (row,) = check(file).wrong
    assert row.fix == old
