"""What a split does to an operation is found by trying: on the shares, and on the whole.

An operation is run on what each rank holds, and the results are held to that on the whole: they are
shares of it along an axis (varying), the same everywhere (replicated), or its summands (partial).
That needs no table of operations, so that every operation that PyTorch has is covered, and it goes
by numbers and not by sizes: an axis is split by where it comes from. Three draws of numbers are
tried, so that chance (a relu whose summands all are positive) is not taken for a rule.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradninja.ranks.mesh import Mesh, fits, join, largest, same
from gradninja.ranks.operations.taking import Operation
from gradninja.ranks.rank_values import DRAWS, Value
from gradninja.ranks.types import Type

# What an operation may raise on shares that it does not fit.
FAILURES = (RuntimeError, ArithmeticError, IndexError, TypeError, ValueError, AttributeError)
MOST_SIZES = 3  # sizes in one operation that are tried of the share and of the whole
EXTREMES = {"max": torch.amax, "min": torch.amin}


@dataclass(frozen=True)
class Found:
    """How the ranks' results make up the whole.

    `types`: one for each mesh axis, with `several` for each of several tensors. `weighed`: the mesh
    axes along which each result counts as much as its share of the axis is long: a mean.
    `extreme`: the whole's are the largest or smallest of results, where they are partial.
    """

    types: tuple[Type, ...] | None = None
    several: tuple[tuple[Type, ...], ...] = ()
    weighed: tuple[int, ...] = ()
    extreme: str = ""


class Trial:
    """An operation on the whole, in each draw, to which ranks' results are held."""

    def __init__(
        self, operation: Operation, into: Value | None, mesh: Mesh, scope: Mapping[str, Any]
    ) -> None:
        self.operation, self.into, self.mesh, self.scope = operation, into, mesh, scope

    def run(self, operands: Sequence[Any], into: Any) -> Any:
        with torch.no_grad():
            return self.operation.run(operands, self.scope, into)

    def wholes(self, operands: Sequence[Value]) -> list[Any]:
        """The result on the whole in each draw; the later ones end where one does not run."""
        found = []
        for number in range(DRAWS):
            into = None if self.into is None else self.into.wholes[number]
            try:
                found.append(self.run([v.wholes[number] for v in operands], into))
            except FAILURES:
                if number == 0:
                    raise
                found.append(None)
        return found

    def sizes(self, operands: Sequence[Value]) -> list[float]:
        """The largest element of the operands in each draw."""
        every = [*operands, *([] if self.into is None else [self.into])]
        return [max([0.0, *(largest(v.wholes[number]) for v in every)]) for number in range(DRAWS)]

    def held(
        self, operands: Sequence[Value], sizes: Sequence[bool], into: Value | None, number: int
    ) -> list[Any] | None:
        """Each rank's result in a draw; None where it does not run.

        `sizes`: for each operand whether a rank is given the size of the whole.
        """
        draws = [(v.wholes[number], v.on_ranks(number, self.mesh)) for v in operands]
        target = None if into is None else into.on_ranks(number, self.mesh)
        found = []
        for rank in range(len(self.mesh.ranks)):
            given = [
                whole if of_whole else held[rank]
                for (whole, held), of_whole in zip(draws, sizes, strict=True)
            ]
            try:
                found.append(self.run(given, None if target is None else target[rank]))
            except FAILURES:
                return None
        return found


@dataclass(frozen=True, eq=False)
class Outcome:
    """How an operation went on shares: of which operands the whole's size was taken, and what the
    ranks then hold."""

    found: Found
    sizes: tuple[bool, ...]
    held: list[Any]
    zero: bool


