"""Which named axes are split over which mesh axes, and how a rank writes their sizes."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradninja.errors import DeriveError
from gradninja.lines import Program
from gradninja.ranks.mesh import Mesh, shares
from gradninja.ranks.rank_values import Value
from gradninja.ranks.types import R, Type, V


@dataclass(frozen=True)
class Axis:
    """A named axis that is split: where its inputs have it, and how long it is."""

    name: str
    size: int
    inputs: Mapping[str, int]  # input -> the dim that is the axis
    whole: str  # the names by which a rank is given the whole length, and where its share begins
    start: str
    group: str  # ... and the ranks along the mesh axis


@dataclass
class Split:
    """The axes that are split, one a mesh axis."""

    program: Program
    axes: tuple[Axis, ...]
    mesh: Mesh
    equal: set[int] = field(default_factory=set)  # those whose shares must be of one length
    short: dict[int, str] = field(default_factory=dict)  # a line's own names for shares' lengths

    def types(self, name: str) -> tuple[Type, ...]:
        """An input's types."""
        return tuple(V(a.inputs[name]) if name in a.inputs else R for a in self.axes)

    def size(self, axis: int) -> int:
        return self.axes[axis].size

    def shares(self, axis: int) -> list[tuple[int, int]]:
        return shares(self.axes[axis].size, self.mesh.sizes[axis])

    def lengths(self, axis: int) -> list[int]:
        return [length for _, length in self.shares(axis)]

    @property
    def weights(self) -> dict[int, list[float]]:
        """For each mesh axis what part of the axis each rank has."""
        return {
            axis: [length / self.size(axis) for length in self.lengths(axis)]
            for axis in range(len(self.axes))
        }

    def named(self, shape: Sequence[int]) -> tuple[str, ...]:
        return self.program.axes_of(tuple(shape))

    # -- how a rank writes sizes ------------------------------------------------------------

    def here(self, axis: int) -> ast.expr:
        """The length of a rank's share: `x.shape[0]`, or the name that a line gives it."""
        if axis in self.short:
            return ast.Name(self.short[axis], ast.Load())
        name, dim = next(iter(self.axes[axis].inputs.items()))
        return ast.parse(f"{name}.shape[{dim}]", mode="eval").body

    def all_of(self, axis: int) -> ast.expr:
        """The whole length: `n_all`, which the text is given."""
        return ast.Name(self.axes[axis].whole, ast.Load())

    def start(self, axis: int) -> ast.expr:
        """Where a rank's share begins: `n_start`, which the text is given."""
        return ast.Name(self.axes[axis].start, ast.Load())

    def told(self) -> dict[str, Value]:
        """What a rank is told of the whole, by name: lengths, and where its shares begin."""
        found = {}
        for at, axis in enumerate(self.axes):
            starts = [self.shares(at)[place[at]][0] for place in self.mesh.ranks]
            alike = [axis.size] * len(starts)
            for name, whole, held in ((axis.start, 0, starts), (axis.whole, axis.size, alike)):
                found[name] = Value(whole, held, None, ast.Name(name, ast.Load()))
        return found

    def note(self, value: Value) -> None:
        """Remember a name that is bound to the length of a share."""
        if isinstance(value.whole_syntax, ast.Name):
            for axis, of in enumerate(self.axes):
                if value.whole_syntax.id == of.whole:
                    self.short.setdefault(axis, value.name)

    def exact(self, value: Value) -> ast.expr | None:
        """How the whole's size is written where it is that of a split axis."""
        for axis in range(len(self.axes)):
            lengths = [self.lengths(axis)[at[axis]] for at in self.mesh.ranks]
            if value.whole == self.size(axis) and list(value.held) == lengths:
                return self.all_of(axis)
        return None

    def proportional(self, value: Value) -> ast.expr | None:
        """The same where it is a multiple of it, as the size of two axes that are laid in one."""
        if not isinstance(value.whole, int) or not all(isinstance(h, int) for h in value.held):
            return None
        for axes in _subsets(len(self.axes)):
            ratio = [1.0] * len(self.mesh.ranks)
            for axis in axes:
                weights = self.weights[axis]
                ratio = [
                    r * weights[at[axis]] for r, at in zip(ratio, self.mesh.ranks, strict=True)
                ]
            if all(abs(value.whole * r - h) < 1e-6 for r, h in zip(ratio, value.held, strict=True)):
                syntax = value.syntax
                for axis in axes:
                    product = ast.BinOp(syntax, ast.Mult(), self.all_of(axis))
                    syntax = ast.BinOp(product, ast.FloorDiv(), self.here(axis))
                return syntax
        return None


def _subsets(count: int) -> list[tuple[int, ...]]:
    return [tuple(i for i in range(count) if bits >> i & 1) for bits in range(1, 2**count)]


def splitting(program: Program, asked: Mapping[str, str], ranks: int, taken: set[str]) -> Split:
    """The split that a person asked for: `{"n": "data"}`.

    An axis is the one that an annotation names, `x: Float[Tensor, "n d"]`; of inputs without one
    it is named by its places, `x.0`, or `x.0 y.0` where several have it. `taken` are the names that
    the text has; those that it is given are added.

    Raises:
        DeriveError: no input has the axis, it is too short, or two are to share a mesh axis.
    """
    if not asked:
        raise DeriveError("nothing is to be split", hint='name an axis: split={"n": "data"}')
    if len(set(asked.values())) < len(asked):
        raise DeriveError(
            "two axes are split over one mesh axis", hint="give each a mesh axis of its own"
        )
    known: dict[str, dict[str, int]] = {}
    sizes: dict[str, int] = {}
    for given in program.inputs:
        shape: Any = getattr(given.value, "shape", ())
        names = given.axes or ()
        for dim, size in enumerate(shape):
            for name in {f"{given.name}.{dim}", *(names[dim : dim + 1])}:
                # A square input has the axis twice: rows are split.
                known.setdefault(name, {}).setdefault(given.name, dim)
                sizes[name] = size
    axes = []
    for name, mesh_axis in asked.items():
        places = name.split() if " " in name else [name]
        if len(places) > 1 and all(place in known for place in places):
            known[name] = {of: dim for place in places for of, dim in known[place].items()}
            sizes[name] = sizes[places[0]]
            if {sizes[place] for place in places} != {sizes[name]}:
                raise DeriveError(f"`{name}` is not one axis: its sizes differ")
        if name not in known:
            annotated = sorted(n for n in known if n.isidentifier())
            shown = annotated or sorted(known)
            raise DeriveError(
                f"no input has an axis `{name}`", hint=f"there are: {', '.join(shown)}"
            )
        if sizes[name] < 2:
            raise DeriveError(
                f"the axis `{name}` is of size {sizes[name]}, too short to be split",
                hint="give `inputs` in which it is longer",
            )
        said = "".join(c if c.isalnum() else "_" for c in places[0])
        whole, start, group = (
            _fresh(base, taken) for base in (f"{said}_all", f"{said}_start", mesh_axis)
        )
        axes.append(Axis(said, sizes[name], known[name], whole, start, group))
    counts = tuple(min(ranks, axis.size) for axis in axes)
    return Split(program, tuple(axes), Mesh(tuple(asked.values()), counts))


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken or not name.isidentifier():
        name = f"{name}_group" if name.isidentifier() else "axis"
    taken.add(name)
    return name
