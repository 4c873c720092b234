"""The graph that lines are lowered to: what each element is, as a function of its place.

A `Map` costs nothing by itself: its elements are worked out where they are wanted, out of other
nodes' elements. Views, broadcasting, lookups and one-hot are all maps. What needs more than its own
place - a reduction, a matrix product, a scattering - is a node of its own kind with a loop of its
own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch

from gradninja.native.maps.places import Index, flat, unflat
from gradninja.native.maps.scalars import Buffer, Scalar, Scalars
from gradninja.rules.rule import CHEAP

Places = tuple[Index, ...]
Get = Callable[["Node", Places], Scalar]
Pull = Callable[[Get, Places], Scalar]


FREE = 0  # what an operation that only moves elements costs; `rules.rule` has the others


@dataclass(eq=False)
class Node:
    """An array of the program.

    `label`: the person's name for it; `near` and `said`: the name that it helps to make, and how.
    """

    shape: tuple[int, ...]
    dtype: str
    args: tuple[Node, ...] = ()
    label: str = ""
    near: str = ""
    said: str = ""
    number: int = 0  # of its making
    range: tuple[int, int] | None = None  # of ints, where it is known
    keep: bool = False  # must have an array: others than these loops read it, or what was picked is
    # compared with it

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(eq=False)
class Leaf(Node):
    """An array that is given: an input, or a constant of the text."""

    buffer: Buffer = field(default_factory=lambda: Buffer("", "", 0))
    strides: tuple[int, ...] = ()
    data: Any = None  # a constant's elements

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """The strides in bytes."""
        size = np.dtype(self.dtype).itemsize
        return tuple(stride * size for stride in self.strides)


@dataclass(eq=False)
class Map(Node):
    """Elements that are worked out where they are wanted."""

    pull: Pull = field(default=lambda get, at: get(None, at))
    weight: int = FREE


@dataclass(eq=False)
class Reduce(Node):
    """The sum, product, max or min (`kind`) of its argument over `axes`, which it has no more."""

    kind: str = "sum"
    axes: tuple[int, ...] = ()


@dataclass(eq=False)
class Scan(Node):
    """The sum or product (`kind`) of its argument's elements so far along `axis`."""

    kind: str = "sum"
    axis: int = 0


@dataclass(eq=False)
class Gemm(Node):
    """The matrix product of its two arguments, (..., m, k) and (..., k, n)."""


@dataclass(eq=False)
class Scatter(Node):
    """Its first argument, with elements overwritten or added to.

    For every place of `space`, in order: the element at `target` becomes `value`, or has it added.
    `bare`: no element of the first argument is ever seen; what this does not write, others will.
    """

    space: tuple[int, ...] = ()
    target: Callable[[Get, Places], Places] = field(default=lambda get, at: at)
    value: Pull = field(default=lambda get, at: get(None, at))
    adds: bool = True
    bare: bool = False


@dataclass(eq=False)
class Collective(Node):
    """What ranks make together of what each hands in: a call between the loops, of one axis.

    `call`: the collective by its name, and what else it is told.
    """

    call: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False)
class Check:
    """The elements of `node` must be 0, ..., size - 1; else `message` is raised."""

    node: Node
    size: int
    message: str


