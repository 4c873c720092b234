"""Formulas as MathML Core, which browsers draw by themselves."""

from __future__ import annotations

from html import escape

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


def mathml(formula: Formula) -> str:
    """A whole formula as a `<math>` element, as large as on a line of its own."""
    return f'<math displaystyle="true">{_element(formula)}</math>'


BREAKS = frozenset({"=", "+=", "+", "minus", "odot", "cdot"})


def wrapped(formula: Formula) -> str:
    """The same in parts, each from a sign on, that a narrow page may set on several lines."""
    parts: list[list[Formula]] = [[]]
    for part in formula.parts if isinstance(formula, Row) else (formula,):
        before = parts[-1][-1] if parts[-1] else None
        sign = isinstance(part, Symbol) and part.text in BREAKS
        if sign and before is not None and not isinstance(before, Symbol):
            parts.append([])
        parts[-1].append(part)
    return "&#8203;".join(  # where a line may end
        '<math displaystyle="true">'
        + "".join(_element(p) if i or not place else _infix(p) for i, p in enumerate(one))
        + "</math>"
        for place, one in enumerate(parts)
    )


def _infix(sign: Formula) -> str:
    """A sign that begins a part: it stands between two all the same."""
    return _element(sign).replace("<mo>", '<mo form="infix">', 1)


def _element(formula: Formula) -> str:
    match formula:
        case Letter(text):
            # A single letter is set in italics by itself; a word is so by the page's style.
            word = "" if len(text) == 1 or text in GREEK else ' class="w"'
            return f"<mi{word}>{escape(GREEK.get(text, text))}</mi>"
        case Word(text):
            upright = ' mathvariant="normal"' if len(text) == 1 else ""
            return f"<mi{upright}>{escape(text)}</mi>"
        case Number(text):
            return f"<mn>{escape(text)}</mn>"
        case Symbol(" "):
            return '<mspace width="0.2em"></mspace>'
        case Symbol(","):
            return '<mo separator="true">,</mo>'
        case Symbol(":"):
            return '<mo lspace="0" rspace="0">:</mo>'
        case Symbol(text):
            return f"<mo>{escape(SIGNS.get(text, text))}</mo>"
        case Text(text):
            return f"<mtext>{escape(text)}</mtext>"
        case Row(parts):
            return f"<mrow>{''.join(map(_element, parts))}</mrow>"
        case Script(base, below, above):
            if below is None and above is None:
                return _element(base)
            inner = "".join(_element(part) for part in (base, below, above) if part is not None)
            tag = "msup" if below is None else "msub" if above is None else "msubsup"
            return f"<{tag}>{inner}</{tag}>"
        case Fraction(top, bottom):
            return f"<mfrac>{_element(top)}{_element(bottom)}</mfrac>"
        case Root(inner):
            return f"<msqrt>{_element(inner)}</msqrt>"
        case Fence(left, inner, right):
            return f"<mrow>{_bracket(left)}{_element(inner)}{_bracket(right)}</mrow>"
        case Big(sign, axes):
            large = ' largeop="true"' if sign in SIGNS else ""
            name = f'<mo{large} movablelimits="false">{escape(SIGNS.get(sign, sign))}</mo>'
            return name if axes is None else f"<munder>{name}{_element(axes)}</munder>"
        case Cases(rows):
            told = "".join(
                f"<mtr><mtd>{_element(value)}</mtd><mtd>{_element(where)}</mtd></mtr>"
                for value, where in rows
            )
            return f'<mrow>{_bracket("{")}<mtable class="cases">{told}</mtable></mrow>'
    raise AssertionError(formula)


def _bracket(sign: str) -> str:
    return f'<mo stretchy="true" fence="true">{escape(SIGNS.get(sign, sign))}</mo>'
