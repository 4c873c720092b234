"""Formulas as LaTeX, in the commands that amsmath, MathJax, KaTeX and GitHub share."""

from __future__ import annotations

from gradninja.explain.formula import (
    GREEK,
    SIGNS,
    Big,
    Cases,
    Fence,
    Formula,
    Fraction,
    Letter,
    Number,
    Root,
    Row,
    Script,
    Symbol,
    Text,
    Word,
)

# What is not LaTeX's own name for it, or not itself.
SYMBOLS = {
    "minus": "-",
    "mod": r"\bmod",
    "+=": r"\mathrel{{+}{=}}",
    " ": r"\,",
    ":": "{:}",
    ",": r",\,",
    "<": r"\lt",
    ">": r"\gt",
} | {name: f"\\{name}" for name in SIGNS if name != "minus"}
ESCAPED = {
    "\\": "/",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": "-",
    "^": "'",
}


def latex(formula: Formula) -> str:
    """A formula as LaTeX, without the dollar signs."""
    match formula:
        case Letter(text):
            if text in GREEK:
                return f"\\{text}"
            return text if len(text) == 1 else f"\\mathit{{{_escaped(text)}}}"
        case Word(text):  # GitHub refuses \\operatorname
            return _upright(text)
        case Number(text):
            return text
        case Symbol(text):
            return SYMBOLS.get(text, text)
        case Text(text):
            return f"\\text{{{_escaped(text)}}}"
        case Row(parts):
            return " ".join(latex(part) for part in parts)
        case Script(base, below, above):
            under = "" if below is None else f"_{{{latex(below)}}}"
            over = "" if above is None else f"^{{{latex(above)}}}"
            return f"{_grouped(base)}{under}{over}"
        case Fraction(top, bottom):
            return f"\\frac{{{latex(top)}}}{{{latex(bottom)}}}"
        case Root(inner):
            return f"\\sqrt{{{latex(inner)}}}"
        case Fence(left, inner, right):
            sides = (SYMBOLS.get(left, left), SYMBOLS.get(right, right))
            return f"\\left{sides[0]} {latex(inner)} \\right{sides[1]}"
        case Big(sign, axes):
            if sign not in SYMBOLS:
                word = _upright(sign)
                return word if axes is None else f"\\underset{{{latex(axes)}}}{{{word}}}"
            return SYMBOLS[sign] + ("" if axes is None else f"_{{{latex(axes)}}}")
        case Cases(rows):
            told = r" \\ ".join(f"{latex(value)} & {latex(where)}" for value, where in rows)
            return f"\\begin{{cases}} {told} \\end{{cases}}"
    raise AssertionError(formula)


def _grouped(base: Formula) -> str:
    text = latex(base)
    return f"{{{text}}}" if isinstance(base, Row | Script | Fence | Cases) else text


def _upright(text: str) -> str:
    return "\\mathrm{" + _escaped(text).replace("-", r"\text{-}") + "}"


def _escaped(text: str) -> str:
    return "".join(ESCAPED.get(character, character) for character in text)
