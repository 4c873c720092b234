"""The walk as Markdown, each line also as a formula in LaTeX, in a block fenced as `math`.

GitHub hands such a block on as it is. What stands between `$$` it reads as Markdown first, which
takes the backslash from `\\,` and one of two from the rows of `cases`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gradninja.explain.formula import Formula
from gradninja.explain.latex import latex
from gradninja.explain.latex_steps import formula, words
from gradninja.explain.walkthrough import (
    BROADCAST_TO_SUM,
    SUM_TO_BROADCAST,
    Answer,
    Visit,
    Walkthrough,
)

LEGEND = (
    "Products ⊙, quotients and powers are element by element; a product of matrices stands without "
    "a sign; d*x* is the gradient of the output with respect to *x*."
)


MATH = "```math"


def markdown(walk: Walkthrough) -> str:
    """The walk as Markdown."""
    return "\n\n".join(_blocks(walk)) + "\n"


def for_notebooks(walk: Walkthrough) -> str:
    """The same with the formulas between `$$`, which is what notebooks know."""
    return re.sub(rf"{MATH}\n(.*)\n( *)```", r"$$\n\1\n\2$$", markdown(walk))


def _blocks(walk: Walkthrough) -> Iterator[str]:
    yield f"# {_plain(walk.title)}"
    yield f"**{_plain(walk.first)}**"
    yield (
        f"{walk.counts}. The forward's lines from the last to the first; under each the lines "
        "that answer it."
    )
    yield f"- **{SUM_TO_BROADCAST}**\n- **{BROADCAST_TO_SUM}**"
    yield LEGEND
    rows = ["| input | shape | gradient |", "|---|---|---|"]
    for given in walk.inputs:
        wanted = "yes" if given.differentiable else "no"
        rows.append(f"| {_span(given.name)} | {_span(given.shape)} | {wanted} |")
    yield "\n".join(rows)
    yield "At the start: " + ", ".join(_span(seed) for seed in walk.seeds) + "."
    for visit in walk.visits:
        yield from _visit(visit)
    yield "## All of it"
    yield _fenced(walk.back.source)


def _visit(visit: Visit) -> Iterator[str]:
    if visit.step is None:
        yield "## An input that the output does not depend on"
    else:
        yield f"## Line {visit.step.line.number}: {_span(visit.step.line.name)}"
        yield _fenced(visit.step.code)
        yield _displayed(visit.step.formula)
        yield "\n".join(f"- {_span(told)}" for told in (visit.step.shape, *visit.step.broadcasts))
        yield "**Backward**"
    for answer in visit.answers:
        yield from _answer(answer)


def _answer(answer: Answer) -> Iterator[str]:
    yield _fenced(answer.line.source)
    yield _displayed(answer.formula)
    told = [_span(sentence) for sentence in (answer.shape, *answer.broadcasts) if sentence]
    if answer.line.rules:
        told.append(f"rule: {', '.join(map(_span, answer.line.rules))}")
    told += [_plain(sentence) for sentence in answer.why]
    if told:
        yield "\n".join(f"- {sentence}" for sentence in told)
    if answer.steps:
        yield "The algebra that led there:"
    for number, step in enumerate(answer.steps, 1):
        said = words(step)
        code = step.latex.startswith(r"\texttt")
        parts = [_span(said) if code else _plain(said) or "so"]
        parts += [f"{MATH}\n   {step.latex}\n   ```"] if formula(step) is not None else []
        yield f"{number}. " + "\n\n   ".join(parts)


def _displayed(formula: Formula) -> str:
    return f"{MATH}\n{latex(formula)}\n```"


def _fenced(code: str) -> str:
    fence = "`" * max(3, _longest_run(code) + 1)
    return f"{fence}python\n{code.rstrip()}\n{fence}"


def _span(code: str) -> str:
    ticks = "`" * (_longest_run(code) + 1)
    space = " " if "`" in code else ""
    return f"{ticks}{space}{code}{space}{ticks}".replace("|", "\\|")


def _longest_run(code: str) -> int:
    return max((len(run) for run in re.findall("`+", code)), default=0)


def _plain(sentence: str) -> str:
    """A sentence whose characters mean nothing to Markdown; the two sentences stand out."""
    escaped = re.sub(r"([\\`*_<>\[\]|$])", r"\\\1", sentence)
    for known in (SUM_TO_BROADCAST, BROADCAST_TO_SUM):
        escaped = escaped.replace(known, f"**{known}**")
    return escaped
