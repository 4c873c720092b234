"""From a program to a graph: every line's operations in index notation, where they can be."""

from __future__ import annotations

import ast
from collections.abc import Callable

import torch

from gradninja.algebra.index.graph import Graph, Node, renames
from gradninja.algebra.index.terms import Term
from gradninja.algebra.ops.plain_numbers import number
from gradninja.lines import ITEM, NAME, STATIC, TUPLE, Expr, Line, Program
from gradninja.rules import Book, Rule, Site


class NotLowered(Exception):
    """Raised for an operation that index notation has no terms for."""


Row = Callable[["Lowering", Site], Node]
Several = Callable[["Lowering", Site], list[Node]]
TABLE: dict[str, Row] = {}  # by the name of the rule book's row
SEVERAL: dict[str, Several] = {}  # of operations that give several outputs
OF_INTS = ("add", "sub", "rsub", "neg", "mul")  # of what is written in the same way for ints
# Tried in turn for a row that the table has no function for: which rows, and how.
OTHERWISE: list[tuple[Callable[[Rule], bool], Row]] = []
FIXED: dict[str, Callable[[Lowering, Expr], Node]] = {}  # of what no gradient flows to


def row(*names: str) -> Callable[[Row], Row]:
    """Register how the rows of these names are lowered."""

    def add(function: Row) -> Row:
        TABLE.update(dict.fromkeys(names, function))
        return function

    return add


def several(*names: str) -> Callable[[Several], Several]:
    """The same for rows whose operations give several outputs."""

    def add(function: Several) -> Several:
        SEVERAL.update(dict.fromkeys(names, function))
        return function

    return add


def otherwise(takes: Callable[[Rule], bool]) -> Callable[[Row], Row]:
    """Register a way to lower rows that have no function of their own; the first come first."""

    def add(function: Row) -> Row:
        OTHERWISE.append((takes, function))
        return function

    return add


def ways_of(rule: Rule) -> list[Row]:
    """How a row may be lowered, the best way first."""
    if rule.name in TABLE:
        return [TABLE[rule.name]]
    return [way for takes, way in OTHERWISE if takes(rule)]


