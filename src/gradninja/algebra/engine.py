"""One reverse walk over a graph: gradients as terms, written out where they get a name."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import torch

from gradninja.algebra.adjoint import adjoint
from gradninja.algebra.extract import Extractor, Foldable
from gradninja.algebra.graph import Graph, Node
from gradninja.algebra.lower import Lowering
from gradninja.algebra.normal import Normal
from gradninja.algebra.terms import Term
from gradninja.algebra.tree import Tree
from gradninja.algebra.writer import Writer
from gradninja.derive.statement import Statement
from gradninja.derive.template import LIBRARY
from gradninja.derive.walk import Walk
from gradninja.lines import Line

TOLERANCE = 1e-9  # relative, in float64


class Mismatch(Exception):
    """Raised where a gradient that was written is not the true one; `name` says whose."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name


class Engine:
    """Walks the graph once. After `run`: `walk.statements`."""

    def __init__(
        self,
        lowering: Lowering,
        normal: Normal,
        truth: Mapping[str, torch.Tensor],
        cuts: set[str],
        derived: set[int],
    ) -> None:
        self.lowering = lowering
        self.program = lowering.program
        self.graph: Graph = lowering.graph
        self.normal = normal
        self.truth = truth
        self.cuts = cuts
        self.derived = derived  # ids of lines that keep their derived form
        self.walk = Walk(self.program, lowering.book, "readable")
        self.gradients: dict[int, list[Term]] = {}
        self.gradient_nodes: dict[str, Node] = {}
        self.foldables = [
            Foldable(node, normal.form(node)[0])
            for node in self.graph.named.values()
            if not node.static and self._folds(node)
        ]
        self.values: dict[str, Any] = {
            **LIBRARY,
            **self.program.namespace,
            **self.program.values,
        }
        self.writer = Writer(self.graph, self._unnamed)
        self.finished: set[int] = set()

    def _folds(self, node: Node) -> bool:
        forms = self.normal.form(node)
        return len(forms) == 1 and forms[0] != self.graph.itself(node)

    def _unnamed(self, node: Node) -> Tree:
        assert node.terms is not None, node
        return Extractor(self.normal, self.foldables).extract(node.terms)

    # -- the walk ---------------------------------------------------------------------------

    def run(self, cotangents: Mapping[str, torch.Tensor], seeded: bool) -> None:
        """Walk from the outputs. Not `seeded`: the one output's gradient is 1."""
        for name, value in cotangents.items():
            node = self.graph.named[name]
            self.walk.gradient_name(name)
            if seeded:
                self.walk.totals[name] = value
                self.values[self.walk.gradient_name(name)] = value
                self.gradients[node.number] = [self.graph.itself(self._gradient_node(node))]
            else:
                self.gradients[node.number] = [Term.of(1, [])]
        last_use = self._last_uses()
        for node in reversed(self.graph.nodes[: self.lowered]):
            if not node.flows or node.number in self.finished:
                continue
            if node.line is not None:
                self._node(node)
            for given in last_use.get(node.number, ()):
                self._finish(given)
        for given in self.program.inputs:
            if given.differentiable:
                self._finish(self.graph.named[given.name])

    @property
    def lowered(self) -> int:
        return self.lowering.count

    def _last_uses(self) -> dict[int, list[Node]]:
        """Inputs by the node whose adjoint is the last to give them something."""
        first: dict[int, int] = {}
        for node in self.graph.nodes[: self.lowered]:
            for operand in self._operands(node):
                first.setdefault(operand.number, node.number)
        found: dict[int, list[Node]] = {}
        for given in self.program.inputs:
            node = self.graph.named[given.name]
            if given.differentiable and node.number in first:
                user = self.graph.nodes[first[node.number]]
                if user.line is not None and id(user.line) not in self.derived and not user.opaque:
                    found.setdefault(user.number, []).append(node)
        return found

    def _operands(self, node: Node) -> list[Node]:
        if node.line is not None and (node.opaque or id(node.line) in self.derived):
            names = {str(e) for e in node.line.expr.walk() if e.op == "name"}
            return [self.graph.named[name] for name in sorted(names)]
        found = [operand for operand, _ in node.derivatives]
        for term in node.terms or ():
            found += [self.graph.nodes[atom] for (atom, _), _ in term.powers]
        return found

    def _node(self, node: Node) -> None:
        line = node.line
        assert line is not None
        if node.opaque or id(line) in self.derived:
            if node.name is not None:
                self._derived(line)
            return
        if node.name is not None and (node.name in self.cuts or node.name in self.walk.totals):
            self._finish(node)
        gradient = self._gradient(node)
        for operand, term in adjoint(self.normal, node, gradient):
            self.gradients.setdefault(operand.number, []).append(term)

    def _derived(self, line: Line) -> None:
        """A line that keeps the form that deriving gives it."""
        for name in line.targets:
            self._finish(self.graph.named[name])
        if any(name in self.walk.totals for name in line.targets):
            self.walk._line(line)
            for statement in self.walk.statements:
                self.values[statement.target] = self.walk.totals.get(statement.of)

    def _gradient(self, node: Node) -> list[Term]:
        found = self.gradients.get(node.number, [])
        normal = self.normal.normal(found)
        self.gradients[node.number] = normal
        return normal

    # -- names ------------------------------------------------------------------------------

    def _gradient_node(self, node: Node) -> Node:
        assert node.name is not None
        if node.name not in self.gradient_nodes:
            name = self.walk.gradient_name(node.name)
            self.gradient_nodes[node.name] = self.graph.add(
                Node(0, node.shape, None, name=name, axes=node.axes, atomic=True)
            )
        return self.gradient_nodes[node.name]

    def _finish(self, node: Node) -> None:
        """Give a variable's gradient a name and a line; from here on it is an atom."""
        name = node.name
        assert name is not None
        if node.number in self.finished:
            return
        self.finished.add(node.number)
        terms = self._gradient(node)
        before = name in self.walk.totals
        wanted = name in self.program.differentiable
        if terms and not (before and self._is_itself(node, terms)):
            if not wanted and not before and self._is_name(terms):
                pass
            self._write(node, terms, before)
        elif not before:
            if not wanted:
                return
            self.walk._untouched(name, node.value)
        self.gradients[node.number] = [self.graph.itself(self._gradient_node(node))]

    def _is_itself(self, node: Node, terms: list[Term]) -> bool:
        return terms == [self.graph.itself(self._gradient_node(node))]

    def _is_name(self, terms: list[Term]) -> bool:
        return len(terms) == 1 and terms[0].coefficient == 1 and len(terms[0].powers) == 1

    def _write(self, node: Node, terms: list[Term], adds: bool) -> None:
        name = node.name
        assert name is not None
        tree = Extractor(self.normal, self.foldables).extract(terms)
        syntax = self.writer.statement(tree, node)
        try:
            value = eval(ast.unparse(syntax), dict(self.values))
        except Exception as error:
            raise Mismatch(name, f"`{ast.unparse(syntax)}` does not run: {error}") from None
        total = self.walk.totals[name] + value if adds else value
        self._hold(name, total, syntax)
        if adds:
            self.walk._freshen(name)
        line = node.line or self._line_of(node)
        self.walk._state(
            Statement(
                self.walk.gradient_name(name),
                name,
                line,
                node.shape,
                value=syntax,
                adds=adds,
                shared=not adds and self.walk._shares(value),
            )
        )
        self.walk.totals[name] = total
        gradient = self._gradient_node(node)
        self.values[gradient.name or ""] = total
        if len(terms) == 1 and not adds:
            self.foldables.append(Foldable(gradient, terms[0]))

    def _line_of(self, node: Node) -> Line:
        """The first line that uses an input."""
        for line in self.program.lines:
            if any(e.op == "name" and str(e) == node.name for e in line.expr.walk()):
                return line
        return self.program.lines[-1]

    def _hold(self, name: str, value: torch.Tensor, syntax: ast.expr) -> None:
        """Compare with the truth."""
        true = self.truth[name]
        if value.shape != true.shape or value.dtype != true.dtype:
            raise Mismatch(name, f"`{ast.unparse(syntax)}` has shape {tuple(value.shape)}")
        scale = float(true.nan_to_num().abs().max()) if true.numel() else 0.0
        off = float((value - true).nan_to_num().abs().max()) if true.numel() else 0.0
        largest = max([1.0, *(float(t.nan_to_num().abs().max()) for t in self.truth.values())])
        if not off <= TOLERANCE * (scale + 1e-3 * largest):
            raise Mismatch(name, f"`{ast.unparse(syntax)}` is off by {off:.1e}")
