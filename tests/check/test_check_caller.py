"""What is judged is what a caller gets: returned values, every call, on a torch left as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gradninja.check import CheckError, Report, check

HEAD = """import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
"""
LINEAR = (
    HEAD
    + """
def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d h"], b: Float[Tensor, "h"]):
    y = x @ w + b
    return y


def backward(dy, x, w):
    dx = dy @ w.T
    dw = x.T @ dy
    db = dy.sum(0)
"""
)
PRODUCT = (
    HEAD
    + """
{above}
def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "n d"]):
    y = x * w
    return y


def backward(x, w, dy):
{inside}
    dx = {factor} * dy * w
    dw = dy * x
    return dx, dw


{below}
"""
)


def file(folder: Path, text: str, complete: bool = False) -> Report:
    path = folder / "given.py"
    path.write_text(text, encoding="utf-8")
    return check(path, complete=complete)


def product(above: str = "", inside: str = "    pass", factor: str = "1", below: str = "") -> str:
    return PRODUCT.format(above=above, inside=inside, factor=factor, below=below)


@pytest.mark.parametrize(
    "returned",
    [
        "dx, dw, db",
        "[dx, dw, db]",
        "dw, db",
        "[db, dw]",
        "dw",
        "dy, dx, dw, db",
        '{"x": dx, "w": dw, "b": db}',
        '{"dw": dw, "b_grad": db}',
        "dict(weight=dw, bias=db)",
        'dx, {"w": dw, "b": db}',
        "None",
    ],
)
def test_the_ways_in_which_people_return_are_right(tmp_path: Path, returned: str) -> None:
    report = file(tmp_path, LINEAR + f"    return {returned}\n")
    assert report.ok, str(report)


@pytest.mark.parametrize(
    ("returned", "said", "mend"),
    [
        ("db, dw, dx", "place 1 is the gradient of `b`, where that of `x`", "return dx, dw, db"),
        ("2 * dx, dw, db", "place 1 is not the gradient of `x`", "return dx, dw, db"),
        ("dx, None, db", "None is returned in place 2", "return dx, dw, db"),
        ("None, None, None", "None is returned, and no gradient", "return dx, dw, db"),
        ("dx.half(), dw, db", "a float32 tensor, is float16", "return dx, dw, db"),
        ('{"x": dx, "w": 2 * dw}', "`w` is not the gradient of `w`", None),
        ("dict(weight=2 * dw)", "the gradient of no input", None),
        ("dx.T, dw, db", "where the gradient of `x` of shape", "return dx, dw, db"),
    ],
)
def test_what_is_returned_is_judged(
    tmp_path: Path, returned: str, said: str, mend: str | None
) -> None:
    report = file(tmp_path, LINEAR + f"    return {returned}\n")
    assert [row.name for row in report.wrong] == ["return"], str(report)
    assert said in str(report.wrong[0].diagnosis)
    assert report.wrong[0].fix == mend


DOUBLE = """
def double(f):
    def g(x, w, dy):
        a, b = f(x, w, dy)
        return 2 * a, b
    return g
"""
OTHER = """
def other(x, w, dy):
    dx = 3 * dy * w
    dw = dy * x
backward = other
"""


def counted(when: str) -> str:
    """A backward that is wrong when it was called so often."""
    factor = f"(1 + (len(calls) {when}))"
    return product(above="calls = []", inside="    calls.append(1)", factor=factor)


AS_AN_OBJECT = """
class Doubled:
    def __init__(self, f):
        self.f = f
    def __call__(self, x, w, dy):
        dx, dw = self.f(x, w, dy)
        return 2 * dx, dw
