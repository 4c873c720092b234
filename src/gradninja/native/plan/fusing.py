"""What is kept in memory, what is worked out where it is wanted, and which loops become one.

A map is kept where several readers would work it out again at some cost, where it would be worked
out again for each element that it is broadcast to, and where a matrix product reads it. The rest
has no array. Kept maps over one space share a loop when each reads the others only at its own
place; so do sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gradninja.native.maps.compiled_text import RESERVED
from gradninja.native.maps.graph import (
    FREE,
    Check,
    Collective,
    Gemm,
    Get,
    Graph,
    Leaf,
    Map,
    Node,
    Places,
    Reduce,
    Scan,
    Scatter,
    beneath,
)
from gradninja.native.maps.places import Var, index_of
from gradninja.native.maps.scalars import Buffer, Scalar
from gradninja.native.plan.layout import Axes, place_of, strides_of
from gradninja.native.plan.products import product_of
from gradninja.native.plan.rows import grouped
from gradninja.rules.rule import FUNCTION

MOST_TOGETHER = 8  # arrays written in one loop
_CHEAP_AGAIN = 3  # additions' worth of work that is done again sooner than kept
_LONGEST = 40 * FUNCTION  # work in one expression, that texts stay readable and compile


@dataclass(eq=False)
class Stage:
    """Loops. `key` says what may share them.

    `kind` is map, reduce, scan, gemm, scatter, collective, check or update.
    """

    kind: str
    nodes: list[Node]
    key: tuple[object, ...] = ()
    check: Check | None = None
    into: Leaf | None = None  # an update's parameter
    reads: set[Buffer] = field(default_factory=set)


class Plan:
    """The stages of a graph, in order, and the arrays that they need."""

    def __init__(
        self, graph: Graph, outputs: Sequence[Node], updates: Sequence[tuple[Leaf, Node]] = ()
    ) -> None:
        """`outputs` are kept, in natural order; `updates`: parameter -= rate * gradient."""
        self.graph = graph
        self.outputs = tuple(outputs)
        self.updates = tuple(updates)
        self.roots = [*outputs, *(g for _, g in updates), *(c.node for c in graph.checks)]
        self.nodes = self._reached()
        self.users: dict[Node, list[Node]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for arg in dict.fromkeys(node.args):
                self.users[arg].append(node)
        self.last = self._written()
        self.buffers: dict[Node, Buffer] = {}
        self.strides: dict[Node, tuple[int, ...]] = {}
        self.order: dict[Node, tuple[int, ...]] = {}
        self.names: set[str] = {node.buffer.name for node in graph.nodes if isinstance(node, Leaf)}
        self.bounds: dict[Node, tuple[int, int]] = {  # of ints that are held to them
            check.node: (0, check.size - 1)
            for check in graph.checks
            if isinstance(check.node, Leaf)
        }
        self._lay_out()
        self._keep()
        self.stages: list[Stage] = []
        self._group()
        self.groups = grouped(self)

    def _reached(self) -> list[Node]:
        found: set[Node] = set()
        pending = list(self.roots)
        while pending:
            node = pending.pop()
            if node not in found:
                found.add(node)
                pending.extend(node.args)
        return sorted(found, key=lambda node: node.number)

    def _written(self) -> dict[Node, Node]:
        """What a scattering writes to where it lies: nobody else reads it; and the last that does.

        They are one array.
        """
        found: dict[Node, Node] = {}
        for node in reversed(self.nodes):
            if isinstance(node, Scatter):
                base = node.args[0]
                alone = self.users[base] == [node] and base not in self.roots
                if alone and not isinstance(base, Leaf):
                    found[base] = found.get(node, node)
        return found

    # -- memory -------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        axes = Axes(self.nodes)
        inner = axes.inner()
        for node in self.nodes:
            natural = isinstance(node, Leaf) or node in self.outputs
            order = tuple(range(len(node.shape))) if natural else axes.order(node, inner)
            self.order[node] = order
        self.order.update({node: self.order[last] for node, last in self.last.items()})
        for node, order in self.order.items():
            self.strides[node] = (
                node.strides if isinstance(node, Leaf) else strides_of(node.shape, order)
            )

    def _keep(self) -> None:
        kept = {n for n in self.nodes if not isinstance(n, Leaf | Map)}
        kept |= {n for n in self.roots if not isinstance(n, Leaf)}
        kept -= {c.node for c in self.graph.checks if isinstance(c.node, Map)} - set(self.outputs)
        kept |= {n for n in self.nodes if n.keep and not isinstance(n, Leaf)}
        for node in self.nodes:
            if isinstance(node, Gemm):
                kept |= {b for b in map(beneath, node.args) if not isinstance(b, Leaf)}
        costs: dict[Node, int] = {}
        for node in self.nodes:
            if not isinstance(node, Map):
                costs[node] = 1
                continue
            cost = node.weight + sum(1 if a in kept else costs[a] for a in dict.fromkeys(node.args))
            readers = _readers(node, self.users, kept)
            again = len(readers) > 1 and cost > _CHEAP_AGAIN
            spread = cost > 1 and any(r.size > node.size for r in readers if isinstance(r, Map))
            spread |= cost > 1 and any(
                r.args[0].size > node.size for r in readers if isinstance(r, Reduce)
            )
            if node.weight > FREE and (again or spread or cost > _LONGEST):
                kept.add(node)
            costs[node] = cost
        for node in self.nodes:
            if node in kept:
                whole = self.last.get(node, node)
                if whole not in self.buffers:
                    self._buffer(whole)
                self.buffers[node] = self.buffers[whole]
        for node in self.nodes:
            if not isinstance(node, Gemm) or product_of(self, node) is not None:
                continue
            for arg in node.args:
                if arg not in self.buffers and self.strided(arg) is None:
                    self._buffer(arg)

    def _buffer(self, node: Node) -> None:
        base = name = node.label or f"{node.near or 'part'}_part"
        count = 0
        while name in self.names or name in RESERVED:
            count += 1
            name = f"{base}_{count}"
        self.names.add(name)
        self.buffers[node] = Buffer(name, node.dtype, node.size)

    # -- elements -----------------------------------------------------------------------------

    def load(self, node: Node, at: Places) -> Scalar:
        buffer = node.buffer if isinstance(node, Leaf) else self.buffers[node]
        place = place_of(at, self.strides[node])
        return self.graph.scalars.load(buffer, place, self.bounds.get(node))

    def getter(self, inline: Sequence[Node] = ()) -> Get:
        """What gives elements: of arrays by loading them, unless they are to be worked out here."""
        here = set(inline)
        known: dict[tuple[Node, Places], Scalar] = {}

        def get(node: Node, at: Places) -> Scalar:
            if isinstance(node, Leaf) or (node in self.buffers and node not in here):
                return self.load(node, at)
            assert isinstance(node, Map)
            if (node, at) not in known:
                known[node, at] = node.pull(get, at)
            return known[node, at]

        return get

    def strided(self, node: Node) -> tuple[Buffer, int, tuple[int, ...]] | None:
        """The array, start and strides that a node's elements have in memory; None if none."""
        variables = [Var(f"v{axis}", size) for axis, size in enumerate(node.shape)]
        found = self.getter()(node, tuple(index_of(v) for v in variables))
        if found.op != "load" or found.at is None or found.buffer is None:
            return None
        strides = found.at.strides(variables)
        if strides is None or min(strides, default=0) < 0:
            return None
        return found.buffer, found.at.constant, strides

    # -- stages -------------------------------------------------------------------------------

    def _group(self) -> None:
        made: dict[Buffer, int] = {}  # which stage writes it
        floor = 0
        checks = sorted(self.graph.checks, key=lambda check: check.node.number)
        own = {self.buffers[n] for n in self.buffers}
        pending = [node for node in self.nodes if node in self.buffers]
        for check in checks:
            stage = Stage("check", [check.node], check=check)
            stage.reads = self._reads(stage)
            if not stage.reads & own:
                self.stages.append(stage)
        floor = len(self.stages)
        for check in checks:
            stage = Stage("check", [check.node], check=check)
            stage.reads = self._reads(stage)
            if stage.reads & own:  # of ints that are worked out: nothing after may come before
                before = [n for n in pending if n.number <= check.node.number]
                floor = self._place(before, made, floor)
                pending = [n for n in pending if n.number > check.node.number]
                self.stages.append(stage)
                floor = len(self.stages)
        late = self._late()
        self._place([n for n in pending if n not in late], made, floor)
        for leaf, gradient in self.updates:
            kind = "gemm" if gradient in late else "update"
            self._update(Stage(kind, [gradient], into=leaf))

    def _late(self) -> set[Node]:
        """The matrix products that go straight into a parameter, after its last use."""
        parameters = {leaf.buffer for leaf, _ in self.updates}
        found = set()
        for leaf, gradient in self.updates:
            base = gradient
            alone = [g for _, g in self.updates].count(gradient) == 1
            users = [n for n in self.nodes if gradient in n.args]
            if not isinstance(base, Gemm) or users or not alone or gradient in self.outputs:
                continue
            operands = [self.strided(arg) for arg in base.args]
            told = {o[0] for o in operands if o is not None}
            if len(base.shape) == 2 and not told & parameters and base.dtype == leaf.dtype:
                found.add(gradient)
        return found

    def _update(self, stage: Stage) -> None:
        """The updates come last, those by elements sharing loops where their spaces agree."""
        assert stage.into is not None
        stage.key = ("update", stage.into.shape, stage.into.strides)
        stage.reads = self._reads(stage)
        self.stages.append(stage)

    def _place(self, nodes: Sequence[Node], made: dict[Buffer, int], floor: int) -> int:
        for node in nodes:
            stage = self._stage(node)
            stage.reads = self._reads(stage)
            lowest = max([floor, *(made[b] + 1 for b in stage.reads if b in made)])
            mates = [made[b] for b in stage.reads if b in made]
            start = lowest
            if mates and stage.kind == "map" and max(mates) == lowest - 1 >= floor:
                start = lowest - 1
            where = next(
                (i for i in range(start, len(self.stages)) if self._may_join(i, stage, lowest)),
                None,
            )
            if where is None:
                self.stages.append(stage)
                where = len(self.stages) - 1
            else:
                self.stages[where].nodes.append(node)
                self.stages[where].reads |= stage.reads
            made[self.buffers[node]] = where
        return len(self.stages)

    def _may_join(self, index: int, stage: Stage, lowest: int) -> bool:
        group = self.stages[index]
        if group.key != stage.key or not stage.key or len(group.nodes) >= MOST_TOGETHER:
            return False
        return index >= lowest or self._pointwise(stage.nodes[0], group.nodes)

    def _pointwise(self, node: Node, mates: Sequence[Node]) -> bool:
        """Whether a map reads the others of a loop only at the place that it works on."""
        sizes = self.space(node)
        variables = [Var(f"v{i}", size) for i, size in enumerate(sizes)]
        loops = [index_of(v) for v in variables]
        written = {self.buffers[m]: place_of(self.at(m, loops), self.strides[m]) for m in mates}
        assert isinstance(node, Map)
        found = node.pull(self.getter(), self.at(node, loops))
        return all(
            written.get(s.buffer, s.at) == s.at
            for s in found.walk()
            if s.op == "load" and s.buffer is not None
        )

    def space(self, node: Node) -> tuple[int, ...]:
        """The sizes of the loops over a node, from the outermost; an axis of 1 has none."""
        return tuple(node.shape[axis] for axis in self.order[node] if node.shape[axis] != 1)

    def at(self, node: Node, loops: Sequence[object]) -> Places:
        """The place in a node at these indices of its loops."""
        rest = iter(loops)
        found = {
            axis: next(rest) if node.shape[axis] != 1 else index_of(Var("", 1))
            for axis in self.order[node]
        }
        return tuple(found[axis] for axis in range(len(node.shape)))  # type: ignore[misc]

    def _stage(self, node: Node) -> Stage:
        if isinstance(node, Map):
            space = self.space(node)
            return Stage("map", [node], key=("map", space) if space else ())
        if isinstance(node, Reduce):
            kept, reduced = self.reduced(node)
            arg = node.args[0]
            sizes = tuple(arg.shape[a] for a in kept), tuple(arg.shape[a] for a in reduced)
            return Stage("reduce", [node], key=("reduce", *sizes, self.inner_kept(node)))
        kinds = {Gemm: "gemm", Scan: "scan", Scatter: "scatter", Collective: "collective"}
        return Stage(kinds[type(node)], [node])

    def reduced(self, node: Reduce) -> tuple[list[int], list[int]]:
        """The axes of the argument that stay, and those that go, in the order of loops."""
        arg = node.args[0]
        order = [a for a in self.order[arg] if arg.shape[a] != 1]
        return [a for a in order if a not in node.axes], [a for a in order if a in node.axes]

    def inner_kept(self, node: Reduce) -> bool:
        """Whether the innermost axis of the argument stays: then sums grow side by side."""
        arg = node.args[0]
        order = [a for a in self.order[arg] if arg.shape[a] != 1]
        return bool(order) and order[-1] not in node.axes

    def scattered(self, node: Scatter) -> tuple[list[int], list[int]]:
        """The axes of a scattering's space: those whose order counts, and those that are free.

        Along a free one, what is written is another element each time; they come in the order of
        memory. Along the others, an element may be written, or added to, twice.
        """
        variables = [Var(f"v{axis}", size) for axis, size in enumerate(node.space)]
        at = tuple(index_of(v) for v in variables)
        places = node.target(self.getter(), at)
        apart = {
            axis: self.order[node].index(place)
            for axis, index in enumerate(at)
            for place, found in enumerate(places)
            if index.terms and not (found - index).terms
        }
        ordered = [axis for axis in range(len(at)) if axis not in apart]
        return ordered, sorted(apart, key=lambda axis: apart[axis])

    def _reads(self, stage: Stage) -> set[Buffer]:
        """The arrays that a stage loads from."""
        found: set[Buffer] = set()
        for node in stage.nodes:
            for scalar in self._elements(stage, node):
                found |= {s.buffer for s in scalar.walk() if s.buffer is not None}
        return found

    def _elements(self, stage: Stage, node: Node) -> list[Scalar]:
        get, graph = self.getter(), self.graph

        def of(inner: Node) -> Scalar:
            return get(inner, _anywhere(inner.shape))

        if stage.kind in ("check", "update"):
            return [of(node)]
        if isinstance(node, Map):
            return [node.pull(get, _anywhere(node.shape))]
        if isinstance(node, Scatter):
            at = _anywhere(node.space)
            places = node.target(get, at)
            base = [] if node.bare else [of(node.args[0])]
            return [*base, node.value(get, at), *map(graph.scalars.index, places)]
        return [of(arg) for arg in node.args]


def _anywhere(shape: Sequence[int]) -> Places:
    return tuple(index_of(Var(f"v{axis}", size)) for axis, size in enumerate(shape))


def _readers(node: Node, users: dict[Node, list[Node]], kept: set[Node]) -> list[Node]:
    """Who reads a node, views of it being seen through."""
    found: list[Node] = []
    for user in users[node]:
        if isinstance(user, Map) and user.weight == FREE and user not in kept:
            found += _readers(user, users, kept)
        else:
            found.append(user)
    return found
