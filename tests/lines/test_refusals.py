"""Each refusal of the reader and of derive has a case: what is said, and what the caret is under.

The last test holds this of the source itself: a refusal that no case reaches is told.
"""

from __future__ import annotations

import ast
import textwrap
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from refused_lines import REFUSED

import gradninja as gn
from gradninja import lines
from gradninja.errors import GradninjaError
from gradninja.rules import BOOK

LINES = Path(lines.__file__).parent
DERIVE = LINES.parent / "derive"


def refusal(run: Callable[[], Any]) -> GradninjaError:
    with pytest.raises(GradninjaError) as caught:
        run()
    return caught.value


def derived(body: str) -> Callable[[], Any]:
    text = f"import math\nimport torch\n\n\ndef forward(x, n=2):\n{textwrap.indent(body, '    ')}\n"
    return lambda: gn.derive(text, {"x": torch.ones(3, 4).double()})


@pytest.mark.parametrize(("body", "said", "under"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused_with_what_is_wrong_and_a_caret_under_it(body: str, said: str, under: str) -> None:
    error = refusal(derived(body))
    assert said in error.message
    assert error.spot is not None and error.spot.text.strip()
    if under:
        assert error.spot.text[error.spot.column : error.spot.end_column] == under


ANNOTATED = "def forward(x: Float[Tensor, {axes!r}]):\n    return x * 2\n"
SQUARE = "def forward(x, n=2):\n    return x * x * n\n"
SPREAD = "def forward(x):\n    return x.var(0, correction=0)\n"
ADDED = "def forward(x):\n    return x + torch.ones(3)\n"
X = {"x": torch.ones(3).double()}
MODULES = """import torch
from torch import nn
class Asserts(nn.Module):
    def forward(self, x):
        assert len(x) == 32
        return x * 2
class Overwrites(nn.Module):
    def forward(self, x):
        h = x.exp()
        out = h * h
        h.add_(1)
        return out * h
class Draws(nn.Module):
    def __init__(self):
        super().__init__()
        self.rng = torch.Generator()
    def forward(self, x):
        return x * torch.rand(4, generator=self.rng)
class Hooked(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_forward_hook(lambda module, given, out: out * 2)
    def forward(self, x):
        return x * 2
def inputs():
    return torch.ones(4)
"""


def lines_of(text: str, inputs: Any = None, **more: Any) -> Callable[[Path], Any]:
    return lambda _: gn.derive(text, inputs, **more)


def axes(text: str) -> Callable[[Path], Any]:
    return lines_of(ANNOTATED.format(axes=text))


def file(text: str | bytes, name: str = "") -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        path = folder / "f.py"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return gn.derive(f"{path}{name}")

    return run


def called(text: str, inputs: Any, *call: Any) -> Callable[[Path], Any]:
    return lambda _: gn.derive(text, inputs)(*call)


OUTSIDE = torch.ones(3)


def takes_from_outside(x):
    return x * OUTSIDE


def doubled(x):
    return x * 2


class Doubles(torch.nn.Module):
    def forward(self, x):
        return doubled(x)


def ruled_wrong(_: Path) -> Any:
    gn.rule(doubled, x="3 * g", why="wrong on purpose")
    try:
        return gn.derive(Doubles(), torch.ones(4))
    finally:
        BOOK.remove("doubled")


def without_text() -> Callable[..., Any]:
    scope: dict[str, Any] = {}
    exec(SQUARE, scope)
    found: Callable[..., Any] = scope["forward"]
    return found


# What is done, and what is said of it.
TOLD: list[tuple[Callable[[Path], Any], str]] = [
    (lines_of(SQUARE, X, wrt=["w"]), "`forward` has no input `w`"),
    (lines_of(SQUARE, X, wrt=["n"]), "`n` is no float tensor, so it has no gradient"),
    (lines_of(SQUARE, X, style="exakt"), "there is no style 'exakt'"),
    (lines_of(SQUARE), "the shape of `x` is not known"),
    (lines_of(SQUARE, {**X, "w": 2}), "`forward` has no input `w`"),
    (lines_of(SQUARE, {"n": 2}), "no value for `x` is given"),
    (lines_of(SQUARE, (1, 2, 3)), "3 inputs are given and the forward takes 2"),
    (lines_of(SQUARE, {"x": {}}), "`x` is given a dict"),
    (lines_of(SQUARE, {"x": {"mode": "train"}}), "`x` is given a dict, which this line cannot"),
    (lines_of(SQUARE, {"x": {"w": X["x"]}}), "`x` is given a dict, which this line cannot take"),
    (lines_of(SQUARE, {"x": [X["x"]]}), "`x` is given a list, which this line cannot take"),
    (lines_of(SQUARE, {"x": [1.0, 2.0]}), "`x` is given a list"),
    (
        lines_of("def forward(x, c):\n    return x * c['w']\n", {**X, "c": {"b": 2}}),
        "KeyError: 'w'",
    ),
    (file(MODULES, ":Asserts"), "Asserts itself does not run: AssertionError"),
    (
        file(MODULES, ":Overwrites"),
        "autograd refuses Overwrites itself: one of the variables needed",
    ),
    (file(MODULES, ":Draws"), "the lines that were read do not give what Draws gives"),
    (file(MODULES, ":Hooked"), "do not give what Hooked gives"),
    (ruled_wrong, "the gradient derived for `x` is not autograd's on Doubles itself"),
    (lines_of(SQUARE, {"x": torch.ones(2).to_sparse()}), "`x` is a sparse tensor"),
    (lambda _: gn.derive(takes_from_outside, X), "`OUTSIDE` is a tensor from outside"),
    (lines_of(f"def forward(x):\n    return {'-' * 3000}x\n", X), "<text> is nested too deeply"),
    (lines_of(f"def forward(x):\n    return {'-' * 20000}x\n", X), "<text> is nested too deeply"),
    (lines_of(f"def forward(x):\n    return x{'+ x' * 20000}\n", X), "is nested too deeply"),
    (lines_of(SQUARE, {"x": 2}), "the return value is no tensor"),
    (lines_of(SQUARE, {"x": torch.ones(2).long()}), "`forward` has no float input"),
    (lines_of("def forward(x, w):\n    return w * 1\n", {**X, "w": 2 * X["x"]}, wrt="x"), "depend"),
    (lines_of("def forward(x, y=[a]):\n    return x\n", X), "the default of `y` is not a plain"),
    (lines_of("def forward(x, *y):\n    return x\n", X), "`y` stands for any number of inputs"),
    (lines_of("def forward(x):\n    return " + "(" * 2500 + "x\n", X), "this is not Python"),
    (lines_of("def forward(x):\n    return x +\n", X), "this is not Python: invalid syntax"),
    (lines_of("def forward(x):\n    return x \0\n", X), "source code string cannot contain null"),
    (lines_of(f"def forward(x):\n    return {'-' * 450}x\n", X), "nested too deep"),
    (lines_of("x = 1\n", X), "<text> has no function"),
    (lines_of("def f(x): ...\ndef g(x): ...\n", X), "<text> has no function named forward"),
    (axes("n ..."), "an axis `...` of no fixed number"),
    (axes("n 20000"), "the axis `20000` of `x` has size 20000"),
    (axes("n -1"), "the axis `-1` of `x` has size -1"),
    (axes("n f(2)"), "only names, numbers, + - * //"),
    (axes("n " + "1+" * 200 + "1"), "it is too long"),
    (axes("n +"), "the axis `+` of `x` is not understood"),
    (lambda _: gn.derive("missing.py"), "cannot read missing.py"),
    (lambda _: gn.derive(X), "expected, and not `dict`"),
    (file(b"\xff\xfe\x00\xd8"), "f.py"),
    (file("def inputs():\n    return 1 / 0\n" + SQUARE), "`inputs()` does not run: ZeroDivision"),
    (file("def inputs():\n    return 2\n" + SQUARE), "`inputs()` returns a int"),
    (file(SQUARE, ":g"), "has no function named g"),
    (lambda _: gn.derive(len), "is not a plain function"),
    (lambda _: gn.derive(torch.nn.Linear), "Linear is a class"),
    (lambda _: gn.derive(lambda x: x * 2, X), "a lambda has no lines to read"),
    (lambda _: gn.derive(without_text(), X), "the source text of forward cannot be found"),
    (
        lambda _: gn.derive(SPREAD, X, style="exact")({"x": torch.ones(0)}),
        "these inputs do not fit the derived backward: division by zero",
    ),
    (
        lines_of(
            "import torch.nn.functional as F\ndef forward(x):\n    return F.pixel_shuffle(x, 2)\n",
            {"x": torch.ones(2, 0, 3, 4)},
        ),
        "there is no rule for `pixel_shuffle` where `x` has no elements",
    ),
    (called(SQUARE, X, {}), "no value for `x` is given"),
    (called(SQUARE, X, {**X, "w": 1}), "the forward has no input `w`"),
    (called(SQUARE, X, X), "the output `out` is no 0-dim tensor"),
    (called(SQUARE, X, X, torch.ones(2)), "the cotangent has shape [(2,)]"),
    (
        called(ADDED, X, {"x": torch.ones(1)}, torch.ones(3)),
        "`x` has shape (1,) and had (3,) when the forward was read: it broadcasts otherwise",
    ),
    (
        called(
            "def forward(x):\n    return torch.linalg.pinv(x)\n",
            {"x": torch.eye(4, 3).double()},
            {"x": torch.eye(3, 4)},
            torch.ones(4, 3),
        ),
        "at these sizes the lines do not give the gradient of `x`",
    ),
    (called("def forward(x):\n    return x[2] * 2\n", X, {"x": torch.ones(2)}), "does not run on"),
    (
        called("def forward(x):\n    return sum(a for a in x)\n", X, {"x": torch.ones(4)}),
        "`len(x)` is 4 and was 3",
    ),
    (
        called(
            "def forward(x, y):\n    return (y * x[2:]).sum()\n",
            {**X, "y": torch.ones(2).double()},
            {"x": torch.ones(4), "y": torch.ones(2)},
        ),
        "`x[2:]` has shape (2,) and had (1,)",
    ),
    (
        called(
            "def forward(x, y):\n    return (x * y).sum()\n",
            {**X, "y": X["x"]},
            {"x": torch.ones(1), "y": torch.ones(3)},
        ),
        "broadcasts otherwise",
    ),
]


@pytest.mark.parametrize(("run", "said"), TOLD, ids=[said for _, said in TOLD])
def test_told_what_is_wrong_with_the_call(
    run: Callable[[Path], Any], said: str, tmp_path: Path
) -> None:
    assert said in refusal(lambda: run(tmp_path)).message


# Held elsewhere: by cases that need a live object, a row of the book or a fault of ours.
ELSEWHERE = {"live.py", "finding.py", "objects.py", "writing.py", "making.py", "numbers.py"}
ELSEWHERE |= {"containers.py", "original.py", "said.py", "members.py", "parts.py", "copying.py"}
OF_A_ROW = (
    "text has no place in a forward",  # raised where the text is used
    "this asks for a value; the lines would hold",  # of compiled lines
    "PyTorch has no gradient for",
    "there is no rule for `{name}`",
    "takes no `self`",
    "the source text of a lambda",
    "the backward of `{program.name}` does not run",
    "is not autograd's, so it is not given",
    "has no elements, and there the gradient derived for",
    "there is no rule for `{site.rule.name}` where",
    "has a nan on the values",
    "the forward has no lines",
    "no rule covers this call",
    "does not cover this call",
    "DeriveError(str(refusal)",
)


def refusals_in(folder: Path) -> Iterator[tuple[Path, int, int]]:
    """(file, first line, last line) of each call that refuses, but for those held elsewhere."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            call = node.exc if isinstance(node, ast.Raise) else node
            if isinstance(call, ast.Call):
                name = ast.unparse(call.func).rpartition(".")[2]
                held = any(words in ast.unparse(call) for words in OF_A_ROW)
                if name in {"fail", "ReadError", "DeriveError", "DoesNotRun"} and not held:
                    yield path, call.lineno, call.end_lineno or call.lineno


def test_each_refusal_has_a_case(tmp_path: Path) -> None:
    runs = [derived(body) for body, _, _ in REFUSED] + [lambda r=r: r(tmp_path) for r, _ in TOLD]
    reached = set()
    for run in runs:
        for frame in traceback.extract_tb(refusal(run).__traceback__):
            reached.add((Path(frame.filename), frame.lineno))
    missing = [
        f"{path.relative_to(LINES.parent)}:{first}"
        for folder in (LINES, DERIVE)
        for path, first, last in refusals_in(folder)
        if path.name not in ELSEWHERE
        and not any((path, line) in reached for line in range(first, last + 1))
    ]
    assert missing == []
