"""How the rule book's rows are written in index notation: arithmetic, sums, products, moves."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from gradninja.algebra.index.graph import Graph, Node, renames
from gradninja.algebra.index.terms import ONE, Indices, Term, fresh, indices_of
from gradninja.algebra.ops.lowering import Lowering, NotLowered, row
from gradninja.algebra.ops.plain_numbers import fraction, scalar_term
from gradninja.rules import Site

POWERS = {
    "square": Fraction(2),
    "sqrt": Fraction(1, 2),
    "rsqrt": Fraction(-1, 2),
    "reciprocal": Fraction(-1),
}


def normal_bound(graph: Graph, node: Node) -> bool:
    """Whether a node is a sum over something, once products are written out."""
    if node.terms is None or len(node.terms) != 1 or node.atomic:
        return False
    term = node.terms[0]
    return bool(term.bound) or any(normal_bound(graph, graph.nodes[a]) for (a, _), _ in term.powers)


def base(graph: Graph, node: Node, power: Fraction) -> None:
    """Keep a node in one piece where a power cannot be written out factor by factor."""
    if power == 1 or node.static or node.terms is None:
        return
    other = renames(graph, node)
    if other is not None:
        base(graph, other, power)
        return
    if power.denominator != 1 and not _plain(graph, node):
        node.atomic = True
    if normal_bound(graph, node):
        node.atomic = True


def _plain(graph: Graph, node: Node) -> bool:
    """An atom, or another name for one: a root of it is no root of a product."""
    if node.terms is None or len(node.terms) != 1 or node.atomic:
        return True
    other = renames(graph, node)
    return other is not None and not other.static and _plain(graph, other)


def broadcast(graph: Graph, shape: Sequence[int], nodes: Sequence[Node]) -> list[Indices]:
    """Each node's indices when all are broadcast to `shape`; one axis where they meet."""
    free = {d: i for i, d in enumerate(d for d, size in enumerate(shape) if size != 1)}
    axes: dict[int, int] = {}
    found = []
    for node in nodes:
        lead = len(shape) - len(node.shape)
        found.append(tuple(free[lead + place] for place in node.places))
        for place, axis in zip(node.places, node.axes, strict=True):
            if lead + place in axes:
                graph.union(axes[lead + place], axis)
            axes[lead + place] = axis
    return found


def result(
    low: Lowering, site: Site, shape: tuple[int, ...], nodes: Sequence[Node], terms: list[Term]
) -> Node:
    """The node of an operation, whose axes are those of the factors in its terms."""
    graph = low.graph
    node = Node(0, shape, site.y, terms=terms)
    places = node.places
    axes: list[int] = []
    for index in range(len(places)):
        seen = [
            graph.nodes[a].axes[ind.index(index)]
            for term in terms
            for (a, ind), _ in term.powers
            if index in ind
        ]
        axis = seen[0] if seen else graph.axis(shape[places[index]])
        for other in seen[1:]:
            graph.union(axis, other)
        axes.append(axis)
    node.axes = tuple(axes)
    node.operands = list(nodes)
    return graph.add(node)


def powers_of(node: Node, indices: Indices, power: Fraction = ONE) -> Term:
    return Term.of(1, [((node.number, indices), power)])


def _operands(low: Lowering, site: Site, *formals: str) -> list[Node]:
    return [low.node(site.bound[f]) for f in formals]


def _scale(low: Lowering, site: Site, formal: str) -> Term:
    """A plain number among the operands (`alpha`, `value`) as a term."""
    expr = site.bound[formal]
    if not isinstance(expr.value, int | float) or isinstance(expr.value, bool):
        raise NotLowered(formal)
    found = scalar_term(low.graph, expr.syntax)
    if found is None:
        return low.graph.itself(low.node(expr))
    return found


@row("add", "sub", "rsub")
def _add(low: Lowering, site: Site) -> Node:
    a, b = _operands(low, site, "a", "b")
    ia, ib = broadcast(low.graph, site.y.shape, [a, b])
    sign = {"add": (1, 1), "sub": (1, -1), "rsub": (-1, 1)}[site.rule.name]
    left, right = powers_of(a, ia).scaled(sign[0]), powers_of(b, ib).scaled(sign[1])
    if "alpha" in site.bound:
        scale = _scale(low, site, "alpha")
        left, right = (left.times(scale), right) if sign[0] < 0 else (left, right.times(scale))
    y = result(low, site, tuple(site.y.shape), [a, b], [left, right])
    if a.floor and not b.floor and a.shape == y.shape and sign[0] > 0:
        y.floor, y.absorbs = True, a.absorbs  # -inf, whatever is added
    return y


