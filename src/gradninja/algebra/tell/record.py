"""The record of a walk: which steps led to each gradient, in the order in which a reader goes."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from gradninja.algebra.find.choosing import is_name
from gradninja.algebra.find.extract import Foldable
from gradninja.algebra.index.graph import Node
from gradninja.algebra.index.normal import Fact
from gradninja.algebra.index.terms import Term
from gradninja.algebra.tell.steps import Step, Teller
from gradninja.algebra.write.tree import Tree, leaves
from gradninja.lines import Line


class Record:
    """Collects steps. `facts` are those used since the last value that was told of."""

    def __init__(self, teller: Teller, foldables: Sequence[Foldable]) -> None:
        self.teller = teller
        self.foldables = foldables
        self.steps: list[Step] = []
        self.facts: list[Fact] = []
        self._at: dict[str, list[Step]] = {}  # on the way, by the value whose gradient it is
        self._seen: set[str] = set()

    def zero(self, node: Node) -> None:
        """A value that the output does not change with."""
        self.steps += self._used(f"d{node.name}")
        self.steps.append(self.teller.zero(node))

    def passed(self, node: Node, terms: Sequence[Term]) -> None:
        """A gradient that gets no line: what follows from it is put together from its terms."""
        if node.name is not None and node.name not in self._seen:
            self._seen.add(node.name)
            name = f"d{node.name}"
            found = self._used(name)
            for folds in self.foldables:
                told = self.teller.meaning(name, node, folds.term) if folds.node is node else None
                found += [told] if told else []
            self._at[node.name] = [*found, self.teller.form(name, node, terms)]

    def written(
        self,
        name: str,
        node: Node,
        terms: Sequence[Term],
        tree: Tree,
        syntax: ast.expr,
        lines: Iterable[Line],
    ) -> None:
        """A gradient that gets a line: `lines` lie between it and the gradients it is made of."""
        atoms = {atom for term in terms for (atom, _), _ in term.powers}
        used = {leaf.node.number for leaf in leaves(tree)} - atoms
        folds = [f for f in self.foldables if f.node.number in used]
        way = [step for line in lines for of in line.targets for step in self._at.pop(of, ())]
        facts = self._used(name)
        if node.name is None and node.expr is not None:
            self.steps.append(self.teller.part(name, node.expr))
        self.steps += [Step(name, step.text, step.latex) for step in way]
        self.steps += facts
        if (way or facts or folds or len(terms) > 1) and not is_name(terms):
            self.steps.append(self.teller.form(name, node, terms))
        self.steps += [self.teller.fold(name, f.node, f.term) for f in folds]
        self.steps.append(self.teller.line(name, ast.unparse(syntax)))

    def _used(self, name: str) -> list[Step]:
        """The facts used since the last value that was told of, each once."""
        facts = {(id(fact.of), fact.over): fact for fact in self.facts}
        self.facts.clear()
        return [self.teller.fact(name, fact) for fact in facts.values()]
