"""The parts of the views: formulas, sentences about shapes, and the graph."""

from __future__ import annotations

import ast
import math
import re
from itertools import combinations

import pytest
import torch
from test_explain import Page, answered, in_order

import gradninja as gn
from catalogue import collect
from gradninja.explain import Walkthrough
from gradninja.explain.drawing import GAP, layout
from gradninja.explain.latex import latex
from gradninja.explain.mathml import mathml
from gradninja.explain.names import variable
from gradninja.explain.seen_shapes import Shapes
from gradninja.explain.translate import Translator
from paths import ROOT

# Enough of the catalogue to meet every theme; each is derived anew, which takes the time.
SOME = collect()[::6]
SIZES = {3: "n", 4: "d", 5: "k"}


def axes(shape: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(SIZES.get(size, str(size)) for size in shape)


def seen(text: str) -> tuple[ast.stmt, Shapes]:
    """A line that was run: x, y (n, d), w (d, k), r (1, d), b (d), s (), i (n) of ints."""
    values = {
        "torch": torch,
        "F": torch.nn.functional,
        "math": math,
        "x": torch.rand(3, 4),
        "y": torch.rand(3, 4),
        "w": torch.rand(4, 5),
        "r": torch.rand(1, 4),
        "b": torch.rand(4),
        "s": torch.rand(()),
        "i": torch.zeros(3, dtype=torch.int64),
        "n": 3,
        "dx": torch.zeros(3, 4),
    }
    shapes = Shapes(values, axes)
    tree = ast.parse(text).body[0]
    shapes.run(tree)
    return tree, shapes


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("z = x * y + r", r"z = x \odot y + r"),
        ("z = x * (y + r)", r"z = x \odot \left( y + r \right)"),
        ("z = x - (y - r)", r"z = x - \left( y - r \right)"),
        ("z = (x - y) - r", r"z = x - y - r"),
        ("z = 2 * x", r"z = 2 \, x"),
        ("z = (x * y) @ w", r"z = \left( x \odot y \right) \, w"),
        ("z = (x @ w) * (x @ w)", r"z = \left( x \, w \right) \odot \left( x \, w \right)"),
        ("z = x.T @ y", r"z = x^{\top} \, y"),
        ("z = torch.pow(x, 3)", r"z = x^{3}"),
        ("z = (x + y) / r", r"z = \frac{x + y}{r}"),
        ("z = (-x) ** 2", r"z = {\left( - x \right)}^{2}"),
        ("z = -x ** 2", r"z = - x^{2}"),
        ("z = (x ** 2) ** 3", r"z = {\left( x^{2} \right)}^{3}"),
        ("z = x ** -0.5", r"z = x^{- 0.5}"),
        ("z = x.exp()", r"z = \mathrm{exp} \left( x \right)"),
        ("z = x.sum(0, keepdim=True)", r"z = \sum_{n} \, x"),
        ("z = torch.sum(x + y, dim=(0, 1))", r"z = \sum_{n ,\, d} \, \left( x + y \right)"),
        ("z = x.sum(0) * b", r"z = \left( \sum_{n} \, x \right) \odot b"),
        ("z = x.max(1).values", r"z = \underset{d}{\mathrm{max}} \, x"),
        ("z = x.max(1).indices", r"z = \underset{d}{\mathrm{argmax}} \, x"),
        ("z = r.expand_as(x)", r"z = \mathrm{broadcast}_{n} \left( r \right)"),
        ("dx += r", r"\mathrm{d} x \mathrel{{+}{=}} \mathrm{broadcast}_{n} \left( r \right)"),
        ("dx.index_put_((i,), y, accumulate=True)", r"\mathrm{d} x \left[ i \right] "
            r"\mathrel{{+}{=}} y"),
        ("dx[:, 1:] += s", r"\mathrm{d} x \left[ {:} ,\, 1 {:} \right] \mathrel{{+}{=}} s"),
        ("z = x.clone()", r"z = x"),
        ("z = x + 1e-5", r"z = x + 10^{- 5}"),
        ("z = (x > y) * x", r"z = \left[ x \gt y \right] \odot x"),
        ("z = torch.where(x > 0, x, y)", r"z = \begin{cases} x & \text{where } "
            r"\left[ x \gt 0 \right] \\ y & \text{else} \end{cases}"),
        ("z = x.abs().sqrt()", r"z = \sqrt{\left| x \right|}"),
        ("z = x.var(0, correction=0)", r"z = \mathrm{var} \left( x ,\, 0 ,\, "
            r"\text{correction=} 0 \right)"),
        ("z = torch.norm(x, 1, 0)", r"z = \mathrm{norm} \left( x ,\, 1 ,\, 0 \right)"),
        ("z = F.log_softmax(x, 1)", r"z = \mathrm{log\text{-}softmax}_{d} \left( x \right)"),
        ("z = x[None].transpose(-2, -1)", r"z = {\left( x \left[ \text{None} \right] "
            r"\right)}^{\top}"),
        ("z = x[None].transpose(2, 1)", r"z = {\left( x \left[ \text{None} \right] "
            r"\right)}^{\top}"),
        ("z = x[None].transpose(0, 2)", r"z = \mathrm{transpose} \left( "
            r"x \left[ \text{None} \right] ,\, 0 ,\, 2 \right)"),
        ("z = x / math.sqrt(n)", r"z = \frac{x}{\sqrt{n}}"),
        ("z = (x > 0) | (x < n)", r"z = \left[ x \gt 0 \right] \lor "
            r"\left[ x \lt n \right]"),
        ("z = (x > 0) & (x < n)", r"z = \left[ x \gt 0 \right] \land "
            r"\left[ x \lt n \right]"),
        ("z = x.clamp(max=float('inf'))", r"z = \mathrm{clamp} \left( x ,\, "
            r"\text{max=} \infty \right)"),
        ("z = x.roll(1, 0)", r"z = \mathrm{roll} \left( x ,\, 1 ,\, 0 \right)"),
    ],
)  # fmt: skip
def test_formulas(text: str, formula: str) -> None:
    tree, shapes = seen(text)
    assert latex(Translator(shapes, {"dx": "x"}).statement(tree)) == formula


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("x", "x"),
        ("h_out", r"h_{\mathit{out}}"),
        ("W1", "W_{1}"),
        ("bnvar_inv", r"\mathit{bnvar}_{\mathit{inv}}"),
        ("x_1_b2", r"x_{1 ,\, \mathit{b2}}"),
        ("sigma", r"\sigma"),
        ("_", r"\text{\_}"),
        ("_x", "x"),
        ("dbnvar_inv", r"\mathrm{d} \mathit{bnvar}_{\mathit{inv}}"),
    ],
)
def test_names(name: str, formula: str) -> None:
    assert latex(variable(name, {"dbnvar_inv": "bnvar_inv"})) == formula