"""
AGAIN = ": it gives another value when it is called again, or in another order"
DECORATED = ": its lines are right, but `backward` is decorated"


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        (counted("> 9"), AGAIN),
        (counted("< 9"), ""),
        (product(above=DOUBLE, below="backward = double(backward)"), DECORATED),
        (product(below=OTHER), ""),
        (product(above=DOUBLE).replace("def backward", "@double\ndef backward"), DECORATED),
        (product(above=AS_AN_OBJECT).replace("def backward", "@Doubled\ndef backward"), DECORATED),
        (product().replace("return dx", "return 2 * dx"), "of `x`: it is that times 2"),
    ],
    ids=["later", "first", "wrapped", "bound again", "decorated", "an object", "in its own text"],
)  # fmt: skip
def test_what_the_name_is_bound_to_is_called_and_often(
    tmp_path: Path, text: str, ends: str
) -> None:
    report = file(tmp_path, text)
    assert not report.ok
    assert str(report.wrong[0].diagnosis).endswith(ends)


def test_a_decorator_that_changes_nothing_is_right(tmp_path: Path) -> None:
    above = "import functools\ndef same(f):\n    @functools.wraps(f)\n    def g(*a, **k):\n"
    above += "        return f(*a, **k)\n    return g\n"
    text = product(above=above).replace("def backward", "@same\n@torch.no_grad()\ndef backward")
    report = file(tmp_path, text.replace("def forward", "@same\ndef forward"))
    assert report.ok, str(report)


def test_a_forward_that_is_not_its_lines_is_refused(tmp_path: Path) -> None:
    above = "def twice(f):\n    return lambda *a: 2 * f(*a)\n"
    with pytest.raises(CheckError, match="called as it is bound"):
        file(tmp_path, product(above=above).replace("def forward", "@twice\ndef forward"))


@pytest.mark.parametrize("where", ["above", "inside"])
@pytest.mark.parametrize(
    "patch",
    [
        "torch.autograd.grad = lambda *a, **k: None",
        "torch.Tensor.__sub__ = lambda a, b: torch.zeros_like(a)",
        "torch.Tensor.sub = lambda a, b: a",
        "torch.Tensor.max = lambda a: 0.0",
        "torch.equal = lambda a, b: True",
        "torch.nn.functional.relu = abs",
        "__import__('sys').modules['gradninja.check.reference.tolerance'].distance = print",
    ],
)
def test_a_patched_library_is_refused_and_put_back(tmp_path: Path, patch: str, where: str) -> None:
    before = torch.autograd.grad, torch.Tensor.sub, torch.equal
    text = product(**{where: ("    " if where == "inside" else "") + patch}, factor="2")  # type: ignore[arg-type]
    with pytest.raises(CheckError, match="the file replaces"):
        file(tmp_path, text)
    assert before == (torch.autograd.grad, torch.Tensor.sub, torch.equal)


LOSS = (
    HEAD
    + """
def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d"]):
    p = x @ w
    loss = (p**2).mean()
    return loss


def backward(x, w, p{asked}):
    dp = {given}2 * p / p.shape[0]
    dw = x.T @ dp
    dx = dp[:, None] * w
    return dx, dw
"""
)


@pytest.mark.parametrize(
    ("asked", "given", "right"),
    [
        ("", "", True),
        (", dloss", "dloss * ", True),
        (", dloss=1.0", "dloss * ", True),
        (", dloss", "", False),
        (", dloss=1.0", "", False),
    ],
)
def test_the_gradient_of_a_loss_is_drawn_where_it_is_taken(
    tmp_path: Path, asked: str, given: str, *, right: bool
) -> None:
    assert file(tmp_path, LOSS.format(asked=asked, given=given)).ok is right


def test_one_gradient_that_is_deleted_is_missing(tmp_path: Path) -> None:
    report = file(tmp_path, LINEAR + "    del dw\n")
    assert [(row.name, row.kind) for row in report.wrong] == [("dw", "deleted")]


STATISTICS = (
    HEAD
    + """
def forward(x, b, running_var, t):
    y = x * b * running_var * t
    return y


def backward(dy, x, b, running_var, t):
    dx = dy * b * running_var * t
    db = (dy * x * running_var * t).sum(0)


def inputs():
    t = torch.ones(2).requires_grad_(False)
    return {"x": torch.randn(4, 2), "b": torch.randn(2), "running_var": torch.rand(2), "t": t}
