"""Every program of the catalogue, both styles, against autograd in float64."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import pytest
import torch

import gradninja as gn
from catalogue import (
    DISTINCT,
    EQUAL,
    OTHERS,
    Cataloged,
    autograd,
    call,
    collect,
    cotangents,
    differences,
    outputs_of,
)
from gradninja.derive import printing
from gradninja.errors import DeriveError

# What PyTorch thinks of a deprecated spelling or of few elements is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")

CATALOGUE = collect()
EYE = torch.eye(3)
# A draw in which the mask keeps several rows: one alone would hide what is broadcast.
SEEDS = {"gating.boolean_selection": 2}
STYLES = ("readable", "exact")

programs = pytest.mark.parametrize("program", CATALOGUE, ids=lambda program: program.name)
styles = pytest.mark.parametrize("style", STYLES)

# (sizes, seed of the values, layout of the cotangents)
DRAWS = (
    (DISTINCT, 1, "plain"),
    (DISTINCT, 2, "gapped"),
    (OTHERS, 3, "expanded"),
    (EQUAL, 4, "gapped"),
)


def judge(back: gn.Backward, program: Cataloged, sizes: Any, seed: int, layout: str) -> list[str]:
    """What is wrong with one call of a derived backward."""
    inputs = program.draw(sizes, seed)
    torch.manual_seed(seed)
    truth, grads = autograd(program.function, inputs, lambda out: cotangents(out, seed, layout))
    torch.manual_seed(seed)
    return differences(call(back, inputs, grads), truth)


@programs
@styles
def test_gradients_are_autograds(program: Cataloged, style: str) -> None:
    """Derived from the annotations alone, then called with sizes and values of our own."""
    back = gn.derive(program.function, style=style)
    wrong = [
        f"{sizes[:4]}, {layout}: {found}"
        for sizes, seed, layout in DRAWS
        for found in judge(back, program, sizes, seed, layout)
    ]
    assert not wrong, "\n".join([*wrong, back.source])


@programs
def test_derived_where_sizes_coincide(program: Cataloged) -> None:
    """Equal sizes while deriving must not make two axes one: called with distinct sizes after."""
    back = gn.derive(program.function, inputs=program.draw(EQUAL, SEEDS.get(program.name, 5)))
    wrong = judge(back, program, DISTINCT, 6, "plain") + judge(back, program, EQUAL, 7, "plain")
    assert not wrong, "\n".join([*wrong, back.source])


@programs
def test_derived_where_an_axis_has_size_one(program: Cataloged) -> None:
    """What was broadcast cannot be told where a size is 1: later calls are right or refused."""
    for at in range(len(program.axes(DISTINCT))):
        sizes = [1 if i == at else size for i, size in enumerate(DISTINCT)]
        inputs = program.draw(sizes, 8)
        try:
            program.function(**inputs)
        except (RuntimeError, IndexError, ZeroDivisionError):
            continue  # the forward itself does not run on an axis of size 1
        try:
            back = gn.derive(program.function, inputs=inputs)
            wrong = judge(back, program, DISTINCT, 9, "plain")
        except DeriveError as error:
            assert "not autograd's" not in error.message
            continue
        assert not wrong, "\n".join([f"axis {at}", *wrong, back.source])


def test_derived_where_a_part_of_a_line_has_size_one() -> None:
    """A slice without a name has one row when read, and is broadcast; later it has more."""
    text = "def forward(y):\n    c = y[[0, 1, 0]].abs() ** y[1:]\n    return c\n"
    back = gn.derive(text, inputs={"y": torch.rand(2, 3) + 0.5})
    with pytest.raises(DeriveError, match=r"`y\[1:\]` has shape \(3, 3\) and had \(1, 3\)"):
        back({"y": torch.rand(4, 3) + 0.5}, torch.ones(3, 3))


@programs
def test_source_runs_alone(program: Cataloged) -> None:
    """The text alone, in an empty namespace, given the forward's values by name."""
    back = gn.derive(program.function)
    inputs = program.draw(DISTINCT, 10)
    truth, _ = autograd(program.function, inputs, lambda out: [torch.ones_like(o) for o in out])
    namespace: dict[str, Any] = {}
    exec(back.source, namespace)
    backward = namespace["backward"]
    torch.manual_seed(10)
    values = back.forward_values(inputs)
    torch.manual_seed(10)
    outputs = outputs_of(program.function(**inputs))
    given = dict(values)
    given.update(zip(back.cotangents, (torch.ones_like(o) for o in outputs), strict=True))
    names = inspect.signature(backward).parameters
    got = backward(**{name: given[name] for name in names})
    found = got if isinstance(got, tuple) else (got,)
    assert len(found) == len(program.float_inputs)
    if not any(word in inspect.getsource(program.function) for word in ("rand_like", "randn")):
        labels = [f"d{name}" for name in program.float_inputs]
        wrong = differences(dict(zip(labels, found, strict=True)), truth)
        assert not wrong, "\n".join([*wrong, back.source])


