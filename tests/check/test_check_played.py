"""Mends that are found by playing a Function: loops, kernels, what the forward makes, order."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradninja.check import check
from gradninja.check.given import execution
from gradninja.check.tell.findings import Verdict

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
    "another step": ("torch.nn.functional.one_hot(x.argmax(), 12) * 1.0", "g", Verdict.CLOSE),
    "a slope of its own": ("(x > 0).float()", "g / (1 + x.abs()) ** 2", Verdict.MEANT),
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
    told = any("is what is meant" in said for said in report.not_looked_at)
    assert told == (verdict == Verdict.MEANT), report.not_looked_at


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
    monkeypatch.setattr(execution, "MOST_CALLS", 20_000)
    right, old, new = PLANTED["a factor in a loop"]
    file = tmp_path / "wrong.py"
    file.write_text(right.replace(old, new))
    (row,) = check(file).wrong
    assert row.fix == old


FORM = """
import torch


class {name}(torch.autograd.Function):
    @staticmethod
    def forward(ctx, {takes}):
{forward}

    @staticmethod
    def backward(ctx, grad):
{backward}


def inputs():
    return {inputs}
"""


def _form(name: str, takes: str, forward: str, backward: str, inputs: str) -> str:
    def laid(text: str) -> str:
        return "\n".join(f"        {line.strip()}" for line in text.strip().splitlines())

    return FORM.format(
        name=name, takes=takes, forward=laid(forward), backward=laid(backward), inputs=inputs
    )


RUNNING = _form(
    "LogCumSumExp", "x, dim",
    """out = torch.log(torch.cumsum(torch.exp(x), dim=dim))
    ctx.save_for_backward(x, out)
    ctx.dim = dim
    return out""",
    """x, out = ctx.saved_tensors
    t = grad * torch.exp(-out)
    total = torch.flip(torch.cumsum(torch.flip(t, [ctx.dim]), dim=ctx.dim), [ctx.dim])
    return torch.exp(x) * total, None""",
    '{"x": torch.randn(3, 6), "dim": 1}',
)  # fmt: skip
CAUSAL = _form(
    "Shifted", "x, k",
    """padded = torch.nn.functional.pad(x, (k, 0))
    ctx.save_for_backward(padded)
    ctx.k = k
    return padded * padded""",
    """(padded,) = ctx.saved_tensors
    length = padded.shape[1] - ctx.k
    back = 2 * padded * grad
    return back[:, ctx.k :], None""",
    '{"x": torch.randn(3, 5), "k": 2}',
)  # fmt: skip
SEGMENTS = _form(
    "SegmentSoftmax", "scores, index, n",
    """e = torch.exp(scores)
    denom = torch.zeros(n, dtype=scores.dtype).index_add(0, index, e)
    alpha = e / denom[index]
    ctx.save_for_backward(alpha, index)
    ctx.n = n
    return alpha""",
    """alpha, index = ctx.saved_tensors
    dot = torch.zeros(ctx.n, dtype=alpha.dtype).index_add(0, index, grad * alpha)
    return alpha * (grad - dot[index]), None, None""",
    '{"scores": torch.randn(6), "index": torch.tensor([0, 0, 1, 2, 2, 1]), "n": 3}',
)  # fmt: skip
SORTED = _form(
    "SortedPower", "x, w",
    """ordered, order = torch.sort(x)
    ctx.save_for_backward(ordered, order, w)
    return (ordered**2 * w).sum()""",
    """ordered, order, w = ctx.saved_tensors
    there = 2 * ordered * w * grad
    back = torch.zeros_like(there)
    back[order] = there
    return back, ordered**2 * grad""",
    '{"x": torch.randn(7), "w": torch.rand(7)}',
)  # fmt: skip
GATE = _form(
    "Elu", "x, alpha",
    """neg = x < 0
    y = torch.where(neg, alpha * (torch.exp(x) - 1), x)
    ctx.save_for_backward(y)
    ctx.alpha = alpha
    return y""",
    """(y,) = ctx.saved_tensors
    back = grad.clone()
    neg = y < 0
    back[neg] *= y[neg] + ctx.alpha
    return back, None""",
    '{"x": torch.randn(4, 5), "alpha": 0.7}',
)  # fmt: skip
PICKED = {
    "a running sum": (RUNNING, "torch.flip(torch.cumsum(torch.flip(t, [ctx.dim]), dim=ctx.dim), "
                               "[ctx.dim])", "torch.cumsum(t, dim=ctx.dim)"),
    "the other end": (CAUSAL, "back[:, ctx.k :]", "back[:, :length]"),
    "a value for nothing": (SEGMENTS, "dot[index]", "(grad * alpha).sum()"),
    "picked for put": (SORTED, "back[order] = there", "back = there[order]"),
    "a term of a number": (GATE, "y[neg] + ctx.alpha", "y[neg]"),
    "written for scaled": (GATE, "back[neg] *= y", "back[neg] = y"),
}  # fmt: skip


@pytest.mark.parametrize("name", PICKED)
def test_what_is_picked_and_put_is_mended(name: str, tmp_path: Path) -> None:
    right, old, new = PICKED[name]
    file = tmp_path / "wrong.py"
    wrong = right.replace(old, new)
    assert wrong != right
    file.write_text(wrong)
    (row,) = check(file).wrong
    assert row.line == 1 + right[: right.index(old)].count("\n"), str(row)
    lines = wrong.splitlines()
    lines[row.line - 1] = f"        {row.fix}"
    file.write_text("\n".join(lines) + "\n")
    assert check(file).ok, row.fix