class Graph:
    """Makes nodes. Each method gives one whose shape follows from its arguments'."""

    def __init__(self) -> None:
        self.scalars = Scalars()
        self.checks: list[Check] = []
        self.nodes: list[Node] = []
        self.known: dict[object, Node] = {}  # by how they are made: what is made twice is one

    def once(self, key: object, make: Callable[[], Node]) -> Node:
        """The node that is made like this."""
        if key not in self.known:
            self.known[key] = make()
        return self.known[key]

    def add(self, node: Node) -> Node:
        node.number = len(self.nodes)
        self.nodes.append(node)
        return node

    # -- elements -----------------------------------------------------------------------------

    def number(self, value: Any, dtype: str, shape: Sequence[int] = ()) -> Node:
        """The same number everywhere."""
        scalar = self.scalars.number(value, dtype)
        return self.once(
            (scalar, tuple(shape)),
            lambda: self.add(
                Map(tuple(shape), dtype, pull=lambda get, at: scalar, range=scalar.range)
            ),
        )

    def arange(self, start: int, step: int, size: int, dtype: str = "int64") -> Node:
        """start, start + step, ..."""
        ends = (start, start + step * max(size - 1, 0))

        def pull(get: Get, at: Places) -> Scalar:
            return self.scalars.cast(self.scalars.index(at[0] * step + start), dtype)

        return self.add(Map((size,), dtype, pull=pull, range=(min(ends), max(ends))))

    def cast(self, node: Node, dtype: str) -> Node:
        """The same elements as another type."""
        if node.dtype == dtype:
            return node

        def make() -> Node:
            return self.add(
                Map(
                    node.shape,
                    dtype,
                    (node,),
                    range=node.range if dtype == "int64" else None,
                    pull=lambda get, at: self.scalars.cast(get(node, at), dtype),
                    weight=CHEAP,
                )
            )

        return self.once(("cast", node, dtype), make)

    def map(self, template: str, dtype: str, *args: Node, weight: int = CHEAP) -> Node:
        """An operation on elements, its arguments broadcast against each other."""
        key = (template, dtype, args)
        return self.once(key, lambda: self._map(template, dtype, *args, weight=weight))

    def _map(self, template: str, dtype: str, *args: Node, weight: int = CHEAP) -> Node:
        if dtype == "int64":
            template = _ROUND.get(template, template)
        shape = broadcast(*(a.shape for a in args))

        def pull(get: Get, at: Places) -> Scalar:
            elements = [get(a, narrow(at, a.shape)) for a in args]
            return self.scalars.call(template, dtype, *elements)

        return self.add(Map(shape, dtype, args, pull=pull, weight=weight))

    def copy(self, node: Node) -> Node:
        """The same elements in an array of their own."""
        made = self._map("{0}", node.dtype, node)
        made.label = f"{node.label or node.near}_copy"
        return made

    # -- views --------------------------------------------------------------------------------

    def view(self, node: Node, shape: Sequence[int], places: Callable[[Places], Places]) -> Node:
        """Elements of a node at other places."""
        return self.add(
            Map(
                tuple(shape),
                node.dtype,
                (node,),
                pull=lambda get, at: get(node, places(at)),
                range=node.range,
            )
        )

    def reshape(self, node: Node, shape: Sequence[int]) -> Node:
        shape = tuple(shape)
        if shape == node.shape:
            return node
        return self.once(
            ("reshape", node, shape),
            lambda: self.view(node, shape, lambda at: unflat(flat(at, shape), node.shape)),
        )

    def expand(self, node: Node, shape: Sequence[int]) -> Node:
        if tuple(shape) == node.shape:
            return node
        return self.once(
            ("expand", node, tuple(shape)),
            lambda: self.view(node, shape, lambda at: narrow(at, node.shape)),
        )

    def permute(self, node: Node, order: Sequence[int]) -> Node:
        """Axis i of the result is axis order[i]."""
        back = {axis: place for place, axis in enumerate(order)}
        shape = [node.shape[axis] for axis in order]
        return self.once(
            ("permute", node, tuple(order)),
            lambda: self.view(node, shape, lambda at: tuple(at[back[i]] for i in range(len(at)))),
        )

    def swapped(self, node: Node, one: int = -2, other: int = -1) -> Node:
        """Two axes change places."""
        order = list(range(len(node.shape)))
        order[one], order[other] = order[other], order[one]
        return self.permute(node, order)

    # -- what needs loops of its own ----------------------------------------------------------

    def reduce(self, kind: str, node: Node, axes: Sequence[int], keep: bool = False) -> Node:
        """Over these axes, which stay with size 1 where `keep`."""
        rest = [size for axis, size in enumerate(node.shape) if axis not in axes]
        found: Node = node
        if axes:
            gone = tuple(sorted(axes))
            found = self.once(
                (kind, node, gone),
                lambda: self.add(Reduce(tuple(rest), node.dtype, (node,), kind=kind, axes=gone)),
            )
        if keep:
            found = self.reshape(found, [1 if a in axes else s for a, s in enumerate(node.shape)])
        return found

    def scan(self, kind: str, node: Node, axis: int) -> Node:
        """Of each element and all that stand before it along an axis."""
        return self.add(Scan(node.shape, node.dtype, (node,), kind=kind, axis=axis))

    def first_place(self, node: Node, of: Node, axis: int) -> Node:
        """Where along an axis `node` (kept with size 1) first is in `of`; nan is nan."""
        beneath(of).keep = True
        size = of.shape[axis]
        line = [1] * len(of.shape)
        line[axis] = size
        here = self.reshape(self.arange(0, 1, size), line)
        found = self.map("({0} == {1}) | ({0} != {0})", "bool", of, node)
        far = self.number(size, "int64")
        place = self.map("select({0}, {1}, {2})", "int64", found, here, far)
        least = self.reduce("min", place, (axis,), keep=True)
        least.range = (0, size - 1)
        for below in least.args:
            below.range = (0, size - 1)
        return least

    def placed(self, whole: Node, part: Node, starts: Sequence[int], bare: bool = False) -> Node:
        """`whole` with `part` written to it, from `starts` on along its axes."""

        def target(get: Get, at: Places) -> Places:
            return tuple(place + start for place, start in zip(at, starts, strict=True))

        return self.scatter(whole, part, target, bare=bare)

    def scatter(
        self,
        whole: Node,
        part: Node,
        target: Callable[[Get, Places], Places],
        looked_up: Sequence[Node] = (),
        adds: bool = False,
        bare: bool = False,
    ) -> Node:
        """`whole` with each element of `part` written, or added, to the place that is its target.

        `looked_up`: the nodes that `target` gets elements of.
        """
        return self.add(
            Scatter(
                whole.shape,
                whole.dtype,
                (whole, part, *looked_up),
                space=part.shape,
                target=target,
                value=lambda get, at: get(part, at),
                adds=adds,
                bare=bare,
            )
        )

    def collective(self, handed: Node, size: int, call: tuple[Any, ...]) -> Node:
        """So many elements that ranks make of what each hands in, (elements,)."""
        handed.keep = True
        return self.add(Collective((size,), handed.dtype, (handed,), call=call))

    def gemm(self, a: Node, b: Node) -> Node:
        """(..., m, k) @ (..., k, n); the axes before are broadcast."""
        batch = broadcast(a.shape[:-2], b.shape[:-2])
        a, b = self.expand(a, (*batch, *a.shape[-2:])), self.expand(b, (*batch, *b.shape[-2:]))
        return self.add(Gemm((*batch, a.shape[-2], b.shape[-1]), a.dtype, (a, b)))

    def product(self, a: Node, b: Node) -> Node:
        """`a @ b` for any numbers of axes, as torch.matmul."""
        left = self.reshape(a, (1, *a.shape)) if len(a.shape) == 1 else a
        right = self.reshape(b, (*b.shape, 1)) if len(b.shape) == 1 else b
        found = self.gemm(left, right)
        shape = list(found.shape)
        if len(b.shape) == 1:
            del shape[-1]
        if len(a.shape) == 1:
            del shape[-1 if len(b.shape) == 1 else -2]
        return self.reshape(found, shape)

    def place(self, get: Get, node: Node, at: Places) -> Index:
        """An int of a node as an index."""
        found = get(node, narrow(at, node.shape))
        return self.scalars.place(found)

    def check(self, node: Node, size: int, message: str) -> None:
        """Have the elements of an int node held to 0, ..., size - 1 where that is not known."""
        known = node.range
        if any(check.node is node and check.size <= size for check in self.checks):
            return
        if known is None or known[0] < 0 or known[1] >= size:
            self.checks.append(Check(node, size, message))


# Arithmetic of ints goes round where it overflows.
_ROUND = {
    "{0} + {1}": "int_add({0}, {1})",
    "{0} - {1}": "int_sub({0}, {1})",
    "{0} * {1}": "int_mul({0}, {1})",
    "{0} * {0}": "int_mul({0}, {0})",
}


def beneath(node: Node) -> Node:
    """What a chain of views is of."""
    while isinstance(node, Map) and node.weight == FREE and node.args:
        node = node.args[0]
    return node


def broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that these are broadcast to."""
    found: Sequence[int] = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
    return tuple(found)


def narrow(at: Places, shape: Sequence[int]) -> Places:
    """The place in an array of this shape that is broadcast to where `at` is."""
    after = at[len(at) - len(shape) :]
    return tuple(Index() if size == 1 else place for place, size in zip(after, shape, strict=True))