class Judge:
    """Holds ranks' results to those on the whole."""

    def __init__(self, mesh: Mesh, weights: Mapping[int, Sequence[float]]) -> None:
        self.mesh = mesh
        self.weights = weights  # mesh axis -> each rank's part of the axis that is split there

    def types(
        self,
        wholes: list[Any],
        held: list[list[Any] | None],
        sizes: list[float],
        extremes: tuple[str, ...] | None,
    ) -> Found | None:
        """How results make up the whole in every draw; None where they do not.

        `sizes`: in each draw the largest element of the operands: rounding is beside it.
        `extremes`: those that are thought of, `max` or `min`; None: nor are results weighed.
        """
        pairs = [
            (w, h, size) for w, h, size in zip(wholes, held, sizes, strict=True) if w is not None
        ]
        if any(h is None for _, h, _ in pairs):
            return None
        first, on_ranks, _ = pairs[0]
        assert on_ranks is not None
        if isinstance(first, Tensor):
            return self._tensor(pairs, fits(first, on_ranks, self.mesh), extremes)
        if isinstance(first, tuple | list) and any(isinstance(v, Tensor) for v in first):
            several = []
            for at in range(len(first)):
                parts = [(w[at], [r[at] for r in h], size) for w, h, size in pairs if h]
                found = self._tensor(parts, fits(*parts[0][:2], self.mesh), None)
                if found is None or found.types is None:
                    return None
                several.append(found.types)
            return Found(several=tuple(several))
        return Found()

    def outcome(
        self,
        trial: Trial,
        operands: list[Value],
        into: Value | None,
        wholes: list[Any],
        scales: list[float],
    ) -> Outcome | None:
        """How ranks' results make up the whole; None where they do not."""
        sized = [at for at, v in enumerate(operands) if v.sized]
        choices = list(itertools.product((False, True), repeat=len(sized)))
        if len(sized) > MOST_SIZES:
            choices = [choices[0], choices[-1]]
        partial = any(kind.partial for v in operands for kind in v.types or ())
        # One number of a few may be the largest by chance: the operation has to say so.
        said = tuple(name for name in EXTREMES if name in ast.unparse(trial.operation.syntax))
        ways = (None,) if partial or into is not None else (None, said)
        for way, choice in itertools.product(ways, choices):
            of_whole = dict(zip(sized, choice, strict=True))
            if any(of_whole[at] and operands[at].whole_syntax is None for at in sized):
                continue
            sizes = tuple(of_whole.get(at, False) for at in range(len(operands)))
            held = [trial.held(operands, sizes, into, number) for number in range(len(wholes))]
            found = self.types(wholes, held, scales, way)
            if found is None or not self._homogeneous(trial, operands, sizes, into, found):
                continue
            zero = all(w is None or _zeros(w) for w in wholes) and all(
                h is None or all(_zeros(each) for each in h) for h in held
            )
            # By construction, and not on these values: what a mask has picked may be nothing here.
            zero = zero and ("zeros" in trial.operation.text or any(v.zero for v in operands))
            if into is not None:
                zero = zero and all(v.zero or not _floats(v.whole) for v in operands)
            return Outcome(found, sizes, list(held[0] or []), zero)
        return None

    def _homogeneous(
        self,
        trial: Trial,
        operands: list[Value],
        sizes: Sequence[bool],
        into: Value | None,
        found: Found,
    ) -> bool:
        """Whether what stays partial is 0 where the partial operands are.

        `partial + 1e-12` is not: each rank would add its own, too little to be seen by trying.
        """
        for axis in range(len(self.mesh.axes)):
            kinds = [v.types[axis] for v in (*operands, into) if v is not None and v.types]
            stays = any(
                types[axis].partial for types in (found.types or (), *found.several) if types
            )
            if not stays or any(kind.varies for kind in kinds):
                continue
            if not any(kind.partial for kind in kinds):
                continue
            try:
                result = trial.run(
                    [
                        v.whole if whole else _without(v, axis)
                        for v, whole in zip(operands, sizes, strict=True)
                    ],
                    None if into is None else _without(into, axis),
                )
            except FAILURES:
                continue
            several = result if isinstance(result, tuple | list) else (result,)
            if not all(_zeros(t.nan_to_num(0)) for t in several if isinstance(t, Tensor)):
                return False
        return True

    def _tensor(
        self,
        pairs: Any,
        choices: list[tuple[Type, ...]],
        extremes: tuple[str, ...] | None,
    ) -> Found | None:
        for types in choices:
            if all(self._whole(w, h, size, types) for w, h, size in pairs):
                return Found(types)
        for types in () if extremes is None else choices:
            partial = [at for at, kind in enumerate(types) if kind.partial and at in self.weights]
            for many in range(1, len(partial) + 1):
                for axes in itertools.combinations(partial, many):
                    if all(
                        whole.is_floating_point()
                        and self._whole(whole, self.weigh(held, axes), size, types)
                        for whole, held, size in pairs
                    ):
                        return Found(types, weighed=axes)
            if len(partial) == 1:
                for name in extremes or ():
                    reduce = EXTREMES[name]
                    if all(self._extreme(w, h, types, partial[0], reduce) for w, h, _ in pairs):
                        return Found(types, extreme=name)
        return None

    def _whole(
        self, whole: Tensor, held: Sequence[Tensor], size: float, types: tuple[Type, ...]
    ) -> bool:
        if [h.dtype for h in held] != [whole.dtype] * len(held):
            return False
        found = join(held, types, self.mesh, scale=size)
        return found is not None and same(found, whole, *held, scale=size)

    def weigh(self, held: Sequence[Tensor], axes: Sequence[int]) -> list[Tensor]:
        """Results times the part of the axis that each rank has."""
        found = list(held)
        for axis in axes:
            weights = self.weights[axis]
            found = [
                value * weights[at[axis]] for value, at in zip(found, self.mesh.ranks, strict=True)
            ]
        return found

    def _extreme(
        self, whole: Tensor, held: Sequence[Tensor], types: Sequence[Type], axis: int, reduce: Any
    ) -> bool:
        lines = self.mesh.lines(axis)
        uneven = any(len({held[at].shape for at in line}) > 1 for line in lines)
        if whole.dtype == torch.bool or uneven:
            return False
        rest = [reduce(torch.stack([held[at] for at in line]), 0) for line in lines]
        others = tuple(kind for at, kind in enumerate(types) if at != axis)
        mesh = Mesh(
            tuple(n for at, n in enumerate(self.mesh.axes) if at != axis),
            tuple(n for at, n in enumerate(self.mesh.sizes) if at != axis),
        )
        found = join(rest, others, mesh)
        return found is not None and same(found, whole, *held)


def _without(value: Value, axis: int) -> Any:
    """What the first rank holds, with zeros for what is partial on an axis."""
    held = value.held[0]
    return torch.zeros_like(held) if value.types and value.types[axis].partial else held


def _floats(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _zeros(value: Any) -> bool:
    return isinstance(value, Tensor) and not bool(torch.count_nonzero(value.nan_to_num(1)))
