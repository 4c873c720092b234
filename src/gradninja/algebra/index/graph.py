"""The forward as a graph of nodes, each a sum of terms over others, a function, or an atom."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch

from gradninja.algebra.index.terms import ONE, Indices, Term
from gradninja.lines import Expr, Line


class NotWritten(Exception):
    """Raised for a value that has neither a name nor a text."""


@dataclass(eq=False)
class Node:
    """A value: a tensor of the forward, a part of a line, or a plain number.

    `places`: the tensor's axes that are not of size 1, by position; the node has one index for
    each. `terms`: what it is equal to, over the free indices 0, 1, ...; None for an atom.
    `derivatives`: of a function that terms do not say, with respect to its operands.
    `sums`: what its sums over some axes are known to be. `absorbs`: a factor of zeros and ones that
    leaves the node as it is, since it is 0 where that factor is.
    `syntax`: how it is written where it has no name; `name`: the person's name for it.
    """

    number: int
    shape: tuple[int, ...]
    value: Any
    name: str | None = None
    syntax: ast.expr | None = None
    axes: tuple[int, ...] = ()
    terms: list[Term] | None = None
    derivatives: tuple[Derivative, ...] = ()
    sums: tuple[tuple[Indices, Term], ...] = ()
    absorbs: tuple[Node, Indices] | None = None
    line: Line | None = None
    expr: Expr | None = None  # the part of the line that it is
    flows: bool = False
    atomic: bool = False  # never written out by its terms
    static: bool = False
    opaque: bool = False  # its gradient is handed on by the derived lines
    made: float = 0.0  # what writing it again costs, where it has no name
    operands: list[Node] = field(default_factory=list)
    hot: Node | None = None  # of a one-hot: the index
    picks: bool = False  # one 1 in each row, 0 elsewhere
    selects: bool = False  # a mask that selects, as torch.where does: nothing is multiplied by it
    fills: Node | None = None  # of a mask that selects: where it lets nothing through, by a mask
    floor: bool = False  # it is -inf where what it absorbs is 0
    squared: list[Term] | None = None  # what its square is, of a length
    sign_of: tuple[Node, Fraction, Fraction] | None = None  # (a, c, s): it is c + s * sign(a)
    inverts: tuple[Node, Node, Indices] | None = None  # see `spreads.inverse`
    dtype: torch.dtype | None = None  # that it always has, where its value is wider
    applied: tuple[str, Node] | None = None  # a function and what it is called on
    writes: Callable[[], ast.expr] | None = None  # its syntax, when all names are known

    @property
    def places(self) -> tuple[int, ...]:
        return tuple(d for d, size in enumerate(self.shape) if size != 1)

    @property
    def decimal(self) -> Fraction | None:
        """What a number like 0.9, kept as it is written, is meant to be: 9 / 10."""
        if self.static and isinstance(self.syntax, ast.Constant):
            return Fraction(repr(self.syntax.value))
        return None

    @property
    def free(self) -> Indices:
        return tuple(range(len(self.places)))

    @property
    def size(self) -> int:
        found = 1
        for size in self.shape:
            found *= size
        return found

    def text(self) -> ast.expr:
        """Its name, or how it is written."""
        if self.name is not None:
            return ast.Name(self.name, ast.Load())
        if self.writes is not None:
            return self.writes()
        if self.syntax is None:
            raise NotWritten(f"{self.number} has no text")
        return self.syntax

    def __repr__(self) -> str:
        text = ast.unparse(self.syntax) if self.syntax is not None else "?"
        return f"<{self.number} {self.name or text}>"


@dataclass(frozen=True, eq=False)
class Derivative:
    """`gradient of operand = sum of terms * gradient[at]`.

    The operand's indices are free; an index of `at` that it does not have (a negative one) is
    summed. With `at` None the function is elementwise, and `at` is the operand's own indices.
    """

    operand: Node
    terms: list[Term]
    at: Indices | None = None


class Graph:
    """All nodes of a program, and which axes are the same axis.

    Two axes are one when an operation holds them to the same size: sizes that happen to be equal
    say nothing.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.named: dict[str, Node] = {}
        self._parent: list[int] = []
        self.sizes: list[int] = []  # of each axis, when the program was read
        self.size_nodes: dict[int, Node] = {}
        self.scalars: dict[str, Node] = {}

    # -- axes -------------------------------------------------------------------------------

    def axis(self, size: int) -> int:
        self._parent.append(len(self._parent))
        self.sizes.append(size)
        return len(self._parent) - 1

    def find(self, axis: int) -> int:
        while self._parent[axis] != axis:
            self._parent[axis] = self._parent[self._parent[axis]]
            axis = self._parent[axis]
        return axis

    def union(self, a: int, b: int) -> None:
        a, b = sorted((self.find(a), self.find(b)))
        self._parent[b] = a

    def extent(self, axis: int) -> Node:
        """The size of an axis as a number that terms can have."""
        root = self.find(axis)
        for known, node in self.size_nodes.items():
            if self.find(known) == root:
                return node
        node = self.add(Node(0, (), self.sizes[root], static=True))
        self.size_nodes[root] = node
        return node

    def literal(self, value: Fraction) -> Node:
        """A number as an atom, for a root of it; whole powers of it are numbers again."""
        text = str(value.numerator) if value.denominator == 1 else f"({value})"
        node = self.scalar(text)
        node.value = value
        return node

    def settle(self) -> None:
        """Once all axes are known: sizes that turned out to be the same become one number."""
        primary: dict[int, Node] = {}
        for axis, node in self.size_nodes.items():
            first = primary.setdefault(self.find(axis), node)
            if first is not node:
                node.terms = [self.itself(first)]
                first.name = first.name or node.name

    # -- nodes ------------------------------------------------------------------------------

    def add(self, node: Node) -> Node:
        node.number = len(self.nodes)
        self.nodes.append(node)
        if len(node.axes) != len(node.places):
            node.axes = tuple(self.axis(node.shape[d]) for d in node.places)
        return node

    def tensor(self, value: torch.Tensor, **rest: Any) -> Node:
        return self.add(Node(0, tuple(value.shape), value, **rest))

    def scalar(self, text: str) -> Node:
        """A plain number that is kept as it is written, such as `n - 1` or `0.044715`."""
        if text not in self.scalars:
            syntax = ast.parse(text, mode="eval").body
            self.scalars[text] = self.add(Node(0, (), None, syntax=syntax, static=True))
        return self.scalars[text]

    def itself(self, node: Node, power: Fraction = ONE, indices: Indices | None = None) -> Term:
        """The term that is a node to a power."""
        return Term.of(1, [((node.number, node.free if indices is None else indices), power)])


def renames(graph: Graph, node: Node) -> Node | None:
    """What a node is another name or view of: `s[:, None]` of s."""
    if node.terms is None or len(node.terms) != 1 or node.atomic:
        return None
    term = node.terms[0]
    single = len(term.powers) == 1 and term.powers[0][1] == 1 and term.coefficient == 1
    return graph.nodes[term.powers[0][0][0]] if single and not term.bound else None