"""
)


def test_statistics_and_inputs_that_want_no_gradient_are_no_mistake(tmp_path: Path) -> None:
    report = file(tmp_path, STATISTICS)
    assert report.ok, str(report)
    assert {note.split()[0] for note in report.notes} == {"`running_var`", "`t`"}
    text = STATISTICS.replace(".requires_grad_(False)", "")
    assert not file(tmp_path, text, complete=True).ok


FUNCTION = """
class Alone(torch.autograd.Function):
    @staticmethod
    def forward(ctx, {takes}):
        {lines}

    @staticmethod
    def backward(ctx, {gets}):
        {back}


def inputs():
    return {inputs}
"""
FUNCTIONS = {
    "two outputs": ("x", "v, i = x.max(-1); ctx.i, ctx.x = i, x; ctx.mark_non_differentiable(i); "
                    "return v, i", "g, _",
                    "return torch.zeros_like(ctx.x).scatter_(-1, ctx.i[:, None], g[:, None])",
                    '{"x": torch.randn(4, 3)}'),
    "in place": ("x", "x[x < 0] *= 0.1; ctx.mark_dirty(x); ctx.save_for_backward(x); return x",
                 "g", "return torch.where(ctx.saved_tensors[0] < 0, g * 0.1, g)",
                 '{"x": torch.randn(4, 3)}'),
    "layouts": ("x, w, s", "ctx.save_for_backward(x, w); ctx.s = s; return x * w * s", "g",
                "x, w = ctx.saved_tensors; return g * w * ctx.s, g * x * ctx.s, None",
                '{"x": torch.randn(3, 4).T, "w": torch.randn(3).expand(4, 3), "s": 1.5}'),
    "arrays": ("x", "ctx.save_for_backward(x); return x * x", "g",
               "return 2 * ctx.saved_tensors[0] * g",
               '{"x": __import__("numpy").random.RandomState(0).randn(3, 4)}'),
    "none on purpose": ("p, t", "ctx.save_for_backward(p, t); return ((p - t) ** 2).sum()", "g",
                        "p, t = ctx.saved_tensors; return g * 2 * (p - t), None",
                        '{"p": torch.randn(4), "t": torch.randn(4)}'),
    "float32 inside": ("x", "ctx.y = torch.tanh(x.float()).type_as(x); return ctx.y", "g",
                       "return g * (1 - ctx.y**2)", '{"x": torch.randn(4, 3)}'),
    "bends in float32": ("x", "ctx.y = torch.relu(x.float()); return ctx.y", "g",
                         "return g * (ctx.y > 0)", '{"x": torch.linspace(-1, 1, 21) * 1e-2}'),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_alone_is_judged_right_and_wrong(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    takes, lines, gets, back, inputs = FUNCTIONS[name]
    form = HEAD + FUNCTION.format(takes=takes, lines=lines, gets=gets, back=back, inputs=inputs)
    report = file(tmp_path, form)
    assert report.ok, str(report)
    wrong = form.replace(f", {gets}):\n", f", {gets}):\n        g = 1.5 * g\n")
    report = file(tmp_path, wrong)
    assert report.wrong, str(report)
    assert all(row.verdict == "wrong" for row in report.wrong), str(report)


def test_a_function_that_forgets_what_it_is_given_is_wrong(tmp_path: Path) -> None:
    inside = '{"x": torch.randn(4)}'
    text = FUNCTION.format(takes="x", lines="ctx.x = x; return (x * x).sum()", gets="g",
                           back="return 2 * ctx.x", inputs=inside)  # fmt: skip
    assert not file(tmp_path, HEAD + text).ok


def test_a_function_whose_later_calls_are_wrong_is_wrong(tmp_path: Path) -> None:
    text = FUNCTION.format(takes="x", lines="ctx.x = x; return (x * x).sum()", gets="g",
                           back="n.append(1); return (2 + (len(n) > 5)) * ctx.x * g",
                           inputs='{"x": torch.randn(4)}')  # fmt: skip
    assert not file(tmp_path, HEAD + "n = []\n" + text).ok
