"""A formula as a tree of boxes, which LaTeX and MathML are both printed from."""

from __future__ import annotations

from dataclasses import dataclass

GREEK = dict(
    zip(
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
        "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi "
        "Omega".split(),
        "\u03b1\u03b2\u03b3\u03b4\u03b5\u03b6\u03b7\u03b8\u03b9\u03ba\u03bb\u03bc\u03bd\u03be\u03c0\u03c1\u03c3"
        "\u03c4\u03c5\u03c6\u03c7\u03c8\u03c9\u0393\u0394\u0398\u039b\u039e\u03a0\u03a3\u03a5\u03a6\u03a8\u03a9",
        strict=True,
    )
)
# Signs under LaTeX's names for them.
SIGNS = {
    "minus": "\N{MINUS SIGN}",
    "odot": "\N{CIRCLED DOT OPERATOR}",
    "cdot": "\N{DOT OPERATOR}",
    "times": "\N{MULTIPLICATION SIGN}",
    "top": "\N{DOWN TACK}",
    "sum": "\N{N-ARY SUMMATION}",
    "prod": "\N{N-ARY PRODUCT}",
    "infty": "\N{INFINITY}",
    "ne": "\N{NOT EQUAL TO}",
    "le": "\N{LESS-THAN OR EQUAL TO}",
    "ge": "\N{GREATER-THAN OR EQUAL TO}",
    "in": "\N{ELEMENT OF}",
    "notin": "\N{NOT AN ELEMENT OF}",
    "land": "\N{LOGICAL AND}",
    "lor": "\N{LOGICAL OR}",
    "lnot": "\N{NOT SIGN}",
    "dots": "\N{HORIZONTAL ELLIPSIS}",
    "lfloor": "\N{LEFT FLOOR}",
    "rfloor": "\N{RIGHT FLOOR}",
}


class Formula:
    """A part of a formula."""


@dataclass(frozen=True)
class Letter(Formula):
    """The name of a variable, in italics: `x`, `bnvar`, `sigma`."""

    text: str


@dataclass(frozen=True)
class Word(Formula):
    """An upright name, such as a function's: `exp`, and the `d` of `dX`."""

    text: str


@dataclass(frozen=True)
class Number(Formula):
    text: str


@dataclass(frozen=True)
class Symbol(Formula):
    """A sign: one of `SIGNS` by its name, or itself."""

    text: str


@dataclass(frozen=True)
class Text(Formula):
    """Words of a sentence, or code that has no notation of its own."""

    text: str


@dataclass(frozen=True)
class Row(Formula):
    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class Script(Formula):
    """A base with something below right, above right, or both."""

    base: Formula
    below: Formula | None = None
    above: Formula | None = None


@dataclass(frozen=True)
class Fraction(Formula):
    top: Formula
    bottom: Formula


@dataclass(frozen=True)
class Root(Formula):
    inner: Formula


@dataclass(frozen=True)
class Fence(Formula):
    """Brackets around something, as tall as it is."""

    left: str
    inner: Formula
    right: str


@dataclass(frozen=True)
class Big(Formula):
    """An operator over axes: `sum`, `prod`, or a word such as `max`, with the axes below it."""

    sign: str
    axes: Formula | None


@dataclass(frozen=True)
class Cases(Formula):
    """Values, each beside the condition that it holds under."""

    rows: tuple[tuple[Formula, Formula], ...]


def row(*parts: Formula) -> Formula:
    """Parts side by side; a row in a row is opened up."""
    flat: list[Formula] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, Row) else (part,))
    return flat[0] if len(flat) == 1 else Row(tuple(flat))


def separated(parts: list[Formula], by: str = ",") -> Formula:
    """Parts side by side with a sign between them."""
    flat: list[Formula] = []
    for index, part in enumerate(parts):
        flat.extend((Symbol(by), part) if index else (part,))
    return row(*flat)
