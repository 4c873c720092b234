"""One reverse walk over a graph: gradients as terms, written out where they get a name."""

from __future__ import annotations

import ast
from collections.abc import Container, Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch

from gradninja.algebra.find.choosing import Chooser
from gradninja.algebra.find.exponentials import exponentials
from gradninja.algebra.find.extract import Extractor, Foldable
from gradninja.algebra.fused import IN_ONE_GO
from gradninja.algebra.index.adjoint import adjoint
from gradninja.algebra.index.graph import Graph, Node, NotWritten
from gradninja.algebra.index.normal import Normal
from gradninja.algebra.index.terms import Indices, Powers, Term
from gradninja.algebra.index.uses import Uses
from gradninja.algebra.measure.precision import keeps_digits, rounding
from gradninja.algebra.measure.prices import PREFER, Prices
from gradninja.algebra.ops.lowering import Lowering
from gradninja.algebra.tell.record import Record
from gradninja.algebra.tell.steps import Teller
from gradninja.algebra.write.ones import without_ones
from gradninja.algebra.write.tree import Tree, leaves
from gradninja.algebra.write.writer import Writer
from gradninja.derive.statement import Statement
from gradninja.derive.temporaries import temporary_name
from gradninja.derive.walk import Walk
from gradninja.lines import Line
from gradninja.lines.scope import LIBRARY, value_of
from gradninja.rules import Rule

MOST_FACTORS = 12  # of one term of a gradient, from where on it gets a name
MOST_WAITING = 8  # terms of an input's gradient that wait for more
TOLERANCE = 1e-9  # relative, in float64
ROUNDINGS = 1e3  # of the coarsest dtype that a forward computes in, where that is more


