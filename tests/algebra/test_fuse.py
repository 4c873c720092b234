"""Fusing: short, right, no less accurate than what is derived, and safe against its own slips."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import itertools
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import gradninja as gn
from catalogue import DISTINCT, OTHERS, autograd, call, cotangents, differences
from catalogue import collect as collect_catalogue
from full_size import count, largest
from fuse_targets import Target, collect
from gradninja.algebra.index.normal import Normal
from gradninja.errors import GradninjaError
from gradninja.lines.scope import LIBRARY
from gradninja.rules import BOOK, Book, Site
from random_programs import OTHER_SIZES, SIZES, _judge_call, write

# What PyTorch thinks of a deprecated spelling or of few elements is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")

fusing = importlib.import_module("gradninja.algebra.fuse")  # the package has the verb so named

TARGETS = collect()
CATALOGUE = collect_catalogue()
# A draw in which the mask keeps several rows: one alone would hide what is broadcast.
SEEDS = {"gating.boolean_selection": 8}
RANDOM = 60
TOLERANCE = 1e-12  # relative to each gradient's largest element

targets = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@functools.cache
def fused(target: Target) -> gn.Fused:
    return gn.fuse(target.function, target.given, target.wanted)


@functools.cache
def derived(target: Target) -> gn.Backward:
    return gn.derive(target.function, target.given, target.wanted)


def operations(
    back: gn.Backward, inputs: Mapping[str, Any], grads: Sequence[Tensor], numel: int
) -> int:
    """The full-size operations of a backward's text."""
    scope = {**LIBRARY, **back.program.namespace}
    exec(back.source, scope)
    values = {**back.forward_values(inputs), **dict(zip(back.cotangents, grads, strict=True))}
    return len(count(scope["backward"], values, numel))


def ones_or_random(back: gn.Backward, seed: int, layout: str = "plain") -> Any:
    """Cotangents: 1 for a loss, as its backward has it, else random."""
    if back.scalar:
        return lambda outputs: [torch.ones_like(outputs[0])]
    return lambda outputs: cotangents(outputs, seed, layout)


@targets
def test_targets_are_right(target: Target) -> None:
    """In float64, with any cotangent, on other sizes than those it was fused with."""
    back = fused(target)
    assert not back.dropped
    for sizes, seed, layout in ((None, 1, "plain"), (OTHERS, 2, "gapped"), (None, 3, "expanded")):
        inputs = target.draw(sizes, seed)
        truth, grads = autograd(
            target.function,
            inputs,
            lambda out, seed=seed, layout=layout: cotangents(out, 100 + seed, layout),
            target.wanted,
        )
        wrong = differences(call(back, inputs, grads), truth, TOLERANCE)
        assert not wrong, "\n".join([*wrong, back.source])


@targets
def test_targets_are_short(target: Target) -> None:
    """No more full-size operations than the form that a person would write."""
    back, plain = fused(target), derived(target)
    inputs = target.draw()
    outputs = autograd(target.function, inputs, ones_or_random(back, 101), target.wanted)
    grads = outputs[1]
    values = {**back.forward_values(inputs), **dict(zip(back.cotangents, grads, strict=True))}
    numel = largest(values)
    reference = len(count(target.backward, values, numel))
    mine = operations(back, inputs, grads, numel)
    told = f"{target.name}: {mine} full-size operations, reference {reference}\n{back.source}"
    assert mine <= reference, told
    assert mine <= operations(plain, inputs, grads, numel), told