def test_mathml_escapes_what_html_would_read() -> None:
    tree, shapes = seen("z = torch.where(x < y, x, F.pad(y, (0, 0), mode='constant'))")
    text = mathml(Translator(shapes, {}).statement(tree))
    page = Page()
    page.feed(text)
    assert page.open == [] and "<mo>&lt;</mo>" in text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("z = x * y", "z (n, d)"),
        ("z = (x * y).sum(0, keepdim=True)", "z (1, d) = sum over n of (n, d)"),
        ("z = x.sum(-1)", "z (n) = sum over d of (n, d)"),
        ("z = -2 * x.mean((0, 1))", "z () = mean over n and d of (n, d)"),
        ("z = x @ w", "z (n, k) = sum over d of (n, d) @ (d, k)"),
        ("z = (2 * r).expand_as(x)", "z (n, d) = (1, d) broadcast over n"),
        ("dx += r", "dx (n, d) += (1, d) broadcast over n"),
        ("dx += y", "dx (n, d) += (n, d)"),
        ("z = x.reshape(-1)", "z (12) = (n, d) reshaped to (12)"),
        ("z = w.T[i]", "z (n, d) = (n, d) picked out of (k, d)"),
        ("dx[i] += y", "dx (n, d) += (n, d), each at its place"),
        ("z = x.shape[0]", "z = 3"),
        ("z = torch.max(x, y)", "z (n, d)"),
        ("z = torch.zeros(2, 9).sum(1)", "z (2) = sum over axis 1 of (2, 9)"),
    ],
)
def test_sentences_about_shapes(text: str, sentence: str) -> None:
    tree, shapes = seen(text)
    assert shapes.equation(tree) == sentence


def test_what_an_operation_repeats_is_told() -> None:
    tree, shapes = seen("z = x * r + b + s")
    told = set(shapes.broadcasts(tree))
    assert told == {"r (1, d) is broadcast over n", "b (d) is broadcast over n"}
    tree, shapes = seen("z = r * r + b")
    assert list(shapes.broadcasts(tree)) == []  # an axis of size 1 is repeated for nobody


def test_the_chunk_of_the_lecture_sums_three_gradients() -> None:
    """The seed notes' chunk: what has one row is summed over the examples, and nothing else."""
    chunk = ROOT / "examples" / "lecture_chunk.py"
    summed = re.findall(r"(\w+) \(1, hidden\) = sum over n of \(n, hidden\)", gn.explain(chunk))
    assert summed == ["dbnbias", "dbngain", "dbnvar_inv"]