class Lowering:
    """Lowers a program. `left` collects the parts of lines that want lines of their own first."""

    def __init__(self, program: Program, book: Book) -> None:
        self.program = program
        self.book = book
        self.graph = Graph()
        self.left: list[Expr] = []
        self.rules: dict[int, dict[str, Rule]] = {}  # of each line, by its id
        self.known: dict[str, Node] = {}
        self.exponentials: dict[int, Node] = {}  # what e to a node is
        # Of a logsumexp: its operand, which index was summed, and at which place.
        self.totals: dict[int, tuple[Node, int, int]] = {}
        self._by_axis: dict[str, int] = {}
        for given in program.inputs:
            node = number(self.graph, given.name, given.value)
            if node is None and not isinstance(given.value, torch.Tensor):
                continue
            if node is None:
                node = self.graph.tensor(given.value, name=given.name, flows=given.differentiable)
                axes = given.axes if given.axes and len(given.axes) == given.value.ndim else ()
                for place, axis in zip(node.places, node.axes, strict=True):
                    if axes and not axes[place].isdigit():
                        self.graph.union(self._by_axis.setdefault(axes[place], axis), axis)
            self.graph.named[given.name] = node
        for line in program.lines:
            self._line(line)
        self.graph.settle()
        self.count = len(self.graph.nodes)

    def _line(self, line: Line) -> None:
        self.current = line
        if line.several:
            for name, output in zip(line.targets, self._outputs(line), strict=True):
                self._name(line, name, output)
            return
        name = line.targets[0]
        if line.expr.op == STATIC:
            node = number(self.graph, name, line.expr.value, line.expr.syntax)
            if node is not None:
                self.graph.named[name] = node
            return
        try:
            if line.expr.op == NAME:
                other = self.node(line.expr)
                node = self.graph.tensor(line.expr.value, axes=other.axes)
                node.terms = [self.graph.itself(other)]
            else:
                node = self._operation(line.expr)
        except NotLowered:
            node = self._atom(line.expr)
            self._part_from(line.expr)
        self._name(line, name, node)

    def _outputs(self, line: Line) -> list[Node]:
        """The nodes of an operation's several outputs."""
        site = self.book.find(line.expr)
        if site is not None and site.rule.name in SEVERAL:
            try:
                found = SEVERAL[site.rule.name](self, site)
            except NotLowered:
                self._part_from(line.expr)
            else:
                self.rules.setdefault(id(line), {})[site.rule.name] = site.rule
                return found
        return [self.graph.tensor(value, opaque=True) for value in line.outputs]

    def keep(self, site: Site) -> None:
        """A small value that its own derivative needs gets a line, where it is part of one."""
        if site.expr is not self.current.expr:
            self.left.append(site.expr)

    def _part_from(self, expr: Expr) -> None:
        """Operands of an operation that is not lowered get lines of their own, where they are."""
        for operand in expr.operands:
            site = self.book.find(operand) if operand.is_tensor and operand.differentiable else None
            moves = site is not None and (site.rule.view or site.rule.name == "copy")
            if site is not None and ways_of(site.rule) and not moves and not operand.random:
                self.left.append(operand)
            elif operand.op in (ITEM, TUPLE) or operand.differentiable:
                self._part_from(operand)

    def _name(self, line: Line, name: str, node: Node) -> None:
        node.name, node.line, node.flows = name, line, line.expr.differentiable
        node.dtype = line.expr.dtype
        self.graph.named[name] = node

    def entitle(self, node: Node, site: Site) -> None:
        """Name a line's own node at once: what is made for its derivative may say its name."""
        if site.expr is self.current.expr:
            node.name = self.current.targets[0]
        else:
            node.syntax = site.expr.syntax

    def hidden(
        self,
        shape: tuple[int, ...],
        value: torch.Tensor,
        terms: list[Term],
        writes: Callable[[], ast.expr] | None,
        axes: tuple[int, ...],
        made: float,
    ) -> Node:
        """A value inside of a library call."""
        node = Node(0, shape, value, axes=axes, terms=terms, writes=writes, made=made)
        node.flows, node.line = True, self.current
        return self.graph.add(node)

    # -- expressions ------------------------------------------------------------------------

    def node(self, expr: Expr) -> Node:
        """The node of an operand; equal parts of lines are one node."""
        if expr.op == NAME:
            if str(expr) not in self.graph.named:
                raise NotLowered(str(expr))
            return self.graph.named[str(expr)]
        if expr.op == STATIC:
            found = number(self.graph, str(expr), expr.value, expr.syntax)
            if found is None:
                raise NotLowered(str(expr))
            return found
        text = str(expr)
        if text not in self.known:
            self.known[text] = self._part(expr)
        return self.known[text]

    def _part(self, expr: Expr) -> Node:
        try:
            node = self._operation(expr)
        except NotLowered:
            if not expr.is_tensor or expr.random:
                raise
            node = self._atom(expr)
            if expr.differentiable:
                self.left.append(expr)
            node.made = 2.0 * node.size
        if node.name is None:
            node.syntax, node.flows, node.line = expr.syntax, expr.differentiable, self.current
            node.expr, node.dtype = expr, expr.dtype
            if node.terms is not None and renames(self.graph, node) is None:
                parts = [o.size + (0.0 if o.name else o.made) for o in node.operands]
                node.made = max(node.made, node.size + sum(parts))
        return node

    def _atom(self, expr: Expr) -> Node:
        """A value that is not lowered; of a one-hot it is known what it sums to."""
        if expr.op in FIXED and not expr.differentiable:
            try:
                return FIXED[expr.op](self, expr)
            except NotLowered:
                pass
        return self.graph.tensor(expr.value, opaque=expr.differentiable)

    def _operation(self, expr: Expr) -> Node:
        site = self.book.find(expr) if expr.is_tensor else None
        if site is None:
            raise NotLowered(str(expr))
        name = site.rule.name
        ways = ways_of(site.rule)
        if not expr.value.is_floating_point():
            ways = ways if expr.value.dtype != torch.bool and name in OF_INTS else []
        node = self._first(ways, site)
        self.rules.setdefault(id(self.current), {})[name] = site.rule
        assert node.shape == expr.shape, (str(expr), node.shape, expr.shape)
        return node

    def _first(self, ways: list[Row], site: Site) -> Node:
        """By the first way that has terms for it."""
        for way in ways:
            try:
                return way(self, site)
            except NotLowered:
                if way is ways[-1]:
                    raise
        raise NotLowered(str(site.expr))