def rounding(back: gn.Backward, target: Target) -> dict[str, float]:
    """The root-mean-square error of each gradient in float32, relative to its size."""
    errors: dict[str, float] = {}
    for seed in range(6):
        exact = target.draw(seed=seed)
        exact = {n: v.float().double() if v.is_floating_point() else v for n, v in exact.items()}
        short = {n: v.float() if v.is_floating_point() else v for n, v in exact.items()}
        truth, grads = autograd(
            target.function,
            exact,
            lambda out, seed=seed: [
                g.float().double() for g in cotangents(out, 100 + seed, "plain")
            ],
            target.wanted,
        )
        got = call(back, short, [g.float() for g in grads])
        for name, want in truth.items():
            assert got[name].dtype == torch.float32
            off = (got[name].double() - want).norm() / want.norm().clamp(min=1e-30)
            errors[name] = errors.get(name, 0.0) + float(off) ** 2 / 6
    return {name: error**0.5 for name, error in errors.items()}


@targets
def test_targets_keep_their_digits(target: Target) -> None:
    """In float32 no less accurate than the derived form, within the noise of a few roundings.

    A factor of 1.5, and half an epsilon: rounding errors of other operations are other errors.
    """
    mine, plain = rounding(fused(target), target), rounding(derived(target), target)
    epsilon = torch.finfo(torch.float32).eps
    lost = {n: (e, plain[n]) for n, e in mine.items() if e > 1.5 * plain[n] + 0.5 * epsilon}
    assert not lost, f"{lost}\n{fused(target).source}"


def written_again(back: gn.Backward) -> list[str]:
    """Parts of lines that got a name and are computed once more where they were."""
    found = []
    for number, group in itertools.groupby(back.program.lines, key=lambda line: line.number):
        *parts, whole = group
        for part in parts:
            if part.expr.differentiable and re.match(rf"{whole.name}_[a-z]", part.name):
                found += [f"{number}: {part.code}"] * (str(part.expr) in str(whole.expr))
    return found


@pytest.mark.parametrize("program", CATALOGUE, ids=lambda program: program.name)
def test_the_catalogue_is_right(program: Any) -> None:
    """Whatever can be derived: right to 1e-12, with no more full-size operations than derived."""
    given = program.draw(DISTINCT, SEEDS.get(program.name, 9))
    back, plain = gn.fuse(program.function, given), gn.derive(program.function, given)
    for sizes, seed, layout in ((DISTINCT, 1, "gapped"), (OTHERS, 2, "plain")):
        inputs = program.draw(sizes, seed)
        torch.manual_seed(seed)
        truth, grads = autograd(
            program.function,
            inputs,
            lambda out, seed=seed, layout=layout: cotangents(out, 100 + seed, layout),
        )
        torch.manual_seed(seed)
        wrong = differences(call(back, inputs, grads), truth, TOLERANCE)
        assert not wrong, "\n".join([*wrong, back.source])
    assert not written_again(back), back.forward_source
    judged = gn.check(program.function, back, given)  # line by line, as a person's would be
    assert judged.ok, str(judged)
    values = back.program.values  # on the sizes that the form was chosen for
    inputs = {one.name: values[one.name] for one in back.program.inputs}
    grads = ones_or_random(back, 101)([values[name] for name in back.outputs])
    numel = largest(values)
    mine, before = (operations(b, inputs, grads, numel) for b in (back, plain))
    told = f"{mine} full-size operations, derived {before}\n{back.source}"
    assert mine <= before, told


def verdict_of(program: Any) -> str:
    """The word "right", or what is wrong: fused with one draw, called with others."""
    try:
        back = gn.fuse(program.text, inputs=program.inputs(1, SIZES))
    except GradninjaError as error:
        return f"refused: {error}"
    for seed, sizes, layout in ((2, SIZES, "gapped"), (3, OTHER_SIZES, "expanded")):
        verdict = _judge_call(program, back, seed, sizes, layout)
        if verdict != "right":
            return f"{verdict}\nsizes {sizes}\n{back.source}"
    return "right"


@pytest.mark.parametrize("seed", range(RANDOM))
def test_random_programs_are_right(seed: int) -> None:
    program = write(random.Random(seed))
    verdict = verdict_of(program)
    assert verdict == "right", f"{program.shapes}\n{program.text}\n{verdict}"


# -- planted slips --------------------------------------------------------------------------