def test_running_a_line_leaves_the_values_as_they_were() -> None:
    """The lines of a walk add in place; what the forward was read with must not change."""
    back = gn.derive(
        "def forward(x: Float[Tensor, 'n']):\n    y = x * x + x\n    return y * y + y\n"
    )
    before = {name: value.clone() for name, value in back.program.values.items()}
    Walkthrough(back)
    for name, value in back.program.values.items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("program", SOME, ids=lambda program: program.name)
def test_every_view_of_the_catalogue(program) -> None:
    back = gn.derive(program.function)
    walk = Walkthrough(back)
    text = gn.explain(back)
    in_order(answered(back), text)
    for step in walk.steps:
        assert step.code in text
    for visit in walk.visits:
        for answer in visit.answers:
            _holds(answer.shape, answer.line)
    html = gn.explain(back, "html")
    page, walked = Page(), Page()
    page.feed(html)
    assert page.open == [] and page.fetched == []
    walked.feed(html[html.index("<main") : html.index("<details")])  # without graph and source
    in_order(answered(back), "".join(walked.text))
    in_order(answered(back), gn.explain(back, "markdown"))


def _holds(shape: str, line: gn.BackwardLine) -> None:
    """A gradient has its variable's shape, and a sum takes away what it says."""
    told = f"({', '.join(line.axes)})"
    if shape:
        assert shape.startswith(f"{line.name} {told}"), (shape, line.axes)
    found = re.fullmatch(r"\w+ \((.*)\) \+?= sum over (.*) of \(([^@]*)\)", shape)
    if found and "axis" not in found[2]:
        whole, left = found[3].split(", "), [name for name in found[1].split(", ") if name]
        gone = found[2].split(" and ")
        kept = [name for name in left if name != "1"]
        assert sorted([*kept, *gone]) == sorted(name for name in whole if name != "1"), shape


@pytest.mark.parametrize("program", SOME[::2], ids=lambda program: program.name)
def test_the_graph_is_in_layers_and_nothing_overlaps(program) -> None:
    walk = Walkthrough(gn.derive(program.function))
    graph = layout(walk)
    for one, other in combinations(graph.boxes, 2):
        if one.layer == other.layer:
            apart = abs(one.x - other.x) - (one.width + other.width) / 2
            assert apart >= GAP - 1e-6, (one.name, other.name)
    for edge in graph.edges:
        assert edge.start.layer < edge.end.layer
        ys = [y for _, y in edge.points]
        assert ys == sorted(ys)
    for box in graph.boxes:
        assert box.x - box.width / 2 + 1e-6 >= 0
        assert box.x + box.width / 2 <= graph.width + 1e-6
    values = walk.back.program.values
    drawn = {box.name for box in graph.boxes}
    tensors = [
        step for step in walk.steps if any(torch.is_tensor(values[t]) for t in step.line.targets)
    ]
    assert {", ".join(step.line.targets) for step in tensors} <= drawn
    reads = sum(1 for step in tensors for name in step.reads if torch.is_tensor(values.get(name)))
    assert len(graph.edges) == reads


def test_the_graph_of_a_long_forward_does_not_grow_with_its_square() -> None:
    """`w` is read by every line: its box is drawn again, no edge crosses the whole graph."""

    def drawn(lines: int) -> int:
        steps = [f"    x{i + 1} = (x{i} @ w).tanh() + x0\n" for i in range(lines)]
        text = f"def forward(x0, w):\n{''.join(steps)}    return x{lines}\n"
        walk = Walkthrough(gn.derive(text, inputs={"x0": torch.rand(3, 2), "w": torch.rand(2, 2)}))
        graph = layout(walk)
        assert {box.name for box in graph.boxes if box.key < 0} == {"x0", "w"}
        assert len({(e.start.name, e.end.key) for e in graph.edges}) == len(graph.edges)
        return sum(len(edge.points) for edge in graph.edges)

    assert drawn(160) < 2.2 * drawn(80)


def test_an_input_that_does_not_matter_is_said_so() -> None:
    back = gn.derive(
        "def forward(x: Float[Tensor, 'n'], u: Float[Tensor, 'n']):\n    return x * 2\n"
    )
    assert "the output does not depend on this input" in gn.explain(back)
    assert "du = torch.zeros_like(u)" in gn.explain(back, "html")


def test_colour_changes_no_words() -> None:
    from gradninja.explain import text

    walk = Walkthrough(gn.derive("def forward(x: Float[Tensor, 'n d']):\n    return x.sum(0)\n"))
    coloured = text(walk, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == text(walk)
