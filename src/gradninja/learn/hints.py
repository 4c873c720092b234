"""Hints in stages, drawn from the rule book and the shapes of one forward.

A question by kind, the rule and the forward's line, the shapes, the first half of the line, the
line itself: each says a little more than the one before.
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Callable
from dataclasses import dataclass

from gradninja.check.tell.report import shape_told
from gradninja.derive import Backward, BackwardLine
from gradninja.errors import DeriveError
from gradninja.lines import Line
from gradninja.lines.program import names_in

STAGES = ("a question", "the rule", "the shapes", "the first half", "the line")
# What a rule's sentence says of the operation, and what is then asked of `{of}` in `{line}`.
QUESTIONS = (
    ("was broadcast over", "`{of}` was broadcast in `{line}`, one value used many times over: what "
     "answers a broadcast on the way back?"),
    ("was summed over", "`{of}` was summed in `{line}`, and each of its elements moved the sum "
     "alike: what answers a sum on the way back?"),
    ("a matrix product", "`{line}` is a matrix product. Which axis do its two matrices share, and "
     "which product of the gradient with the other matrix sums over the axis that `{of}` has not?"),
    ("picked", "`{line}` picks from `{of}`. Where does the gradient of what was picked go back to, "
     "and what if something was picked more than once?"),
    ("selected", "`{line}` selects from `{of}`. Which elements of `{of}` move the result at all?"),
    ("in another shape", "`{line}` moves no number, it has them in another shape. What shape does "
     "the gradient need?"),
)  # fmt: skip
SEVERAL = (
    "`{of}` is used {count}, in {lines}: what becomes of gradients that come back by several ways?"
)
ELEMENTWISE = (
    "`{line}` computes each element from its own. By how much does `{to}` move when `{of}` moves a "
    "little, and what does the gradient of `{to}` make of that?"
)


@dataclass(frozen=True)
class Hint:
    """The hints for one gradient; `stage`: how many are shown; `lacks`: why there are none."""

    name: str
    stages: tuple[str, ...]
    stage: int = len(STAGES)
    lacks: str | None = None

    @property
    def shown(self) -> tuple[str, ...]:
        return self.stages[: self.stage]

    def __str__(self) -> str:
        if self.lacks is not None:
            return self.lacks
        rows = [
            f"{number}. {title}: {said}"
            for number, (title, said) in enumerate(zip(STAGES, self.shown, strict=False), 1)
        ]
        return "\n".join([f"{self.name}, hint {len(self.shown)} of {len(self.stages)}", *rows])

    __repr__ = __str__


def hints(
    back: Backward,
    name: str,
    stage: int = len(STAGES),
    place: Callable[[int], str] = "line {}".format,
) -> Hint:
    """The hints for a variable's gradient, `hprebn` or `dhprebn`, up to a stage.

    `place`: where the forward's line of a number stands.

    Raises:
        DeriveError: nothing of that name has a gradient.
    """
    lines = [line for line in back.lines if name in (line.of, line.name)]
    if not lines:
        known = dict.fromkeys(line.name for line in back.lines)
        raise DeriveError(
            f"`{name}` is no gradient of `{back.program.name}`",
            hint=f"there are: {', '.join(known)}",
        )
    said = (
        _question(back, lines),
        _rule(lines, place),
        _shapes(back, lines),
        "\n   ".join(_half(line.source) for line in lines),
        "\n   ".join(line.source for line in lines),
    )
    return Hint(lines[0].name, said, max(1, min(stage, len(STAGES))))


def _uses(lines: list[BackwardLine]) -> list[Line]:
    found: dict[int, Line] = {}
    for line in lines:
        found.setdefault(id(line.forward), line.forward)
    return list(found.values())


def _question(back: Backward, lines: list[BackwardLine]) -> str:
    of, uses = lines[0].of, _uses(lines)
    asked = []
    if len(uses) > 1:
        often = "twice" if len(uses) == 2 else f"{len(uses)} times"
        told = " and in ".join(dict.fromkeys(f"`{use.source}`" for use in uses))
        asked.append(SEVERAL.format(of=of, count=often, lines=told))
    for use in uses:
        why = " ".join(w for line in lines if line.forward is use for w in line.why)
        found = [text for mark, text in QUESTIONS if mark in why][:1] or [ELEMENTWISE]
        asked += [text.format(of=of, line=use.source, to=use.name) for text in found]
    return " ".join(dict.fromkeys(asked))


def _rule(lines: list[BackwardLine], place: Callable[[int], str]) -> str:
    told = []
    for use in _uses(lines):
        why = dict.fromkeys(w for line in lines if line.forward is use for w in line.why)
        told.append(f"`{use.source}` ({place(use.number)}): {'; '.join(why)}.")
    return " ".join(told)


def _shapes(back: Backward, lines: list[BackwardLine]) -> str:
    values, of = back.program.values, lines[0].of
    told = [f"`{lines[0].name}` has the shape of `{of}`, {shape_told(lines[0].shape)}."]
    for use in _uses(lines):
        names = [n for n in dict.fromkeys(names_in(use.expr.syntax)) if n != of]
        shapes = [
            f"`{n}` {shape_told(tuple(values[n].shape))}"
            for n in names
            if hasattr(values.get(n), "shape")
        ]
        target = values[use.name]
        came = f"`d{use.name}` {shape_told(tuple(target.shape))}"
        beside = f"; beside it there is {', '.join(shapes)}" if shapes else ""
        told.append(f"Through `{use.source}` comes back {came}{beside}.")
    return " ".join(told)


def _half(source: str) -> str:
    """The first half of a line, to the end of a word."""
    tokens = [
        token
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.string.strip()
    ]
    start = next((i for i, t in enumerate(tokens) if t.string in {"=", "+=", "-="}), 0) + 1
    last = tokens[max(start, start + (len(tokens) - start) // 2 - 1)]
    kept = source[: last.end[1]] if last is not tokens[-1] else source[: last.start[1]]
    return f"{kept.rstrip()} ..."
