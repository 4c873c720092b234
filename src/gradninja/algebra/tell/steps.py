"""The steps of a derivation, in words with the person's names, and as LaTeX."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from gradninja.algebra.index.graph import Graph, Node, NotWritten
from gradninja.algebra.index.normal import Fact
from gradninja.algebra.index.terms import Factor, Powers, Term
from gradninja.derive.statement import Statement
from gradninja.lines import Expr, Line, Program

LETTERS = "ijklmabcdefgpqrstuvw"


@dataclass(frozen=True)
class Step:
    """One step. `of`: the gradient that it leads to; `text`: in words; `latex`: as a formula."""

    of: str
    text: str
    latex: str


def complete(steps: Sequence[Step], statements: Sequence[Statement]) -> tuple[Step, ...]:
    """The steps, and for each line that none leads to, what it is: derived, or a shared part."""
    found = list(steps)
    told, led_to = {step.text for step in steps}, {step.of for step in steps}
    for statement in statements:
        of, text = statement.target, str(statement)
        if text in told:
            continue
        if of not in led_to:
            why = "; ".join(dict.fromkeys(rule.why for rule in statement.rules))
            shared = of == statement.of
            why = "what is written more than once gets a name" if shared else f"as derived: {why}"
            found.append(Step(of, why, rf"\text{{{_escaped(why)}}}"))
            led_to.add(of)
        found.append(Step(of, text, rf"\texttt{{{_escaped(text)}}}"))
    return _in_order(found, [statement.target for statement in statements])


def rewritten(
    steps: Sequence[Step], before: Sequence[Statement], after: Sequence[Statement]
) -> list[Step]:
    """The steps, and a word where lines are now in place."""
    told = {str(statement) for statement in before}
    new = dict.fromkeys(one.target for one in after if str(one) not in told)
    why = "the same in place, with fewer arrays made:"
    return [*steps, *(Step(of, why, rf"\text{{{why}}}") for of in new)]


def _in_order(steps: Sequence[Step], lines: Sequence[str]) -> tuple[Step, ...]:
    """The steps of each line together, the lines as they follow each other.

    What has no line, such as a gradient that is 0, stays before the steps that it stood before.
    """
    first: dict[str, int] = {}
    for at, name in enumerate(lines):
        first.setdefault(name, at)
    here, places = len(lines), []
    for step in reversed(steps):
        here = first.get(step.of, here)
        places.append(here)
    order = sorted(zip(reversed(places), range(len(steps)), strict=True))
    return tuple(steps[at] for _, at in order)


class Teller:
    """Tells terms and facts of one graph."""

    def __init__(self, graph: Graph, program: Program) -> None:
        self.graph = graph
        self.program = program

    # -- steps ------------------------------------------------------------------------------

    def fact(self, of: str, fact: Fact) -> Step:
        """`sum over n of bndiff is 0, so this term vanishes`."""
        axes = " and ".join(self.axis(fact.of, index) for index in fact.over)
        result = self.terms(fact.results, fact.pattern)
        ends = ", so this term vanishes" if not fact.results else ""
        letters = self._letters([*fact.results], fact.pattern)
        sums = "".join(rf"\sum_{{{letters[bound]}}} " for bound in sorted(fact.bound))
        left = self._powers_latex(fact.pattern, letters)
        right = self._terms_latex(fact.results, letters)
        return Step(
            of,
            f"the sum of {self.name(fact.of)} over {axes} is {result}{ends}",
            f"{sums}{left} = {right}",
        )

    def zero(self, node: Node) -> Step:
        """A value that the output does not change with."""
        name = self.name(node)
        part = node.line if node.line is not None and name not in node.line.source else None
        what = f"{part.expr} ({name})" if part else name
        return Step(
            f"d{name}",
            f"the output does not change with {what}: its gradient is 0",
            rf"\mathrm{{d{_escaped(name)}}} = 0",
        )

    def part(self, of: str, expr: Expr) -> Step:
        """Of a part of a line that has no name of its own."""
        return Step(
            of, f"{of} is the gradient of {expr}", rf"\text{{of }} \texttt{{{_escaped(str(expr))}}}"
        )

    def form(self, of: str, node: Node, terms: Sequence[Term]) -> Step:
        """The gradient of a node in index notation: `dprobs[i, j] = -one_hot(Yb)[i, j] / ...`."""
        itself: Powers = (((node.number, node.free), Fraction(1)),)
        letters = self._letters(terms, itself)
        at = [letters[i] for i in node.free]
        left = f"{of}[{', '.join(at)}]" if at else of
        below = f"_{{{''.join(at)}}}" if at else ""
        return Step(
            of,
            f"{left} = {self.terms(terms, itself)}",
            rf"\mathrm{{{_escaped(of)}}}{below} = {self._terms_latex(terms, letters)}",
        )

    def meaning(self, of: str, node: Node, term: Term) -> Step | None:
        """What a value of the forward is: `probs[i, j] is counts[i, j] / counts_sum[i]`.

        None where its line says so already, since no other value was put into it.
        """
        if node.line is None or self._names(term) == self._said(node.line):
            return None
        itself: Powers = (((node.number, node.free), Fraction(1)),)
        letters = self._letters([term], itself)
        return Step(
            of,
            f"{self.terms([Term.of(1, itself)], itself)} is {self.terms([term], itself)}",
            f"{self._powers_latex(itself, letters)} = {self._terms_latex([term], letters)}",
        )

    def _names(self, term: Term) -> set[str]:
        """The names of tensors that a term is written with."""
        found = set[str]()
        for (atom, at), _ in term.powers:
            node = self.graph.nodes[atom]
            try:
                text = node.hot.text() if node.hot is not None else node.text()
            except NotWritten:
                text = ast.parse(self.name(node), mode="eval").body
            if at:
                found |= {part.id for part in ast.walk(text) if isinstance(part, ast.Name)}
        return found & set(self.graph.named)

    def _said(self, line: Line) -> set[str]:
        """The names of tensors in a line."""
        tree = ast.walk(line.expr.syntax)
        found = {part.id for part in tree if isinstance(part, ast.Name)}
        return {name for name in found & set(self.graph.named) if self.graph.named[name].places}

    def fold(self, of: str, node: Node, term: Term) -> Step:
        """`counts * counts_sum**-1 folds back into probs`."""
        letters = self._letters([term], (((node.number, node.free), Fraction(1)),))
        right = self._powers_latex((((node.number, node.free), Fraction(1)),), letters)
        return Step(
            of,
            f"{self.terms([term], ())} folds back into {self.name(node)}",
            f"{self._terms_latex([term], letters)} = {right}",
        )

    def line(self, of: str, source: str) -> Step:
        """What is written in the end."""
        return Step(of, f"{of} = {source}", rf"\texttt{{{_escaped(of)} = {_escaped(source)}}}")

    # -- words ------------------------------------------------------------------------------

    def name(self, node: Node) -> str:
        """A value by its name, or as it is written; a sum in brackets."""
        if node.hot is not None:
            return f"one_hot({self.name(node.hot)})"
        if node.name is not None:
            return node.name
        try:
            tree = node.text()
        except NotWritten:
            return f"({self.terms(node.terms, (), bare=True)})" if node.terms else "it"
        text = ast.unparse(tree)
        return text if isinstance(tree, ast.Name | ast.Call | ast.Constant) else f"({text})"

    def axis(self, node: Node, index: int) -> str:
        """An axis by its annotation's name, its size's name, or its place."""
        extent = self.graph.extent(node.axes[index])
        size = self.graph.sizes[self.graph.find(node.axes[index])]
        named = self.program.axis_names.get(size)
        return named or extent.name or f"axis {node.places[index]}"

    def terms(self, terms: Sequence[Term], pattern: Powers, bare: bool = False) -> str:
        """`n**-1 * probs[i, j] - n**-1 * one_hot(Yb)[i, j]`; `bare` of indices."""
        letters = self._letters(terms, pattern)
        found = ""
        for term in _positive_first(terms):
            inner = self._term(term, letters, bare)
            if term.bound and not bare:
                over = ", ".join(letters[i] for i in sorted(term.bound))
                inner = f"sum over {over} of ({inner})"
            sign = "-" if term.coefficient < 0 else "+"
            found += f" {sign} {inner}" if found else ("-" if sign == "-" else "") + inner
        return found or "0"

    def _term(self, term: Term, letters: dict[int, str], bare: bool) -> str:
        """`2 * a[i] / (n * b[i, j])`, the sign left out."""
        size = abs(term.coefficient)
        above = [str(size.numerator)] if size.numerator != 1 else []
        below = [str(size.denominator)] if size.denominator != 1 else []
        for (atom, at), power in _small_first(term.powers):
            node = self.graph.nodes[atom]
            name = self._static(node) if node.static else self.name(node)
            indices = "" if bare or not at else f"[{', '.join(letters[i] for i in at)}]"
            size = abs(power)
            exponent = f"({size})" if size.denominator != 1 else str(size)
            text = f"{name}{indices}" + (f"**{exponent}" if size != 1 else "")
            (below if power < 0 else above).append(text)
        found = " * ".join(above) or "1"
        if below:
            found += f" / {below[0]}" if len(below) == 1 else f" / ({' * '.join(below)})"
        return found

    def _static(self, node: Node) -> str:
        if node.name is not None or node.syntax is not None:
            text = node.name or ast.unparse(node.syntax or ast.Constant(0))
            plain = text.isidentifier() or text.replace(".", "").isdigit()
            return text if plain or isinstance(node.syntax, ast.Call) else f"({text})"
        for axis, extent in self.graph.size_nodes.items():
            if extent is node:
                size = self.graph.sizes[self.graph.find(axis)]
                return self.program.axis_names.get(size) or self._shape(axis)
        return "size"

    def _shape(self, axis: int) -> str:
        """An axis's size by the shape of a value: `grouped.shape[2]`."""
        root = self.graph.find(axis)
        for node in self.graph.named.values():
            for place, mine in zip(node.places, node.axes, strict=True):
                if self.graph.find(mine) == root:
                    return f"{node.name}.shape[{place}]"
        return "size"

    # -- LaTeX ------------------------------------------------------------------------------

    def _letters(self, terms: Sequence[Term], pattern: Powers) -> dict[int, str]:
        indices: dict[int, None] = {}
        for (_, at), _ in pattern:
            indices.update(dict.fromkeys(at))
        free = sorted({i for t in terms for i in t.indices})
        bound = [i for t in terms for i in sorted(t.bound)]
        indices.update(dict.fromkeys([*free, *bound]))
        return {index: LETTERS[at % len(LETTERS)] for at, index in enumerate(indices)}

    def _terms_latex(self, terms: Sequence[Term], letters: dict[int, str]) -> str:
        found = ""
        for term in _positive_first(terms):
            over = "".join(rf"\sum_{{{letters[i]}}} " for i in sorted(term.bound))
            inner = over + self._powers_latex(term.powers, letters, abs(term.coefficient))
            sign = "-" if term.coefficient < 0 else "+"
            found += f" {sign} {inner}" if found else ("-" if sign == "-" else "") + inner
        return found or "0"

    def _powers_latex(
        self, powers: Powers, letters: dict[int, str], size: Fraction = Fraction(1)
    ) -> str:
        above = [str(size.numerator)] if size.numerator != 1 else []
        below = [str(size.denominator)] if size.denominator != 1 else []
        for (atom, at), power in _small_first(powers):
            node = self.graph.nodes[atom]
            name = self._static(node) if node.static else self.name(node)
            text = rf"\mathrm{{{_escaped(name)}}}"
            if at:
                text += "_{" + "".join(letters[i] for i in at) + "}"
            text += f"^{{{abs(power)}}}" if abs(power) != 1 else ""
            (below if power < 0 else above).append(text)
        found = r" \, ".join(above) or "1"
        divisor = r" \, ".join(below)
        return rf"\frac{{{found}}}{{{divisor}}}" if below else found


def _positive_first(terms: Sequence[Term]) -> list[Term]:
    """`a - b` and not `-b + a`."""
    return sorted(terms, key=lambda term: term.coefficient < 0)


def _small_first(powers: Powers) -> list[tuple[Factor, Fraction]]:
    """Numbers before what has indices."""
    return sorted(powers, key=lambda power: bool(power[0][1]))


def _escaped(text: str) -> str:
    for mark in "_#%&{}$":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("~", r"\textasciitilde{}").replace("^", r"\textasciicircum{}")