LAYER = """
def forward(
    x: Float[Tensor, "n d"], W: Float[Tensor, "d k"], b: Float[Tensor, "k"], g: Float[Tensor, "k"]
):
    z = x @ W
    h = torch.tanh(z)
    diff = h - b
    loss = (diff * g).sum()
    return loss
"""


def _with_meaning(means: Any) -> Book:
    """The rule book, with another meaning of tanhshrink beside its right gradient."""
    book = Book(tuple(BOOK))
    book.add(replace(BOOK["tanhshrink"], means=means, elementwise=False))
    return book


def test_a_wrong_meaning_is_caught() -> None:
    """Rows that mean something else than they say, and one that raises."""
    text = LAYER.replace("torch.tanh", "F.tanhshrink")
    clean = gn.fuse(text)
    assert not clean.dropped

    def raises(site: Site) -> str:
        raise ZeroDivisionError("planted")

    for means in ("a - torch.sin(a)", raises):
        _holds_what_is_derived(text, gn.fuse(text, book=_with_meaning(means)))


def test_a_wrong_rewrite_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fact that is none, and a pass that raises."""
    assert not gn.fuse(LAYER).dropped

    def no_fact(self: Normal, node: Any, terms: Any) -> None:
        for index in node.free:
            self._fact(node, (index,), [])  # every sum is said to be 0

    def raises(*_: Any) -> None:
        raise ZeroDivisionError("planted")

    for plant in (no_fact, raises):
        with monkeypatch.context() as patch:
            patch.setattr(Normal, "_mine", plant)
            back = gn.fuse(LAYER)
        _holds_what_is_derived(LAYER, back)


def _holds_what_is_derived(text: str, back: gn.Fused) -> None:
    """A pass was dropped, it is told why, and what is given is right."""
    assert back.dropped and all(one.why for one in back.dropped)
    shapes = {"x": (5, 3), "W": (3, 4), "b": (4,), "g": (4,)}
    inputs = {name: torch.randn(shape).double() for name, shape in shapes.items()}
    assert not differences(back(inputs), gn.derive(text)(inputs), TOLERANCE)


def without_the_last(statements: list[Any]) -> list[Any]:
    return statements[:-1]


def with_the_last_doubled(statements: list[Any]) -> list[Any]:
    *first, last = statements
    doubled = ast.BinOp(ast.Constant(2), ast.Mult(), last.value)
    return [*first, replace(last, value=doubled)]


def with_an_error(statements: list[Any]) -> list[Any]:
    raise ZeroDivisionError("planted")


@pytest.mark.parametrize("spoil", [without_the_last, with_the_last_doubled, with_an_error])
@pytest.mark.parametrize("style", ["readable", "in place"])
def test_a_wrong_pass_over_the_lines_is_caught(
    style: str, spoil: Callable[[list[Any]], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the algebra found is right, and what names its parts or writes them in place is not."""
    rewriter = fusing.Sharing if style == "readable" else fusing.InPlace
    run = rewriter.run
    monkeypatch.setattr(rewriter, "run", lambda self, given: spoil([*run(self, given)]))
    back = gn.fuse(LAYER, style=style)
    assert back.dropped and all(one.why for one in back.dropped)
    shapes = {"x": (5, 3), "W": (3, 4), "b": (4,), "g": (4,)}
    inputs = {name: torch.randn(shape).double() for name, shape in shapes.items()}
    assert not differences(back(inputs), gn.derive(LAYER)(inputs), TOLERANCE)
    scope = {**LIBRARY, **back.forward_values(inputs)}
    exec(back.source, scope)  # and so is the text for a cotangent of 1
    names = inspect.signature(scope["backward"]).parameters
    found = scope["backward"](**{name: scope[name] for name in names})
    got = dict(zip(("dx", "dW", "db", "dg"), found, strict=True))
    assert not differences(got, gn.derive(LAYER)(inputs), TOLERANCE)