class Mismatch(Exception):
    """Raised where a gradient that was written is not the true one; `name` says whose."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name


class Engine:
    """Walks the graph once. After `run`: `walk.statements`.

    `truth`: the derived gradients, by variable; `cuts`: numbers of nodes whose gradients get names,
    all of them if `chosen`; `derived`: ids of lines that keep their derived form; `plain`: sums
    stay in one piece.
    """

    def __init__(
        self,
        lowering: Lowering,
        normal: Normal,
        truth: Mapping[str, torch.Tensor],
        cuts: set[int],
        derived: Container[int],
        chosen: bool = False,
        plain: bool = False,
        prices: Prices = PREFER["speed"],
    ) -> None:
        self.lowering = lowering
        self.program = lowering.program
        self.graph: Graph = lowering.graph
        self.normal = normal
        self.truth = truth
        self.largest = max([1.0, *map(_largest, truth.values())])
        self.tolerance = max(TOLERANCE, ROUNDINGS * rounding(self.program.values.values()))
        self.cuts = cuts
        self.plain = plain
        self.chosen = chosen
        self.uses = Uses(self.graph, lowering.count, derived)
        self.walk = Walk(self.program, lowering.book, "readable")
        self.gradients: dict[int, list[Term]] = {}
        self.gradient_nodes: dict[int, Node] = {}
        self.foldables = [
            Foldable(node, normal.form(node)[0])
            for node in self.graph.named.values()
            if not node.static and self._folds(node)
        ]
        self.foldables += exponentials(normal, lowering.known)
        self.kept = {node.number for node in self.graph.nodes if self._is_at_hand(node)}
        self.extractor = Extractor(normal, self.foldables, prices, self.kept)
        self.costs: dict[frozenset[tuple[Fraction, Powers]], float] = {}
        self.chooser = Chooser(self.graph, normal, self._ends, self._cost, prices.call)
        self.values: dict[str, Any] = {
            **LIBRARY,
            **self.program.namespace,
            **self.program.values,
        }
        self.writer = Writer(self.graph, self._unnamed, self._aliases())
        self.record = Record(Teller(self.graph, self.program), self.foldables)
        # The lines that lie between a node and the gradients with names that it is made of.
        self.passed: dict[int, dict[int, Line]] = {}
        self.places = {id(line): at for at, line in enumerate(self.program.lines)}
        self.titles: dict[int, str] = {}  # names made for parts of lines
        self.finished: set[int] = set()
        self.told: set[int] = set()  # ids of lines that were derived
        self.here = self.graph.nodes[0]
        self.wanted = set(self.program.differentiable)

    def _is_at_hand(self, node: Node) -> bool:
        """Whether a value costs no memory to keep: an input."""
        return node.name in {given.name for given in self.program.inputs}

    def _folds(self, node: Node) -> bool:
        forms = self.normal.form(node)
        whole = len(forms) == 1 and set(node.free) <= forms[0].indices
        return whole and forms[0] != self.graph.itself(node)

    def _aliases(self) -> dict[int, list[tuple[Node, Indices]]]:
        """Named values that are other named values with their axes in another order."""
        found: dict[int, list[tuple[Node, Indices]]] = {}
        for foldable in self.foldables:
            term = foldable.term
            if term.coefficient == 1 and len(term.powers) == 1 and not term.bound:
                (atom, indices), power = term.powers[0]
                first = self.graph.nodes[atom]
                if (
                    power == 1
                    and first.name is not None
                    and len(indices) == len(foldable.node.free)
                ):
                    # The name's index i runs along the first one's axis indices.index(i).
                    order = tuple(indices.index(i) for i in foldable.node.free)
                    found.setdefault(atom, []).append((foldable.node, order))
        return found

    def _unnamed(self, node: Node) -> Tree:
        if node.terms is None:
            raise NotWritten(f"{node} has no text")
        whole = len(node.terms) > 1 or any(term.bound for term in node.terms)
        # A sum would fold back into the node itself.
        return self.extractor.extract(node.terms if whole else self.normal.normal(node.terms))

    # -- the walk ---------------------------------------------------------------------------

    def run(self, cotangents: Mapping[str, torch.Tensor], seeded: bool) -> None:
        """Walk from the outputs. Not `seeded`: the one output's gradient is 1."""
        for name, value in cotangents.items():
            node = self.graph.named[name]
            self.walk.gradient_name(name)
            if seeded:
                self.walk.totals[name] = value
                self.values[self.walk.gradient_name(name)] = value
            else:
                self.gradients[node.number] = [Term.of(1, [])]
        wanted = [self.graph.named[name].number for name in self.program.differentiable]
        last_use = self.uses.last([*wanted, *sorted(self.cuts - set(wanted))])
        for node in reversed(self.graph.nodes[: self.lowering.count]):
            if not node.flows:
                continue
            self.here = node
            if node.line is not None:
                self._node(node)
            ready = last_use.get(node.number, ())
            for operand in sorted(ready, key=lambda n: n.name in self.wanted):
                self._finish(operand)
        for given in self.program.inputs:
            if given.differentiable:
                self._finish(self.graph.named[given.name])
                self._hold(given.name, self.walk.totals[given.name], "it")
        if not seeded:
            self.walk.statements[:] = without_ones(self.walk.statements, self.values, self.wanted)

    @property
    def at(self) -> str:
        """The variable that the walk is at."""
        return self.here.name or (self.here.line.name if self.here.line else "")

    def stretch(self) -> set[int]:
        """The ids of the lines between the names that have been given and where the walk is."""
        return self.uses.stretch(self.here, self.finished)

    def _node(self, node: Node) -> None:
        line = node.line
        assert line is not None
        if self.uses.whole(node):
            if node.name is not None:
                self._derived(line)
            return
        if self._named_anyway(node) or self._is_long(node) or self._pays(node):
            self._finish(node)
        known = node.number in self.finished
        lines = {} if known else dict(self.passed.get(node.number, {}))
        lines[id(line)] = line
        terms = self._gradient(node)
        if terms and not known:
            self.record.passed(node, terms)
        for operand, term in adjoint(self.normal, node, terms):
            self.passed.setdefault(operand.number, {}).update(lines)
            found = self.gradients.setdefault(operand.number, [])
            found.append(term)
            if len(found) >= MOST_WAITING and operand.name in self.wanted:
                self._flush(operand)
        self.gradients.pop(node.number, None)

    def _named_anyway(self, node: Node) -> bool:
        known = node.name in self.walk.totals or node.name in self.wanted
        return node.number in self.cuts or (node.name is not None and known)

    def _is_long(self, node: Node) -> bool:
        """Whether what a gradient is made of is more than a line should say."""
        written = node.name is not None or node.expr is not None
        return written and any(len(t.powers) > MOST_FACTORS for t in self._gradient(node))

    def _title(self, node: Node) -> str:
        """A variable's name; for a part of a line, a name made for it."""
        if node.name is not None:
            return node.name
        if node.number not in self.titles:
            assert node.line is not None and node.expr is not None
            self.titles[node.number] = temporary_name(node.line, node.expr, self.walk.taken)
        return self.titles[node.number]

    def _pays(self, node: Node) -> bool:
        """Whether a name for a gradient makes what follows from it cheaper."""
        if self.chosen or (node.name is None and node.expr is None):
            return False
        self._gradient(node)
        return self.chooser.pays(
            node, self.gradients, lambda: self.graph.itself(self._gradient_node(node))
        )

    def _flush(self, node: Node) -> None:
        """Write what an input that is used many times was given so far; the rest is added."""
        terms = self._gradient(node)
        if len(terms) >= MOST_WAITING:
            self._write(node, terms, node.name in self.walk.totals, whole=False)
            self.gradients.pop(node.number, None)

    def _ends(self, node: Node) -> bool:
        """Whether a gradient gets a name whatever is chosen."""
        fixed = node.line is None or self.uses.whole(node)
        return fixed or self._named_anyway(node)

    def _cost(self, terms: Sequence[Term]) -> float:
        if not terms:
            return 0.0
        key = frozenset((term.coefficient, term.key) for term in terms)
        if key not in self.costs:
            self.costs[key] = self.extractor.choices(terms)[0].cost
        return self.costs[key]

    def _derived(self, line: Line) -> None:
        """A line that keeps the form that deriving gives it."""
        if id(line) in self.told:
            return
        self.told.add(id(line))
        for name in line.targets:
            self._finish(self.graph.named[name])
        if any(name in self.walk.totals for name in line.targets):
            self.walk._line(line)
            for statement in self.walk.statements:
                self.values[statement.target] = self.walk.totals.get(statement.of)

    def _gradient(self, node: Node) -> list[Term]:
        found = self.gradients.get(node.number, [])
        self.normal.used.clear()
        normal = self.normal.normal(found)
        self.record.facts += self.normal.used
        if found and not normal and node.name is not None:
            self.record.zero(node)
        self.gradients[node.number] = normal
        return normal

    # -- names ------------------------------------------------------------------------------

    def _gradient_node(self, node: Node) -> Node:
        if node.number not in self.gradient_nodes:
            name = self.walk.gradient_name(self._title(node))
            self.gradient_nodes[node.number] = self.graph.add(
                Node(0, node.shape, None, name=name, axes=node.axes)
            )
            self.kept.add(self.gradient_nodes[node.number].number)
        return self.gradient_nodes[node.number]

    def _finish(self, node: Node) -> None:
        """Give a variable's gradient a name and a line; from here on it is an atom."""
        if node.number in self.finished:
            return
        self.finished.add(node.number)
        self.here = node
        terms = self._gradient(node)
        name = self._title(node) if terms or node.name is None else node.name
        before = name in self.walk.totals
        wanted = name in self.program.differentiable
        if terms:
            self._write(node, terms, before)
        elif not before:
            if not wanted:
                return
            self.walk._untouched(name, node.value)
            self.walk.statements[-1].line = self._line_of(node)
        self.gradients[node.number] = [self.graph.itself(self._gradient_node(node))]

    def _write(self, node: Node, terms: list[Term], adds: bool, whole: bool = True) -> None:
        name = self._title(node)
        passed = self._passed(node)
        line = passed[-1] if passed else self._line_of(node)
        typed = line.name if node.line is None else node.line.name
        trees = self.extractor.choices(terms)
        syntax = self.writer.statement(trees[0], node, typed)
        if len(trees) > 1 and self.plain:
            trees = trees[-1:]
            syntax = self.writer.statement(trees[0], node, typed)
        elif len(trees) > 1:
            safe = self.writer.statement(trees[-1], node, typed)
            if not keeps_digits(syntax, safe, self.values):
                syntax, trees = safe, trees[-1:]
        try:
            value = value_of(syntax, self.values)
        except Exception as error:
            raise Mismatch(name, f"`{ast.unparse(syntax)}` does not run: {error}") from None
        if node.name is not None and value.dtype != node.value.dtype:
            syntax, value = self.writer.cast(syntax), value.to(node.value.dtype)
        written = self.walk.gradient_name(name)
        self.record.written(written, node, terms, trees[0], syntax, passed)
        self.kept |= {leaf.node.number for leaf in leaves(trees[0])}
        total = self.walk.totals[name] + value if adds else value
        if whole:
            self._hold(name, total, f"`{ast.unparse(syntax)}`")
        self.walk.current = line
        if adds:
            self.walk._freshen(name)
        self.walk._state(
            Statement(
                self.walk.gradient_name(name),
                name,
                line,
                node.shape,
                value=syntax,
                adds=adds,
                shared=not adds and self.walk._shares(value),
                rules=tuple(self._rules(passed)),
                notes=_in_one_go(passed),
            )
        )
        self.walk.totals[name] = total
        gradient = self._gradient_node(node)
        self.values[gradient.name or ""] = total
        adds = adds or not whole
        self.normal.learn()
        self.normal.divisors.learn(gradient, terms)
        if not adds:
            gradient.absorbs = self.normal.absorbed(terms)
        if len(terms) > 1 and not adds:
            self.normal.vanishes(gradient, terms)
        if len(terms) == 1 and not adds and set(node.free) <= terms[0].indices:
            self.foldables.append(Foldable(gradient, terms[0]))
            self.extractor.add(self.foldables[-1])
            self.costs.clear()  # what folds into it is cheaper now

    def _passed(self, node: Node) -> list[Line]:
        """The forward's lines that a gradient answers, the last first."""
        passed = self.passed.pop(node.number, {})
        return sorted(passed.values(), key=lambda line: self.places[id(line)], reverse=True)

    def _rules(self, lines: Sequence[Line]) -> list[Rule]:
        found: dict[str, Rule] = {}
        for line in lines:
            found.update(self.lowering.rules.get(id(line), {}))
        return list(found.values())

    def _line_of(self, node: Node) -> Line:
        """The first line that uses an input."""
        for line in self.program.lines:
            if any(e.op == "name" and str(e) == node.name for e in line.expr.walk()):
                return line
        return self.program.lines[-1]

    def _hold(self, name: str, value: torch.Tensor, what: str) -> None:
        """Compare with the truth."""
        if name not in self.truth:  # of a part of a line: what follows from it is held
            return
        true = self.truth[name]
        if value.shape != true.shape or value.dtype != true.dtype:
            raise Mismatch(name, f"{what} is {value.dtype} of shape {tuple(value.shape)}")
        off, scale = _largest(value - true), _largest(true)
        if not off <= self.tolerance * (scale + 1e-3 * self.largest):
            raise Mismatch(name, f"{what} is off by {off:.1e}")


def _in_one_go(lines: Sequence[Line]) -> tuple[str, ...]:
    if len(lines) < 2:
        return ()
    return (", ".join(line.name for line in lines) + IN_ONE_GO,)


def _largest(tensor: torch.Tensor) -> float:
    return float(tensor.nan_to_num().abs().max()) if tensor.numel() else 0.0
