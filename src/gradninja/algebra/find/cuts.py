"""Which gradients get names whatever else is chosen: those of what matrix products make."""

from __future__ import annotations

from gradninja.algebra.index.graph import Graph, Node
from gradninja.algebra.ops.lowering import Lowering


def cuts_of(lowering: Lowering, factors: bool = False) -> set[int]:
    """What a matrix product makes: its gradient is used twice, so it gets a name.

    `factors`: the gradients of what it is made of get names as well. The sum of P * dP is then no
    sum of dO * O, which is shorter and loses digits where P is close to 0 and 1.
    """
    graph = lowering.graph
    found = set[int]()
    for node in list(graph.nodes):
        if node.line is None or not node.flows:
            continue
        multiplied = contracted(graph, node)
        if multiplied:
            top = graph.named[node.line.targets[0]]
            # In softmax(Q @ K.T) it is the product's own.
            own = node.expr is not None and not _alike(graph, top, node)
            found.add(node.number if own else top.number)
        if factors:
            found |= {one.number for one in multiplied if one.flows and one.name is not None}
    return found


def _alike(graph: Graph, node: Node, part: Node) -> bool:
    """Whether a value is made of a part by sums, products and what is done element by element."""
    if node is part or any(each.at is not None for each in node.derivatives):
        return node is part
    below = [graph.nodes[atom] for term in node.terms or () for (atom, _), _ in term.powers]
    below += [each.operand for each in node.derivatives]
    return any(_alike(graph, one, part) for one in below if one.line is part.line)


def contracted(graph: Graph, node: Node) -> list[Node]:
    """What a matrix product is made of; empty if it is none, or a pick, or a sum of all."""
    for term in node.terms or () if node.free else ():
        atoms = [(graph.nodes[atom], set(at)) for (atom, at), _ in term.powers if at]
        pick = any(a.picks and all(other <= at for _, other in atoms) for a, at in atoms)
        if term.bound and len(atoms) > 1 and not pick:
            return [atom for atom, _ in atoms]
    return []