@row("lerp")
def _lerp(low: Lowering, site: Site) -> Node:
    """`a + weight * (b - a)`."""
    a, b = _operands(low, site, "a", "b")
    number = not site.is_tensor("weight")
    nodes = [a, b] if number else [a, b, low.node(site.bound["weight"])]
    indices = broadcast(low.graph, site.y.shape, nodes)
    first, second = powers_of(a, indices[0]), powers_of(b, indices[1])
    share = _scale(low, site, "weight") if number else powers_of(nodes[2], indices[2])
    terms = [first, second.times(share), first.times(share).scaled(-1)]
    return result(low, site, tuple(site.y.shape), nodes, terms)


@row("neg")
def _neg(low: Lowering, site: Site) -> Node:
    (a,) = _operands(low, site, "a")
    return result(low, site, a.shape, [a], [low.graph.itself(a).scaled(-1)])


@row("pos", "copy", "unsqueeze")
def _same(low: Lowering, site: Site) -> Node:
    (a,) = _operands(low, site, "a")
    return result(low, site, tuple(site.y.shape), [a], [low.graph.itself(a)])


@row("cast")
def _cast(low: Lowering, site: Site) -> Node:
    """A cast between floats, of values that are float64 (see `widened`): a line casts what it gives
    to the dtype of what it is the gradient of."""
    if site.value("a").dtype != site.y.dtype:
        raise NotLowered("a cast")
    return _same(low, site)


@row("reshape")
def _squeeze(low: Lowering, site: Site) -> Node:
    """Axes of size 1 put in or taken out: always so for a vector, else where the name says it."""
    vector = all(sum(size != 1 for size in s) <= 1 for s in (site.shape("a"), site.y.shape))
    if not vector and not site.expr.op.endswith("squeeze"):
        raise NotLowered("a reshape joins or parts axes")
    return _same(low, site)


@row("view of a part")
def _newaxis(low: Lowering, site: Site) -> Node:
    """`b[:, None]`."""
    basic = site.value("basic")
    for part in basic if isinstance(basic, tuple) else (basic,):
        if part is not None and part is not Ellipsis and part != slice(None):
            raise NotLowered("a part")
    return _same(low, site)


@row("mul", "div")
def _mul(low: Lowering, site: Site) -> Node:
    if site.value_or("rounding_mode", None) is not None:
        raise NotLowered("rounding")
    a, b = _operands(low, site, "a", "b")
    power = ONE if site.rule.name == "mul" else -ONE
    if not b.static:
        base(low.graph, b, power)
    ia, ib = broadcast(low.graph, site.y.shape, [a, b])
    product = powers_of(a, ia).times(powers_of(b, ib, power))
    return result(low, site, tuple(site.y.shape), [a, b], [product])


@row("pow", "square", "sqrt", "rsqrt", "reciprocal")
def _pow(low: Lowering, site: Site) -> Node:
    name = site.rule.name
    power = fraction(site.value("b")) if name == "pow" else POWERS[name]
    if power is None or power == 0 or (name == "pow" and not site.fixed("b")):
        raise NotLowered("a power that is no fixed number")
    (a,) = _operands(low, site, "a")
    if a.static:
        raise NotLowered("a number to a tensor's power")
    base(low.graph, a, power)
    return result(low, site, a.shape, [a], [low.graph.itself(a, power)])


@row("sum", "mean")
def _sum(low: Lowering, site: Site) -> Node:
    if site.value_or("dtype", None) is not None:
        raise NotLowered("a sum in another dtype")
    (a,) = _operands(low, site, "a")
    dims = site.dims()
    indices, bound, scale = summed(low.graph, a, dims)
    term = Term.of(1, [((a.number, indices), ONE)], bound)
    if site.rule.name == "mean":
        term = term.times(scale)
    return result(low, site, tuple(site.y.shape), [a], [term])


def summed(graph: Graph, a: Node, dims: Sequence[int]) -> tuple[Indices, list[int], Term]:
    """A node's indices when it is summed over `dims`, which of them are bound, and 1 / count."""
    indices: list[int] = []
    bound: list[int] = []
    scale = Term.of(1, [])
    for place, axis in zip(a.places, a.axes, strict=True):
        if place in dims:
            bound.append(fresh())
            indices.append(bound[-1])
            scale = scale.times(graph.itself(graph.extent(axis), -ONE))
        else:
            indices.append(len(indices) - len(bound))
    return tuple(indices), bound, scale


@row("matmul", "mm", "bmm", "mv", "dot")
def _matmul(low: Lowering, site: Site) -> Node:
    a, b = _operands(low, site, "a", "b")
    return result(low, site, tuple(site.y.shape), [a, b], [product(low, site, a, b)])


