"""The algebra's steps as formulas: the LaTeX that `gradninja.algebra` tells them in, read.

It is of a few commands: names, fractions, sums, what stands below and above.
"""

from __future__ import annotations

import re

from gradninja.algebra.tell.steps import Step
from gradninja.explain.formula import (
    Big,
    Formula,
    Fraction,
    Letter,
    Number,
    Script,
    Symbol,
    Text,
    row,
)

TOKEN = re.compile(r"\\[a-z]+|\\.|[0-9]+(?:\.[0-9]+)?|.", re.S)
NAMED = frozenset({r"\mathrm", r"\text", r"\texttt"})
FOLDS = " folds back into "


def words(step: Step) -> str:
    """What a step says beside its formula; all of it where it has none."""
    if step.latex.startswith(r"\text"):
        return step.text
    if FOLDS in step.text:
        return f"folds back into {step.text.partition(FOLDS)[2]}:"
    formal = "[" in step.text or " = " in step.text
    return "" if formal and not step.text.startswith("the ") else step.text


def formula(step: Step) -> Formula | None:
    """A step as a formula; None where it is words or a line of code."""
    return None if step.latex.startswith(r"\text") else _Reader(step.latex).row("")


class _Reader:
    """Reads one formula from the left to the right."""

    def __init__(self, latex: str) -> None:
        self.tokens = TOKEN.findall(latex)
        self.at = 0

    def row(self, end: str) -> Formula:
        parts: list[Formula] = []
        while self.at < len(self.tokens) and self.tokens[self.at] != end:
            token = self.tokens[self.at]
            self.at += 1
            if token == " ":
                continue
            if token in "_^":
                parts.append(self.script(parts.pop(), token))
            elif token == r"\sum":
                assert self.tokens[self.at] == "_"
                self.at += 1
                parts.append(Big("sum", self.group()))
            elif token == r"\frac":
                parts.append(Fraction(self.group(), self.group()))
            elif token in NAMED:
                parts.append(self.name())
            elif token == r"\,":
                parts.append(Symbol(" "))
            elif token[0].isdigit():
                parts.append(Number(token))
            elif token.isalpha():
                parts.append(Letter(token))
            else:
                parts.append(Symbol("minus" if token == "-" else token))
        self.at += 1
        return row(*parts)

    def script(self, base: Formula, sign: str) -> Formula:
        """What stands below or above; both where both follow each other."""
        part = self.group()
        if isinstance(base, Script) and sign == "^" and base.above is None:
            return Script(base.base, base.below, part)
        return Script(base, part, None) if sign == "_" else Script(base, None, part)

    def group(self) -> Formula:
        assert self.tokens[self.at] == "{"
        self.at += 1
        return self.row("}")

    def name(self) -> Formula:
        """A value's name, or code that stands for one."""
        assert self.tokens[self.at] == "{"
        depth, told = 1, ""
        while depth:
            self.at += 1
            token = self.tokens[self.at]
            depth += (token == "{") - (token == "}")
            told += token[1:] if len(token) == 2 and token[0] == "\\" else token
        self.at += 1
        told = told[:-1]
        return Letter(told) if told.isidentifier() else Text(told)
