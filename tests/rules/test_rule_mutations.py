"""Each row's text, changed as a slip would change it, must be seen by the row's own test texts.

A mutant is put in the row's place on the very inputs that `test_rules.py` tries the row on; there
the row's own text is autograd's gradient, so a mutant that gives another is noticed. One that gives
the same on all of them, and on many inputs more, is the same formula written otherwise.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from typing import Any

import pytest
import torch
from rule_mutants import mutants
from torch import Tensor

from catalogue import cotangents
from gradninja.derive import derive, read_program
from gradninja.derive import template as templates
from gradninja.errors import GradninjaError
from gradninja.lines import ITEM, Expr
from gradninja.rules import BOOK, Book, Refusal, Rule, Site
from rule_inputs import SCOPE, Trial, book_rows, trials_of

# The draws of test_rules.py, and many more: seed, whether larger, kind of what is normal floats.
TRIED = ((0, False, ""), (1, False, ""), (2, False, ""), (0, True, ""))
MORE = tuple((seed, seed > 103, kind) for seed in range(100, 105) for kind in ("", "ties"))
CLOSE = 1e-9

# What PyTorch thinks of the sizes in a test text is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = book_rows()
rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@dataclass(frozen=True, eq=False)
class Place:
    """One text of a row at one site: where it, and its mutants, can be evaluated."""

    text: str
    site: Site
    operand: Any
    cotangents: dict[str, Any]

    @cached_property
    def values(self) -> dict[str, Any]:
        found = {name: operand.value for name, operand in self.site.bound.items()}
        return {**found, "y": self.site.y, **self.cotangents}

    @cached_property
    def right(self) -> Tensor:
        return self.gradient(self.text)

    def gradient(self, text: str) -> Tensor:
        """What a text gives, in the operand's shape."""
        like = self.operand.value
        if "keep(" in text or "count(" in text:
            text = ast.unparse(templates.expand_macros(self.site, text))
        if templates.is_statement(text):
            into = torch.zeros_like(like)
            exec(_compiled(text, "exec"), {**SCOPE, **self.values, "d": into})
            return into
        found = torch.as_tensor(eval(_compiled(text, "eval"), {**SCOPE, **self.values}))
        together = torch.broadcast_shapes(found.shape, like.shape)
        return found.expand(together).sum_to_size(like.shape)

    def differs(self, mutant: str) -> bool:
        """Whether the mutant gives something else, or nothing at all."""
        right = self.right
        try:
            wrong = self.gradient(mutant)
        except Exception:  # whatever torch raises where shapes or types do not fit
            return True
        if wrong.dtype != right.dtype:
            return True
        scale = CLOSE * (1 + float(right.nan_to_num(0, 0, 0).abs().amax()) if right.numel() else 1)
        return not torch.allclose(wrong, right, rtol=CLOSE, atol=scale, equal_nan=True)


@lru_cache(maxsize=1024)
def _compiled(text: str, mode: str) -> Any:
    return compile(text, "<rule>", mode)


@dataclass(frozen=True)
class Text:
    """One text that a row has for one formal, in one style, of one place's kind."""

    row: str
    formal: str
    text: str


Draw = tuple[int, bool, str]


def places(row: Rule, trial: Trial, draw: Draw) -> Iterator[tuple[Text, Place]]:
    """Each text of a row on one draw of a trial's inputs."""
    seed, larger, kind = draw
    times = trial.larger() if larger else 1
    if larger and times == 1:
        return
    inputs = tuple(replace(g, kind=kind) if not g.kind else g for g in trial.inputs)
    program = read_program(trial.source, replace(trial, inputs=inputs).draw(seed, times=times))
    for line in program.lines:
        for expr in line.expr.walk():
            site = BOOK.find(expr) if expr.differentiable else None
            if site is None or site.rule.name != row.name:
                continue
            if isinstance(site.y, tuple):
                several = [_cotangent(output, seed + i) for i, output in enumerate(site.y)]
                given: dict[str, Any] = {f"g{i}": g for i, g in enumerate(several)}
                given["gs"] = several
            else:
                given = {"g": _cotangent(site.y, seed)}
            for reached in _reached(row, site, line.expr):
                for formal, operand in site.bound.items():
                    if operand.differentiable:
                        yield from _texts(row, reached, formal, operand, given)


