"""Stages -> Python text, with the person's names and lines beside the loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from gradninja.native.maps.graph import Collective, Gemm, Leaf, Reduce, Scan, Scatter
from gradninja.native.maps.places import Index, Var, index_of
from gradninja.native.plan.fusing import Plan, Stage
from gradninja.native.plan.growing import START, asks_twice, grown, start_of
from gradninja.native.plan.layout import place_of
from gradninja.native.plan.loops import LETTERS, Body, Evaluate, Store, far_first, fit, number
from gradninja.native.plan.products import Axis, Product, product_of, variables
from gradninja.native.plan.rows import Group, axes_of, sizes_of, stores_of

INDENT = "    "
_SHORT = 32  # steps of a sum that are written out
_PRODUCT = {"float32": "product_float32", "float64": "product_float64"}


class Writer:
    """Writes the body of a plan. After `body`: `lines`."""

    def __init__(self, plan: Plan, sizes: Mapping[int, str]) -> None:
        """`sizes`: names for the sizes of loops, where they have one."""
        self.plan = plan
        self.scalars = plan.graph.scalars
        self.names = {size: name for size, name in sizes.items() if name not in plan.names}
        self.sizes: dict[int, str] = {}  # those that the loops go by
        self.products: set[str] = set()  # the types that matrices are multiplied in
        self.collectives: list[Collective] = []  # in the order in which they are called
        self.taken = {*plan.names, *self.names.values()}

    def body(self) -> list[str]:
        """The lines of all stages."""
        found: list[str] = []
        for group in self.plan.groups:
            if group.rows:
                found += self._by_rows(group)
                continue
            (stage,) = group.stages
            write = {
                "map": self._map,
                "update": self._update,
                "reduce": self._reduce,
                "scan": self._scan,
                "gemm": self._gemm,
                "scatter": self._scatter,
                "collective": self._collective,
                "check": self._check,
            }[stage.kind]
            found += [*self._said(stage), *write(stage)]
        return found

    def _by_rows(self, group: Group) -> list[str]:
        """One loop over rows, and within it those of each stage over a row.

        What a stage reads is read within: memory for one row has another one in each turn.
        """
        parts: tuple[list[str], ...] = ([], [], [], [])
        filled, before, within, after = parts
        taken = set(self.taken)
        for stage in group.stages:
            nest = fit(
                sizes_of(self.plan, stage, rows=True),
                partial(stores_of, self.plan, stage, rows=True),
                self.taken,
            )
            (row,), *segments = nest.segments
            within += self._said(stage)
            if stage.kind == "map":
                body = self._body(nest.loops, nest.stores, taken)
                taken |= body.taken
                within += [*body.lines[0], *body.lines[1]]
                within += self._nested(nest.loops[1:], body, _stored(nest.stores, body), 1)
            else:
                made = self._sums(stage, segments, nest.stores, taken, row)
                for found, lines in zip(parts, made, strict=True):
                    found += lines
        return [*filled, *before, self._for(row), *(INDENT + line for line in within), *after]

    def _said(self, stage: Stage) -> list[str]:
        """Comments: the person's lines that the loops answer."""
        if stage.into is not None:
            return [f"# {stage.into.label} -= rate * d{stage.into.label}"]
        said = []
        for node in stage.nodes:
            order = self.plan.order[node]
            shape = ", ".join(map(str, node.shape))
            lies = ", ".join(str(node.shape[axis]) for axis in order)
            turned = f", lies ({lies})" if order != tuple(range(len(order))) else ""
            first, *more = (node.said or node.label).splitlines() or [""]
            dots = " ..." if more else ""
            said.append(f"# {first}{dots}  ({shape}){turned}")
        return list(dict.fromkeys(said))

    def _size(self, size: int) -> str:
        """A size as a name, so that it is an argument of the compiled function.

        LLVM unrolls loops of a known length whole before it looks for vectors: half as fast.
        """
        if size not in self.sizes:
            name = self.names.get(size, f"size_{size}")
            while name in self.plan.names:
                name += "_"
            self.sizes[size] = name
            self.taken.add(name)
        return self.sizes[size]

    def _for(self, var: Var) -> str:
        return f"for {var.name} in range({self._size(var.size)}):"

    def _nested(
        self, loops: Sequence[Var], body: Body, within: Sequence[str], start: int | None = None
    ) -> list[str]:
        """Loops, what is worked out between them, and what stands inside; from a depth on."""
        lines = [] if start is not None else list(body.lines[0])
        start = start or 0
        for depth, var in enumerate(loops):
            lines.append(f"{INDENT * depth}{self._for(var)}")
            lines += [INDENT * (depth + 1) + line for line in body.lines[start + depth + 1]]
        return [*lines, *(INDENT * len(loops) + line for line in within)]

    # -- kinds of stages ----------------------------------------------------------------------

    def _map(self, stage: Stage) -> list[str]:
        return self._stores(sizes_of(self.plan, stage), partial(stores_of, self.plan, stage))

    def _update(self, stage: Stage) -> list[str]:
        plan, leaf, gradient = self.plan, stage.into, stage.nodes[0]
        assert leaf is not None

        def evaluate(loops: Sequence[Index]) -> list[Store]:
            at = plan.at(leaf, loops)
            rate = self.scalars.call("rate", leaf.dtype)
            change = plan.getter()(gradient, at)
            held = plan.load(leaf, at)
            step = self.scalars.call("{0} * {1}", leaf.dtype, rate, change)
            value = self.scalars.call("{0} - {1}", leaf.dtype, held, step)
            return [Store(leaf.buffer, place_of(at, leaf.strides), value)]

        return self._stores([plan.space(leaf)], evaluate)

    def _stores(self, segments: Sequence[Sequence[int]], evaluate: Evaluate) -> list[str]:
        """Loops with nothing but stores inside."""
        nest = fit(segments, evaluate, self.taken, blocks=True)
        body = self._body(nest.loops, nest.stores, self.taken)
        return self._nested(nest.loops, body, _stored(nest.stores, body))

    def _body(self, loops: Sequence[Var], stores: Sequence[Store], taken: set[str]) -> Body:
        return Body(loops, [(s.value, len(loops)) for s in stores], taken)

    def _reduce(self, stage: Stage) -> list[str]:
        evaluate = partial(stores_of, self.plan, stage)
        nest = fit(sizes_of(self.plan, stage), evaluate, self.taken)
        parts = self._sums(stage, nest.segments, nest.stores, self.taken)
        return [line for part in parts for line in part]

    def _sums(
        self,
        stage: Stage,
        segments: Sequence[Sequence[Var]],
        stores: Sequence[Store],
        taken: set[str],
        row: Var | None = None,
    ) -> tuple[list[str], list[str], list[str], list[str]]:
        """Sums in variables of their own; side by side in the array where the inner axis stays.

        Returns what stands before the loop over rows, loops first; what within it; what after.
        Without rows all stands within. `taken`: names that are; more are added.
        """
        first_node = stage.nodes[0]
        assert isinstance(first_node, Reduce)
        outer, gone, across = segments
        gone = far_first(gone, stores)
        rows = () if row is None else (row,)
        loops = (*rows, *outer, *gone, *across)
        wanted = [(s.value, len(loops)) for s in stores]
        twice = [s for s, n in zip(wanted, stage.nodes, strict=True) if asks_twice(n)]
        body = Body(loops, [*wanted, *twice], taken)
        starts, grows, ends = [], [], []
        for node, store in zip(stage.nodes, stores, strict=True):
            assert isinstance(node, Reduce)
            element = f"{store.buffer.name}[{body.index(store.at)}]"
            total = element if across else body._fresh(self.scalars.load(store.buffer, store.at))
            starts.append(f"{total} = {start_of(node)}")
            grows.append(f"{total} = {grown(node, total, body.text(store.value))}")
            if not across:
                ends.append(f"{element} = {total}")
        heads = [INDENT * d + self._for(var) for d, var in enumerate(across)]
        starts = [*heads, *(INDENT * len(across) + start for start in starts)]
        first, depth = len(rows), len(rows) + len(outer)
        rest = self._nested((*gone, *across), body, grows, depth)
        if row is not None:
            taken |= body.taken
        if row is not None and not axes_of(self.plan, first_node, rows=True)[0]:
            filled, before = (starts, []) if across else ([], starts)
            return filled, before, [*body.lines[0], *body.lines[1], *rest], ends
        lines = list(body.lines[first])
        for at, var in enumerate(outer):
            lines.append(f"{INDENT * at}{self._for(var)}")
            lines += [INDENT * (at + 1) + line for line in body.lines[first + at + 1]]
        pad = INDENT * len(outer)
        lines += [pad + line for line in (*starts, *rest, *ends)]
        return [], [], [*(body.lines[0] if rows else ()), *lines], []

    def _scan(self, stage: Stage) -> list[str]:
        """The axis innermost, in a variable that grows; floats in float64, as PyTorch has it."""
        plan, node = self.plan, stage.nodes[0]
        assert isinstance(node, Scan)
        order = [a for a in plan.order[node] if a != node.axis and node.shape[a] != 1]
        order.append(node.axis)
        segments = [[node.shape[a] for a in axes] for axes in (order[:-1], order[-1:])]

        def evaluate(loops: Sequence[Index]) -> list[Store]:
            at = dict(zip(order, loops, strict=True))
            places = tuple(at.get(a, Index()) for a in range(len(node.shape)))
            value = plan.getter()(node.args[0], places)
            return [Store(plan.buffers[node], place_of(places, plan.strides[node]), value)]

        nest = fit(segments, evaluate, self.taken)
        (store,), outer = nest.stores, nest.segments[0]
        body = Body(nest.loops, [(store.value, len(nest.loops))], self.taken)
        wide = "float64" if "float" in node.dtype else node.dtype
        total = body._fresh(self.scalars.load(store.buffer, store.at))
        start = f"{wide}({START[node.kind]})"
        signs = {"sum": "{0} + ({1})", "prod": "{0} * ({1})"}
        if wide == "int64":
            signs = {"sum": "int_add({0}, {1})", "prod": "int_mul({0}, {1})"}
        value = body.text(self.scalars.cast(store.value, wide))
        within = [f"{total} = {signs[node.kind].format(total, value)}"]
        within.append(f"{store.buffer.name}[{body.index(store.at)}] = {total}")
        lines = list(body.lines[0])
        for depth, var in enumerate(outer, 1):
            lines.append(f"{INDENT * (depth - 1)}{self._for(var)}")
            lines += [INDENT * depth + line for line in body.lines[depth]]
        rest = [f"{total} = {start}", *self._nested(nest.segments[1], body, within, len(outer))]
        return lines + [INDENT * len(outer) + line for line in rest]

    def _gemm(self, stage: Stage) -> list[str]:
        """A call for each turn of the loops around; sums side by side where those are the batch."""
        node, leaf = stage.nodes[0], stage.into
        assert isinstance(node, Gemm)
        found = product_of(self.plan, node, None if leaf is None else (leaf.buffer, leaf.strides))
        assert found is not None
        if found.across is not None and leaf is None:
            return self._summed(node, found, found.across)
        a, b, c = found.arrays
        scale, keep = number(1.0, node.dtype), number(0.0, node.dtype)
        outside = (*found.around, *found.summed)
        loops = variables(outside, self._free(len(outside)))
        if leaf is not None:
            scale, keep = "-rate", number(1.0, node.dtype)
        elif found.summed:  # what is there already counts from the second turn on
            turn = " + ".join(var.name for var in loops[len(found.around) :])
            keep = f"{node.dtype}({turn} > 0)"
        axes = (found.rows, found.columns, found.depth)
        at, first, second = (self._size(axis.size) for axis in axes)
        (ars, _, crs), (_, bcs, ccs), (acs, brs, _) = (axis.strides for axis in axes)
        one, two, three = (self._start(found, loops, place) for place in range(3))
        call = (
            f"gemm({_PRODUCT[node.dtype]}, {at}, {first}, {second}, {scale}, "
            f"{a.name}, {one}, {ars}, {acs}, {b.name}, {two}, {brs}, {bcs}, "
            f"{keep}, {c.name}, {three}, {crs}, {ccs})"
        )
        self.products.add(node.dtype)
        lines = [INDENT * depth + self._for(var) for depth, var in enumerate(loops)]
        return [*lines, INDENT * len(loops) + call]

    def _free(self, count: int) -> list[str]:
        names = [name for name in LETTERS if name not in self.taken]
        names += [name for n in range(count) if (name := f"loop_{n}") not in self.taken]
        return names[:count]

    def _start(self, found: Product, loops: Sequence[Var], array: int) -> str:
        total = Index(found.starts[array])
        for var, axis in zip(loops, (*found.around, *found.summed), strict=True):
            total = total + index_of(var) * axis.strides[array]
        return Body(loops, [], ()).index(total)

    def _summed(self, node: Gemm, found: Product, across: Axis) -> list[str]:
        """Small products of a batch that lies innermost, whose elements are worked out as vectors.

        Short sums are written out, and stay in registers; of others each step is over the batch.
        """
        outer = [axis for axis in (*found.around, found.rows, found.columns) if axis != across]
        outer = [axis for axis in outer if axis.size > 1]
        short = not found.summed and found.depth.size <= _SHORT
        inner = [across, found.depth] if short else [*found.summed, found.depth, across]
        axes = [*outer, *inner]
        loops = variables(axes, self._free(len(axes)))
        places = []
        for array in range(3):
            total = Index(found.starts[array])
            for var, axis in zip(loops, axes, strict=True):
                total = total + index_of(var) * axis.strides[array]
            places.append(total)
        left, right = (
            self.scalars.load(*at) for at in zip(found.arrays[:2], places[:2], strict=True)
        )
        value = self.scalars.call("{0} * {1}", node.dtype, left, right)
        body = Body(loops, [(value, len(loops))], self.taken)
        element = f"{found.arrays[2].name}[{body.index(places[2])}]"
        zero = number(0.0, node.dtype)
        if short:
            grown = body._fresh(self.scalars.load(found.arrays[2], places[2]))
            turns = ", ".join(map(str, range(loops[-1].size)))
            added = [*body.lines[-1], f"{grown} = plus({grown}, {body.text(value)})"]
            within = [f"{grown} = {zero}", f"for {loops[-1].name} in ({turns},):"]
            within += [*(INDENT + line for line in added), f"{element} = {grown}"]
            return self._nested(loops[:-1], body, within)
        pad = INDENT * len(outer)
        lines = [INDENT * depth + self._for(var) for depth, var in enumerate(loops[: len(outer)])]
        lines += [pad + self._for(loops[-1]), f"{pad}{INDENT}{element} = {zero}"]
        grown = f"{element} = plus({element}, {body.text(value)})"
        inside = self._nested(loops[len(outer) :], body, [grown], len(outer))
        return [*lines, *(pad + line for line in inside)]

    def _scatter(self, stage: Stage) -> list[str]:
        plan, node = self.plan, stage.nodes[0]
        assert isinstance(node, Scatter)
        buffer, strides = plan.buffers[node], plan.strides[node]
        get = plan.getter()
        ordered, free = plan.scattered(node)
        order = [*ordered, *free]

        def base(loops: Sequence[Index]) -> list[Store]:
            at = plan.at(node, loops)
            return [Store(buffer, place_of(at, strides), get(node.args[0], at))]

        def written(loops: Sequence[Index]) -> list[Store]:
            known = dict(zip(order, loops, strict=True))
            at = tuple(known[axis] for axis in range(len(order)))
            return [Store(buffer, place_of(node.target(get, at), strides), node.value(get, at))]

        in_place = node.bare or plan.buffers.get(node.args[0]) is buffer
        lines = [] if in_place else self._stores([plan.space(node)], base)
        sizes = [[node.space[axis] for axis in axes] for axes in (ordered, free)]
        nest = fit(sizes, written, self.taken, blocks=bool(free))
        (store,) = nest.stores
        place = self.scalars.index(store.at)
        wanted = [(store.value, len(nest.loops)), (place, len(nest.loops))]
        body = Body(nest.loops, wanted, self.taken)
        element = f"{buffer.name}[{body.index(self.scalars.place(place))}]"
        grown = f"{element} + {body.text(store.value)}" if node.adds else body.text(store.value)
        return lines + self._nested(nest.loops, body, [f"{element} = {grown}"])

    def _collective(self, stage: Stage) -> list[str]:
        node = stage.nodes[0]
        assert isinstance(node, Collective)
        place, arrays = len(self.collectives), (*node.args, node)
        self.collectives.append(node)
        handed, found = (self.plan.buffers[each].name for each in arrays)
        return [
            f"if collective(collectives, {place}, {handed}, {found}):",
            f"{INDENT}raise IndexError('the ranks do not work together')",
        ]

    def _check(self, stage: Stage) -> list[str]:
        plan, check = self.plan, stage.check
        assert check is not None
        node = check.node

        def evaluate(loops: Sequence[Index]) -> list[Store]:
            at = plan.at(node, loops)
            return [Store(_NOWHERE, Index(), plan.getter()(node, at))]

        nest = fit([plan.space(node)], evaluate, self.taken)
        (store,) = nest.stores
        body = Body(nest.loops, [(store.value, len(nest.loops))] * 2, self.taken)
        value = body.text(store.value)
        within = [f"if {value} < 0 or {value} >= {check.size}:"]
        within.append(f"{INDENT}raise IndexError({check.message!r})")
        return self._nested(nest.loops, body, within)


def _stored(stores: Sequence[Store], body: Body) -> list[str]:
    return [f"{s.buffer.name}[{body.index(s.at)}] = {body.text(s.value)}" for s in stores]


_NOWHERE = Leaf((), "int64").buffer