def product(low: Lowering, site: Site, a: Node, b: Node) -> Term:
    """`a @ b`, batched and with vectors as torch.matmul has it."""
    graph, shape = low.graph, tuple(site.y.shape)
    rank = max(len(a.shape), 2) - 2, max(len(b.shape), 2) - 2
    batch = max(rank)
    letters_a = [*range(batch - rank[0], batch), "i", "k"] if len(a.shape) > 1 else ["k"]
    letters_b = [*range(batch - rank[1], batch), "k", "j"] if len(b.shape) > 1 else ["k"]
    out = [
        *range(batch),
        *(["i"] if len(a.shape) > 1 else []),
        *(["j"] if len(b.shape) > 1 else []),
    ]
    free: dict[object, int] = {}
    for letter, size in zip(out, shape, strict=True):
        if size != 1:
            free[letter] = len(free)
    free["k"] = fresh()
    factors = []
    axes: dict[int, int] = {}
    for node, letters in ((a, letters_a), (b, letters_b)):
        indices = tuple(free[letters[place]] for place in node.places)
        factors.append(((node.number, indices), ONE))
        for index, axis in zip(indices, node.axes, strict=True):
            if index in axes:
                graph.union(axes[index], axis)
            axes[index] = axis
    return Term.of(1, factors, {free["k"]} & indices_of(factors))


def turned(low: Lowering, node: Node) -> Node:
    """`weight.T`."""
    rank = {place: at for at, place in enumerate(sorted(1 - place for place in node.places))}
    indices = tuple(rank[1 - place] for place in node.places)
    found = Node(0, node.shape[::-1], node.value.T, axes=node.axes[::-1])
    found.terms = [powers_of(node, indices)]
    found.flows, found.line = node.flows, low.current
    return low.graph.add(found)


@row("linear", "addmm")
def _linear(low: Lowering, site: Site) -> Node:
    """`x @ weight.T + bias`, and `bias + a @ b`."""
    a = low.node(site.bound["a"])
    if site.rule.name == "linear":
        weight = low.node(site.bound["weight"])
        if len(weight.shape) != 2:
            raise NotLowered("a weight that is a vector")
        b = turned(low, weight)
    elif site.value("beta") == 1 and site.value("alpha") == 1:
        b = low.node(site.bound["b"])
    else:
        raise NotLowered("a scaled sum")
    terms, nodes = [product(low, site, a, b)], [a, b]
    if site.value("bias") is not None:
        bias = low.node(site.bound["bias"])
        (indices,) = broadcast(low.graph, site.y.shape, [bias])
        terms.append(powers_of(bias, indices))
        nodes.append(bias)
    return result(low, site, tuple(site.y.shape), nodes, terms)


@row("einsum")
def _einsum(low: Lowering, site: Site) -> Node:
    """Letters for every axis, none of them twice in one operand."""
    equation = site.value("equation").replace(" ", "")
    inputs, arrow, out = equation.partition("->")
    operands = [low.node(e) for e in site.bound["tensors"].args]
    words = inputs.split(",")
    clean = all(len(set(w)) == len(w) and w.isalpha() for w in words)
    if not arrow or not clean or not (out.isalpha() or not out) or not operands:
        raise NotLowered("an equation without letters for every axis")
    shape = tuple(site.y.shape)
    places = [letter for letter, size in zip(out, shape, strict=True) if size != 1]
    names = {letter: at for at, letter in enumerate(places)}
    axes: dict[int, int] = {}
    factors = []
    for word, node in zip(words, operands, strict=True):
        indices = tuple(names.setdefault(word[place], fresh()) for place in node.places)
        factors.append(((node.number, indices), ONE))
        for index, axis in zip(indices, node.axes, strict=True):
            low.graph.union(axes.setdefault(index, axis), axis)
    bound = {i for i in indices_of(factors) if i >= len(places)}
    return result(low, site, shape, operands, [Term.of(1, factors, bound)])


@row("T", "mT", "transpose", "permute", "movedim")
def _move(low: Lowering, site: Site) -> Node:
    (a,) = _operands(low, site, "a")
    order = _order(site, len(a.shape))
    rank = {place: at for at, place in enumerate(d for d in order if a.shape[d] != 1)}
    term = powers_of(a, tuple(rank[place] for place in a.places))
    return result(low, site, tuple(site.y.shape), [a], [term])


def _order(site: Site, ndim: int) -> list[int]:
    """The operand's axis at each place of the result."""
    order = list(range(ndim))
    name = site.rule.name
    if name == "T" or not order:
        return order[::-1]
    if name == "permute":
        return [d % ndim for d in site.value("dims")]
    if name == "movedim":
        source, destination = site.value("source"), site.value("destination")
        if not isinstance(source, int) or not isinstance(destination, int):
            raise NotLowered("several axes moved")
        order.insert(destination % ndim, order.pop(source % ndim))
        return order
    first, second = (-2, -1) if name == "mT" else (site.value("dim0"), site.value("dim1"))
    order[first % ndim], order[second % ndim] = order[second % ndim], order[first % ndim]
    return order


@row("expand")
def _expand(low: Lowering, site: Site) -> Node:
    a = low.node(site.bound["a"])
    (indices,) = broadcast(low.graph, site.y.shape, [a])
    return result(low, site, tuple(site.y.shape), [a], [powers_of(a, indices)])
