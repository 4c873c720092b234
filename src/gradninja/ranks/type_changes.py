"""Changes of operands' types, where an operation cannot be done on what ranks have."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gradninja.ranks.mesh import Mesh, cut, join
from gradninja.ranks.rank_values import Value
from gradninja.ranks.split import Split
from gradninja.ranks.types import R, Type, V

# What a change of type costs beside others: a slice is free, a sum over ranks cheaper than a whole.
COST = {"slice": 1, "zeros": 2, "reduce_scatter": 3, "all_reduce": 4, "all_gather": 40}
MOST_MOVES = 3


@dataclass(frozen=True)
class Move:
    """A change of one operand's type on one mesh axis."""

    kind: str
    key: str | int  # the operand's name, or its place
    axis: int
    to: Type


class Moves:
    """What may be done to operands on a mesh."""

    def __init__(self, split: Split) -> None:
        self.split, self.mesh = split, split.mesh

    def possible(
        self, operands: Sequence[tuple[Value, str | int]], written: str
    ) -> Iterator[tuple[Move, ...]]:
        """What may be done to operands first: nothing, then the cheapest.

        Args:
            operands: each with its name, or its place where it has none.
            written: the name of the tensor that is written into.
        """
        yield ()
        single: dict[tuple[str | int, int], list[Move]] = {}
        for value, key in operands:
            for axis, kind in enumerate(value.types or ()):
                single[key, axis] = list(self._of(value, key, axis, kind, key == written))
        every = sorted(
            (move for moves in single.values() for move in moves), key=lambda m: COST[m.kind]
        )
        combined = [
            moves
            for many in range(1, MOST_MOVES + 1)
            for moves in itertools.combinations(every, many)
            if len({(m.key, m.axis) for m in moves}) == many
        ]
        yield from sorted(combined, key=lambda moves: sum(COST[m.kind] for m in moves))
        last = tuple(moves[-1] for moves in single.values() if moves and moves[-1].kind != "slice")
        if len(last) > MOST_MOVES:
            yield last

    def _of(
        self, value: Value, key: str | int, axis: int, kind: Type, written: bool
    ) -> Iterator[Move]:
        if kind.partial:
            yield Move("all_reduce", key, axis, R)
            return
        if kind.varies:
            if value.zero:
                yield Move("zeros", key, axis, R)
            elif self._even(value, axis):
                yield Move("all_gather", key, axis, R)
            return
        size = self.split.size(axis)
        if not written and not value.zero:
            for dim, length in enumerate(value.whole.shape):
                if length == size and V(dim) not in (value.types or ()):
                    yield Move("slice", key, axis, V(dim))

    def _even(self, value: Value, axis: int) -> bool:
        """Whether the ranks' shares are those that an axis is cut into."""
        assert value.types is not None
        expected = cut(value.whole, value.types, self.mesh)
        return [h.shape for h in value.held] == [e.shape for e in expected] or all(
            h.shape[value.types[axis].dim or 0] % self.split.lengths(axis)[at[axis]] == 0
            for h, at in zip(value.held, self.mesh.ranks, strict=True)
        )

    def moved(self, value: Value, key: str | int, moves: Sequence[Move]) -> Value:
        """The value as moves make it."""
        for move in moves:
            if move.key == key:
                value = self.changed(value, move)
        return value

    def changed(self, value: Value, move: Move) -> Value:
        """The value as one move makes it."""
        assert value.types is not None
        if move.kind == "slice":
            parts = self.split.shares(move.axis)
            mine = [
                h.narrow(move.to.dim or 0, *parts[at[move.axis]]).clone()
                for h, at in zip(value.held, self.mesh.ranks, strict=True)
            ]
            return value.becomes(move.axis, move.to, mine)
        types = tuple(move.to if a == move.axis else t for a, t in enumerate(value.types))
        if not any(kind.partial for kind in types):
            return value.becomes(move.axis, move.to, cut(value.whole, types, self.mesh))
        held = list(value.held)
        for line in self.mesh.lines(move.axis):
            part = Mesh(self.mesh.axes[move.axis : move.axis + 1], (len(line),))
            whole = join([value.held[at] for at in line], (value.types[move.axis],), part)
            assert whole is not None
            for at, own in zip(line, cut(whole, (move.to,), part), strict=True):
                held[at] = own
        return value.becomes(move.axis, move.to, held)
