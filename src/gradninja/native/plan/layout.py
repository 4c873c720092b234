"""How arrays lie in memory: which of their axes are the same one, and which lies innermost.

Elements that are worked out together should lie side by side, over as many lines as can be. The
axis of the batch does best: no parameter has it, so every activation and every gradient of one can
have it innermost, and then hardly a matrix product or a sum has to turn anything round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from gradninja.native.maps.graph import Gemm, Get, Leaf, Map, Node, Places, Reduce, Scatter
from gradninja.native.maps.places import Index, Part, Var, index_of
from gradninja.native.maps.scalars import Scalar, Scalars

Axis = tuple[Node, int]
Join = Callable[[Axis, Axis], None]


class Axes:
    """Classes of axes that run together."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.parent: dict[Axis, Axis] = {}
        self.parts: dict[Axis, list[Axis]] = {}  # of an axis that several were made by a view
        self.nodes = list(nodes)
        for node in self.nodes:
            self._read(node)

    def find(self, axis: Axis) -> Axis:
        """The one that stands for its class."""
        while self.parent.get(axis, axis) != axis:
            axis = self.parent[axis]
        return axis

    def _join(self, one: Axis, other: Axis) -> None:
        first, second = self.find(one), self.find(other)
        if first != second:
            self.parent[first] = second

    def _read(self, node: Node) -> None:
        if isinstance(node, Map):
            _probe(node, self._join, self.parts)
        elif isinstance(node, Reduce):
            kept = [a for a in range(len(node.args[0].shape)) if a not in node.axes]
            for place, axis in enumerate(kept):
                self._join((node, place), (node.args[0], axis))
        elif isinstance(node, Gemm):
            a, b = node.args
            last = len(node.shape) - 1
            for axis in range(last - 1):
                self._join((node, axis), (a, axis))
                self._join((node, axis), (b, axis))
            self._join((node, last - 1), (a, last - 1))
            self._join((node, last), (b, last))
            self._join((a, last), (b, last - 1))
        elif node.args and node.args[0].shape == node.shape:  # a scattering keeps its base's axes
            for axis in range(len(node.shape)):
                self._join((node, axis), (node.args[0], axis))
            if isinstance(node, Scatter):
                _probe_written(node, self._join)

    def inner(self) -> tuple[Axis, ...]:
        """The classes that lie innermost, the batch's last; none where there is no batch.

        The batch is what no float input has and the most arrays have. Beside it lie the other axes
        of rows that products take by one matrix (`x @ W` of x (batch, time, width)): the rows are
        then one axis, with one stride.
        """
        taken = {
            self.find((node, axis))
            for node in self.nodes
            if isinstance(node, Leaf) and "float" in node.dtype
            for axis in range(len(node.shape))
        }
        counts = Counter(
            self.find((node, axis))
            for node in self.nodes
            if "float" in node.dtype
            for axis, size in enumerate(node.shape)
            if size > 1
        )
        batch = next((axis for axis, _ in counts.most_common() if axis not in taken), None)
        if batch is None:
            return ()
        beside = Counter(
            axis
            for node in self.nodes
            if isinstance(node, Gemm) and _is_spread(node.args[1])
            for axis in self._rows(node)
            if batch in self._rows(node) and axis != batch
        )
        return (*(axis for axis, _ in reversed(beside.most_common())), batch)

    def _rows(self, node: Gemm) -> list[Axis]:
        sizes = node.shape[:-1]
        return [self.find((node, axis)) for axis, size in enumerate(sizes) if size > 1]

    def order(self, node: Node, inner: Sequence[Axis]) -> tuple[int, ...]:
        """The axes of an array from the outermost to the innermost."""
        ranks = {axis: place for place, axis in enumerate(inner, 1)}

        def rank(axis: Axis) -> int:
            return max([ranks.get(self.find(axis), 0), *map(rank, self.parts.get(axis, ()))])

        axes = range(len(node.shape))
        return tuple(sorted(axes, key=lambda axis: rank((node, axis))))


def _is_spread(node: Node) -> bool:
    """Whether a matrix is the same one for all of its product's leading axes."""
    return isinstance(node, Map) and bool(node.args) and node.args[0].size < node.size


def _probe(node: Map, join: Join, parts: dict[Axis, list[Axis]]) -> None:
    """Join the axes of a map with those of its arguments that it takes over as they are.

    `parts`: where one is of several of its arguments', one after the other.
    """
    at = tuple(index_of(Var(f"v{axis}", size)) for axis, size in enumerate(node.shape))
    get = _probing(node, at, join)

    def probe(inner: Node, found: Places) -> Scalar:
        for axis, index in enumerate(at):
            made = [a for a, of in enumerate(found) if index.terms and _is_part(of, index)]
            if len(made) > 1:
                parts.setdefault((node, axis), []).extend((inner, a) for a in made)
        return get(inner, found)

    node.pull(probe, at)


def _is_part(index: Index, of: Index) -> bool:
    """Whether an index is another's quotient, or what is left of it."""
    atoms = [atom for atom, _ in index.terms]
    return any(isinstance(atom, Part) and atom.of.variables() == of.variables() for atom in atoms)


def _probe_written(node: Scatter, join: Join) -> None:
    """The same of a scattering, with the axes of what it writes."""
    at = tuple(index_of(Var(f"v{axis}", size)) for axis, size in enumerate(node.space))
    places = node.target(_probing(node, (), join), at)
    node.value(_probing(node, places, join), at)


def _probing(node: Node, at: Places, join: Join) -> Get:
    """What joins each axis of a node, at these places, with those that are read at the same."""
    scalars = Scalars()
    axes = {index: axis for axis, index in enumerate(at) if node.shape[axis] > 1}

    def get(inner: Node, found: Places) -> Scalar:
        for place, index in enumerate(found):
            axis = axes.get(index)
            if axis is None:
                continue
            # Of a parameter also a part counts: where it is read, no batch is.
            if inner.shape[place] == node.shape[axis] or isinstance(inner, Leaf):
                join((node, axis), (inner, place))
        return scalars.call(f"probe {inner.number} {found}", inner.dtype)

    return get


def strides_of(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """The strides of an array whose axes lie in this order."""
    strides, step = [0] * len(shape), 1
    for axis in reversed(order):
        strides[axis] = step
        step *= max(shape[axis], 1)
    return tuple(strides)


def place_of(at: Places, strides: Sequence[int]) -> Index:
    """The place in memory of an element."""
    total = Index()
    for index, stride in zip(at, strides, strict=True):
        total = total + index * stride
    return total