def _reached(row: Rule, site: Site, whole: Expr) -> Iterator[Site]:
    """The site as each output has a cotangent, and as those alone have one that its line reads.

    The first is left out where the row says that there is no gradient to all of them.
    """
    read = {
        part.args[1].value
        for part in whole.walk()
        if part.op == ITEM and part.args[0] is site.expr and part.differentiable
    }
    try:
        for formal, operand in site.bound.items():
            if operand.differentiable and callable(found := row.template(formal, "readable")):
                found(site)
        yield site
    except Refusal:
        assert read, f"{row.name} refuses its own test text"
    if read:
        yield replace(site, reached=frozenset(read))


def _cotangent(output: Tensor, seed: int) -> Tensor:
    if not output.is_floating_point():
        return torch.zeros_like(output)
    return cotangents([output], seed, "plain")[0].to(output.dtype)


def _texts(
    row: Rule, site: Site, formal: str, operand: Any, given: dict[str, Any]
) -> Iterator[tuple[Text, Place]]:
    for style in ("readable", "exact") if formal in row.exact else ("readable",):
        found = row.template(formal, style)
        text = found(site) if callable(found) else found
        if isinstance(text, str):
            yield Text(row.name, formal, text), Place(text, site, operand, given)
        else:
            assert text is not None
            for part, part_text in zip(operand.args, text, strict=True):
                if part.differentiable:
                    yield Text(row.name, formal, part_text), Place(part_text, site, part, given)


def collect(row: Rule, draws: Iterable[Draw]) -> dict[Text, list[Place]]:
    found: dict[Text, list[Place]] = {}
    for trial in trials_of(row):
        for draw in draws:
            for text, place in places(row, trial, draw):
                found.setdefault(text, []).append(place)
    return found


@dataclass
class Judgement:
    """What became of a row's mutants."""

    noticed: int
    same: list[str]
    survivors: list[str]


def judge(row: Rule) -> Judgement:
    result = Judgement(0, [], [])
    more: dict[Text, list[Place]] = {}
    for text, tried in collect(row, TRIED).items():
        for mutant in _mutants(text, tried[0]):
            if any(place.differs(mutant) for place in tried):
                result.noticed += 1
                continue
            more = more or collect(row, MORE)
            told = f"{text.row}, {text.formal}: {text.text}  ->  {mutant}"
            if any(place.differs(mutant) for place in more.get(text, [])):
                result.survivors.append(told)
            else:
                result.same.append(told)
    return result


def _mutants(text: Text, place: Place) -> Iterator[str]:
    values = place.values
    tensors = {n for n, v in values.items() if isinstance(v, Tensor) and v.is_floating_point()}
    axes = {n for n, v in values.items() if type(v) is int}
    return mutants(text.text, tensors, axes)


judged = cache(judge)


@rows
def test_every_mutant_is_noticed(row: Rule) -> None:
    survivors = judged(row).survivors
    assert not survivors, "\n".join(survivors)


def test_how_many_mutants_there_are() -> None:
    found = [judged(row) for row in ROWS]
    noticed = sum(judgement.noticed for judgement in found)
    same = [text for judgement in found for text in judgement.same]
    print(f"\n{noticed} mutants noticed, {len(same)} the same formula written otherwise:")
    print("\n".join(same))
    assert noticed > 3000
    assert len(same) < 0.1 * noticed


@rows
def test_a_wrong_row_is_not_handed_out(row: Rule) -> None:
    """Through the whole of derive: a row with a text that is twice too large gives no backward."""
    for formal in row.backward:
        wrong = replace(row, backward={**row.backward, formal: _doubled(row, formal)})
        book = Book(tuple(wrong if other is row else other for other in BOOK))
        assert any(_refused(trial, book) for trial in trials_of(row)), formal


def _doubled(row: Rule, formal: str) -> Any:
    def template(site: Site) -> Any:
        found = row.template(formal, "readable")
        text = found(site) if callable(found) else found
        if isinstance(text, str):
            return next(m for m in mutants(text, (), ()) if m != text and "2 *" in m)
        assert text is not None
        return [f"2 * ({part})" for part in text]

    return template


def _refused(trial: Trial, book: Book) -> bool:
    try:
        derive(trial.source, trial.draw(0), book=book)
    except GradninjaError as error:
        return "not autograd's" in error.message
    return False


def test_a_row_with_too_few_texts_is_seen() -> None:
    """Without ties, half a gradient at a tie goes unnoticed: that must turn the suite red."""
    row = BOOK["maximum"]
    weak = replace(row, tests=("torch.maximum(a, b) where a: 3 4; b: 3 4",))
    assert not judge(row).survivors
    assert judge(weak).survivors
