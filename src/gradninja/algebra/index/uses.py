"""Who uses what in a graph: when a gradient is complete, and what leads to it."""

from __future__ import annotations

from collections.abc import Container, Iterable

from gradninja.algebra.index.graph import Graph, Node
from gradninja.lines import NAME


class Uses:
    """The uses among the first `count` nodes; `derived` are ids of lines kept in one piece."""

    def __init__(self, graph: Graph, count: int, derived: Container[int]) -> None:
        self.graph = graph
        self.count = count
        self.derived = derived

    def whole(self, node: Node) -> bool:
        """Whether a node's line is handed on by the derived lines."""
        return node.line is not None and (node.opaque or id(node.line) in self.derived)

    def operands(self, node: Node) -> list[Node]:
        """What a node is made from; for a line kept in one piece, its names."""
        if self.whole(node):
            assert node.line is not None
            names = {str(e) for e in node.line.expr.walk() if e.op == NAME}
            return [self.graph.named[n] for n in sorted(names) if n in self.graph.named]
        found = [derivative.operand for derivative in node.derivatives]
        for term in node.terms or ():
            found += [self.graph.nodes[atom] for (atom, _), _ in term.powers]
        return found

    def last(self, wanted: Iterable[int]) -> dict[int, list[Node]]:
        """The wanted nodes, by the node that is the last to give to their gradients."""
        first: dict[int, int] = {}
        for node in self.graph.nodes[: self.count]:
            for operand in self.operands(node):
                first.setdefault(operand.number, node.number)
        found: dict[int, list[Node]] = {}
        for number in wanted:
            user = self.graph.nodes[first[number]] if number in first else None
            if user is not None and user.line is not None and not self.whole(user):
                found.setdefault(user.number, []).append(self.graph.nodes[number])
        return found

    def stretch(self, here: Node, finished: Container[int]) -> set[int]:
        """The ids of the lines between the gradients that have names and a node."""
        found = set() if here.line is None else {id(here.line)}
        todo, seen = [here], {here.number}
        while todo:
            node = todo.pop()
            for user in self.graph.nodes[: self.count]:
                known = user.number in seen or not user.flows
                if known or not any(o is node for o in self.operands(user)):
                    continue
                seen.add(user.number)
                if user.line is not None:
                    found.add(id(user.line))
                if user.number not in finished:
                    todo.append(user)
        return found