@programs
def test_lines_answer_every_input(program: Cataloged) -> None:
    """Each line says what it writes, which forward line it answers, and by which rule."""
    back = gn.derive(program.function)
    assert {line.of for line in back.lines} >= set(program.float_inputs)
    for line in back.lines:
        assert line.source in back.source
        assert line.name in line.source
        assert line.rule or line.why
        assert len(line.shape) == len(line.axes)
    truth = program.draw(DISTINCT, 0)
    for name in program.float_inputs:
        last = [line for line in back.lines if line.of == name][-1]
        assert len(last.shape) == truth[name].ndim


def test_inputs_that_are_laid_out_otherwise() -> None:
    """Transposed inputs, where the forward takes them: values are what counts."""
    tried = 0
    for program in CATALOGUE:
        inputs = program.draw(DISTINCT, 11)
        turned = {
            name: value.mT.contiguous().mT if value.ndim >= 2 else value
            for name, value in inputs.items()
        }
        try:
            torch.manual_seed(0)
            truth, grads = autograd(
                program.function, turned, lambda out: cotangents(out, 12, "gapped")
            )
        except RuntimeError:
            continue  # a view of the input, which PyTorch refuses as well
        back = gn.derive(program.function)
        torch.manual_seed(0)
        wrong = differences(call(back, turned, grads), truth)
        assert not wrong, "\n".join([program.name, *wrong, back.source])
        tried += 1
    assert tried > 0.8 * len(CATALOGUE)


def test_wrt_gives_those_alone() -> None:
    program = next(p for p in CATALOGUE if p.name == "lecture.mlp_batchnorm")
    inputs = program.draw(DISTINCT, 13)
    truth, _ = autograd(program.function, inputs, lambda out: [torch.ones_like(o) for o in out])
    back = gn.derive(program.function, wrt=["W1", "bngain"])
    got = back(inputs)
    assert not differences(got, {"dW1": truth["dW1"], "dbngain": truth["dbngain"]})
    assert "dW2" not in back.source


def test_a_slip_of_the_printer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared with autograd before it is given is the text itself."""

    def lost(node: ast.AST) -> ast.AST | None:
        return node.value if isinstance(node, ast.Attribute) and node.attr == "T" else None

    monkeypatch.setattr(printing, "_transposed_twice", lost)
    with pytest.raises(DeriveError, match="derived for `W` is not autograd's"):
        gn.derive("def forward(x, W):\n    return x @ W\n", {"x": torch.rand(3, 3), "W": EYE})


def test_a_view_of_a_gradient_that_was_added_up_is_copied() -> None:
    """`einsum('ij->ji', dq)` lies in dq's memory: what is added to dp may not go into dq."""
    steps = "q = p * p + torch.einsum('ij->ji', p)\n    return q.mean() + q * q"
    back = gn.derive(f"def forward(p):\n    {steps}\n", inputs={"p": torch.rand(3, 3)})
    assert "dp = torch.einsum('ji->ij', dq).clone()" in back.source


def test_a_forward_that_gives_nan_cannot_be_judged() -> None:
    """Of a largest element that is nan, autograd gives all such elements a share."""
    text = "def forward(x, w):\n    return (x + torch.log(w - 2)).max()\n"
    with pytest.raises(DeriveError, match="`out` has a nan on the values that"):
        gn.derive(text, inputs={"x": torch.rand(2, 3), "w": torch.rand(3)})


def test_the_harness_sees_a_wrong_gradient() -> None:
    """`differences` is the judge of all of the above: it must not be blind."""
    truth = {
        "dx": torch.randn(5, 7, dtype=torch.float64),
        "db": torch.zeros(7, dtype=torch.float64),
    }
    assert not differences(truth, truth)
    off = truth["dx"].clone()
    off[3, 3] += 1e-9
    for wrong in (
        {**truth, "dx": off},
        {**truth, "dx": truth["dx"].T},
        {**truth, "dx": truth["dx"].float()},
        {**truth, "dx": truth["dx"] * float("nan")},
        {**truth, "db": truth["db"] + 1e-9},
        {**truth, "db": truth["db"][None]},
        {"dx": truth["dx"]},
    ):
        assert differences(wrong, truth)
