"""The walk as HTML: one page that needs nothing else, with the graph drawn and the walk beside it.

No script: a box of the graph shows its backward lines on hover and focus, and leads to them on
click, by style alone. Formulas are MathML. A notebook shows the same, without the page around it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from functools import cached_property
from html import escape
from importlib.resources import files

from gradninja.explain.drawing import HEIGHT, Box, Edge, layout
from gradninja.explain.latex_steps import formula, words
from gradninja.explain.mathml import wrapped
from gradninja.explain.walkthrough import (
    BROADCAST_TO_SUM,
    SUM_TO_BROADCAST,
    Answer,
    Step,
    Visit,
    Walkthrough,
)

LIT_EDGE = (
    "stroke: var(--back); stroke-width: 2.2; stroke-dasharray: 6 4; "
    "animation: gn-back .6s linear infinite;"
)
LIT_BOX = "outline: 2px solid var(--back);"


def page(walk: Walkthrough) -> str:
    """A whole HTML page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<title>{escape(walk.title)}</title>\n</head>\n<body style="margin:0">\n'
        f"{fragment(walk)}\n</body>\n</html>\n"
    )


def fragment(walk: Walkthrough) -> str:
    """The same without the page around it; several may stand in one document."""
    return _Page(walk).fragment()


class _Page:
    def __init__(self, walk: Walkthrough) -> None:
        self.walk = walk
        self.graph = layout(walk)
        told = hashlib.sha256(walk.back.source.encode()).hexdigest()
        self.id = f"gn-{told[:10]}"  # so that two in one document do not meet
        self.gradients = set(walk.back.gradient_names.values())

    def fragment(self) -> str:
        style = files("gradninja.explain").joinpath("page.css").read_text(encoding="utf-8")
        return "\n".join(
            [
                f'<div class="gradninja" id="{self.id}">',
                f"<style>\n{style}{self._hover()}</style>",
                self._header(),
                '<div class="sides">',
                '<main class="walk">',
                *(self._visit(number, visit) for number, visit in enumerate(self.walk.visits)),
                self._rest(),
                "</main>",
                self._drawn(),
                "</div>",
                "</div>",
            ]
        )

    def _header(self) -> str:
        walk = self.walk
        kept = ", ".join(map(self._code, walk.back.kept)) or "none"
        free = ", ".join(map(self._code, walk.back.not_kept)) or "none"
        seeds = ", ".join(map(self._code, walk.seeds))
        return (
            f"<header><h1>{escape(walk.title)}</h1>"
            f'<p class="first"><a href="#{self.id}-0">{escape(walk.first)}</a></p>'
            f"<p>{escape(walk.counts)}. The forward runs down the graph; the walk goes back up, "
            "from the last line to the first, and under each line stand the lines that answer it. "
            "Point at a box for its backward, click for its place in the walk.</p>"
            f'<ul class="two"><li>{_sentence(SUM_TO_BROADCAST)}</li>'
            f"<li>{_sentence(BROADCAST_TO_SUM)}</li></ul>"
            f'<dl class="facts"><dt>begins with</dt><dd>{seeds}</dd>'
            f"<dt>kept from the forward</dt><dd>{kept}</dd>"
            f"<dt>not needed again</dt><dd>{free}</dd></dl>"
            '<p class="legend">⊙, quotients and powers are element by element; a product of '
            "matrices stands without a sign; d<i>x</i> is the gradient of the output with respect "
            "to <i>x</i>.</p></header>"
        )

    # -- the graph --------------------------------------------------------------------------

    def _drawn(self) -> str:
        graph = self.graph
        lines = "".join(self._edge(edge) for edge in graph.edges)
        arrow = (
            f'<marker id="{self.id}-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto">'
            '<path class="tip-of-arrow" d="M0 0.5 8 4 0 7.5z"></path></marker>'
        )
        size = f"width:{graph.width:.0f}px;height:{graph.height:.0f}px"
        return (
            '<nav class="graph" aria-label="the forward as a graph">'
            f'<div class="paper" style="{size}">'
            f'<svg width="{graph.width:.0f}" height="{graph.height:.0f}" aria-hidden="true">'
            f"<defs>{arrow}</defs>{lines}</svg>"
            + "".join(self._box(box) for box in graph.boxes)
            + "</div></nav>"
        )

    def _edge(self, edge: Edge) -> str:
        (x, y), *rest = edge.points
        path = [f"M{x:.1f} {y:.1f}"]
        for to_x, to_y in rest:
            middle = (y + to_y) / 2
            path.append(f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}")
            x, y = to_x, to_y
        kind = "flows" if edge.flows else "still"
        return (
            f'<path class="edge {kind} to{_key(edge.end)} from{_key(edge.start)}" '
            f'marker-end="url(#{self.id}-arrow)" d="{" ".join(path)}"></path>'
        )

    def _box(self, box: Box) -> str:
        place = (
            f"left:{box.x - box.width / 2:.1f}px;top:{box.y:.1f}px;"
            f"width:{box.width:.1f}px;height:{HEIGHT:.0f}px"
        )
        below = f'<span class="code">{escape(box.below)}</span>' if box.below else ""
        inner = (
            f'<span><b>{escape(box.name)}</b> <span class="shape">{escape(box.shape)}</span></span>'
            f"{below}"
        )
        number = self._visited(box)
        link = f'<a href="#{self.id}-{number}">{inner}</a>'
        if number is None:
            link = f"<div>{inner}</div>"
        return (
            f'<div class="box {box.kind} b{_key(box)}" style="{place}">{link}'
            f'<div class="tip">{self._tip(box)}</div></div>'
        )

    @cached_property
    def _answers(self) -> dict[int | str, list[tuple[int, Answer]]]:
        """The answers to each line, by its index, and those for each variable, by its name."""
        found: dict[int | str, list[tuple[int, Answer]]] = {}
        for number, visit in enumerate(self.walk.visits):
            for answer in visit.answers:
                found.setdefault(answer.line.of, []).append((number, answer))
                if visit.step is not None:
                    found.setdefault(visit.step.index, []).append((number, answer))
        return found

    def _answers_of(self, box: Box) -> list[tuple[int, Answer]]:
        """With the number of their visit: those to a box's line, or for an input's gradient."""
        return self._answers.get(box.key if box.key >= 0 else box.name, [])

    def _visited(self, box: Box) -> int | None:
        """The number of the visit that a box leads to."""
        answers = self._answers_of(box)
        return answers[0][0] if answers else None

    def _tip(self, box: Box) -> str:
        step = self.walk.steps[box.key] if box.key >= 0 else None
        head = self._line(step) if step else f"<p>{self._code(box.name)} {escape(box.shape)}</p>"
        answers = self._answers_of(box)
        if not answers:
            return f"{head}<p>no gradient flows here</p>"
        return head + "".join(self._answer(answer, brief=True) for _, answer in answers)

    def _hover(self) -> str:
        """Light up the way of the gradient for the box or the part of the walk pointed at."""
        edges, boxes = [], []
        for box in self.graph.boxes:
            key, number = _key(box), self._visited(box)
            pointed = f".b{key}:hover,.b{key}:focus-within"
            if box.key >= 0 and number is not None:
                section = f"#{self.id}-{number}:hover"
                pointed = f"{pointed},{section}"
                boxes.append(f"#{self.id}:has({section}) .b{key}")
            lit = "from" if box.key < 0 else "to"
            edges.append(f"#{self.id}:has({pointed}) .{lit}{key}.flows")
        rules = ((edges, LIT_EDGE), (boxes, LIT_BOX))
        return "".join(f"{','.join(names)} {{ {look} }}\n" for names, look in rules if names)

    # -- the walk ---------------------------------------------------------------------------

    def _visit(self, number: int, visit: Visit) -> str:
        head = (
            "<p>The output does not depend on this input.</p>"
            if visit.step is None
            else self._line(visit.step)
        )
        answers = "".join(self._answer(answer) for answer in visit.answers)
        return f'<section class="visit" id="{self.id}-{number}">{head}{answers}</section>'

    def _line(self, step: Step) -> str:
        return (
            f'<div class="forward"><p class="source"><span class="number">{step.line.number}</span>'
            f"{self._code(step.code)}</p>"
            f'<div class="formula">{wrapped(step.formula)}</div>'
            f"{_listed('shapes', [step.shape, *step.broadcasts])}</div>"
        )

    def _answer(self, answer: Answer, *, brief: bool = False) -> str:
        rules = "".join(f'<span class="rule">{escape(rule)}</span>' for rule in answer.line.rules)
        why = "" if brief else _listed("why", answer.why, _sentence) + self._algebra(answer)
        return (
            f'<div class="answer"><p class="source">{self._code(answer.line.source)}{rules}</p>'
            f'<div class="formula">{wrapped(answer.formula)}</div>'
            f"{_listed('shapes', [answer.shape, *answer.broadcasts])}{why}</div>"
        )

    def _algebra(self, answer: Answer) -> str:
        """The steps of the algebra in their order, formulas where they are such."""
        items = []
        for step in answer.steps:
            told, shown = words(step), formula(step)
            inner = self._code(told) if step.latex.startswith(r"\texttt") else _sentence(told)
            if shown is not None:
                inner += f'<div class="formula">{wrapped(shown)}</div>'
            items.append(f"<li>{inner}</li>")
        if not items:
            return ""
        led = '<p class="led">the algebra that led there</p>'
        return f'{led}<ol class="algebra">{"".join(items)}</ol>'

    def _rest(self) -> str:
        told = "".join(self._line(step) for step in self.walk.rest)
        quiet = (
            f'<section class="visit"><h2>No gradient flows through these lines</h2>{told}</section>'
        )
        source = escape(self.walk.back.source)
        return (
            f"{quiet if told else ''}<details><summary>All of it as a function</summary>"
            f"<pre>{source}</pre></details>"
        )

    def _code(self, code: str) -> str:
        """Code with the gradients' names in their colour."""
        parts = re.split(r"(\w+)", code)
        told = [
            f'<span class="d">{escape(part)}</span>' if part in self.gradients else escape(part)
            for part in parts
        ]
        return f"<code>{''.join(told)}</code>"


def _key(box: Box) -> str:
    return str(box.key) if box.key >= 0 else f"i{-1 - box.key}"


def _listed(kind: str, sentences: Iterable[str], told: Callable[[str], str] = escape) -> str:
    items = "".join(f"<li>{told(sentence)}</li>" for sentence in sentences if sentence)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def _sentence(sentence: str) -> str:
    """Words, in which the two sentences stand out."""
    text = escape(sentence)
    for kind, known in (("to-broadcast", SUM_TO_BROADCAST), ("to-sum", BROADCAST_TO_SUM)):
        text = text.replace(known, f'<strong class="{kind}">{known}</strong>')
    return text
