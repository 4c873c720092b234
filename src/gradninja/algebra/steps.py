"""The steps of a derivation, in words with the person's names, and as LaTeX."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from gradninja.algebra.graph import Graph, Node, NotWritten
from gradninja.algebra.normal import Fact
from gradninja.algebra.terms import Powers, Term
from gradninja.derive.statement import Statement
from gradninja.lines import Program

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
    return tuple(found)


class Teller:
    """Tells terms and facts of one graph."""

    def __init__(self, graph: Graph, program: Program) -> None:
        self.graph = graph
        self.program = program

    # -- steps ------------------------------------------------------------------------------

    def fact(self, of: str, fact: Fact) -> Step:
        """`sum over n of bndiff is 0, so this term vanishes`."""
        axis = self.axis(fact.of, fact.index)
        result = self.terms(fact.results, fact.pattern)
        ends = ", so this term vanishes" if not fact.results else ""
        letters = self._letters([*fact.results], fact.pattern)
        (bound,) = fact.bound
        left = self._powers_latex(fact.pattern, letters)
        right = self._terms_latex(fact.results, letters)
        return Step(
            of,
            f"the sum of {self.name(fact.of)} over {axis} is {result}{ends}",
            rf"\sum_{{{letters[bound]}}} {left} = {right}",
        )

    def zero(self, node: Node) -> Step:
        """A value that the output does not change with."""
        name = self.name(node)
        return Step(
            f"d{name}",
            f"the output does not change with {name}: its gradient is 0",
            rf"\mathrm{{d{_escaped(name)}}} = 0",
        )

    def form(self, of: str, terms: Sequence[Term]) -> Step:
        """A gradient in index notation, before anything is folded."""
        letters = self._letters(terms, ())
        return Step(
            of,
            f"in index notation {of} is {self.terms(terms, ())}",
            rf"\mathrm{{{_escaped(of)}}} = {self._terms_latex(terms, letters)}",
        )

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
        for term in terms:
            parts = [
                self._factor(atom, () if bare else at, p, letters) for (atom, at), p in term.powers
            ]
            size = abs(term.coefficient)
            if size != 1 or not parts:
                parts.insert(0, str(size))
            inner = " * ".join(parts)
            if term.bound and not bare:
                over = ", ".join(letters[i] for i in sorted(term.bound))
                inner = f"sum over {over} of ({inner})"
            sign = "-" if term.coefficient < 0 else "+"
            found += f" {sign} {inner}" if found else ("-" if sign == "-" else "") + inner
        return found or "0"

    def _factor(
        self, atom: int, at: Sequence[int], power: Fraction, letters: dict[int, str]
    ) -> str:
        node = self.graph.nodes[atom]
        name = self.name(node) if not node.static else self._static(node)
        indices = f"[{', '.join(letters[i] for i in at)}]" if at else ""
        return f"{name}{indices}" + (f"**{power}" if power != 1 else "")

    def _static(self, node: Node) -> str:
        if node.name is not None or node.syntax is not None:
            text = node.name or ast.unparse(node.syntax or ast.Constant(0))
            return text if text.isidentifier() or text.replace(".", "").isdigit() else f"({text})"
        for axis, extent in self.graph.size_nodes.items():
            if extent is node:
                size = self.graph.sizes[self.graph.find(axis)]
                return self.program.axis_names.get(size) or f"size{size}"
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
        for term in terms:
            size = abs(term.coefficient)
            number = "" if size == 1 and term.powers else _number(size)
            over = "".join(rf"\sum_{{{letters[i]}}} " for i in sorted(term.bound))
            inner = f"{number} {over}{self._powers_latex(term.powers, letters)}".strip()
            sign = "-" if term.coefficient < 0 else "+"
            found += f" {sign} {inner}" if found else ("-" if sign == "-" else "") + inner
        return found or "0"

    def _powers_latex(self, powers: Powers, letters: dict[int, str]) -> str:
        parts = []
        for (atom, at), power in powers:
            node = self.graph.nodes[atom]
            name = self._static(node) if node.static else self.name(node)
            text = rf"\mathrm{{{_escaped(name)}}}"
            if at:
                text += "_{" + "".join(letters[i] for i in at) + "}"
            parts.append(text + (f"^{{{power}}}" if power != 1 else ""))
        return r" \, ".join(parts)


def _number(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _escaped(text: str) -> str:
    for mark in "_#%&{}$":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("^", r"\^{}").replace("~", r"\~{}")
