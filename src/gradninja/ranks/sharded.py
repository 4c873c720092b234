"""What sharding gives: forward and backward as one rank has them, as text and as functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gradninja.derive import Backward
from gradninja.derive.statement import signature, with_imports
from gradninja.errors import DeriveError
from gradninja.lines import Program
from gradninja.ranks.mesh import Mesh, cut, join
from gradninja.ranks.rank_lines import COLLECTIVES, Collective, Items, RankLine
from gradninja.ranks.simulate import Traffic, simulate
from gradninja.ranks.split import Split
from gradninja.ranks.types import Type

IMPORT = f"import torch.distributed._functional_collectives as {COLLECTIVES}"
WIDEST = 60  # characters of a line that still moves the column in which the types stand


@dataclass(frozen=True, eq=False)
class Part:
    """The forward's or the backward's lines, and the names that it gives."""

    items: Items
    returned: tuple[str, ...]

    @property
    def collectives(self) -> tuple[Collective, ...]:
        return tuple(item for item in self.items if isinstance(item, Collective))

    def trees(self) -> Iterator[ast.AST]:
        for item in self.items:
            yield item.node if isinstance(item, RankLine) else ast.parse(str(item))

    @property
    def names(self) -> set[str]:
        """The names that its lines have."""
        return {n.id for tree in self.trees() for n in ast.walk(tree) if isinstance(n, ast.Name)}


@dataclass(frozen=True, eq=False)
class Sharded:
    """A forward and its backward for one rank. See `gradninja.shard`."""

    program: Program
    split: Split
    forward: Part
    backward: Part
    step: Part  # both in one, whose calls may wait for each other
    wanted: tuple[str, ...]  # the inputs whose gradients the backward gives
    cotangents: tuple[str, ...]  # of outputs that are no loss: what the backward is given
    types: Mapping[str, tuple[Type, ...]]  # of inputs, outputs and cotangents
    scalar: bool
    back: Backward | None = None

    # -- text -------------------------------------------------------------------------------

    @property
    def collectives(self) -> tuple[Collective, ...]:
        """The calls in which ranks take part, in their order."""
        return (*self.forward.collectives, *self.backward.collectives)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the process groups that the text takes, one a mesh axis."""
        return tuple(axis.group for axis in self.split.axes)

    @cached_property
    def kept(self) -> tuple[str, ...]:
        """What the backward reads of the forward's lines."""
        made = dict.fromkeys(name for item in self.forward.items for name in _bound(item))
        return tuple(n for n in made if n in self._reads and n not in self.forward.returned)

    @cached_property
    def _reads(self) -> set[str]:
        """What the backward reads before it is bound there."""
        own: set[str] = set()
        found: set[str] = set()
        for item in self.backward.items:
            found.update(name for name in _read(item) if name not in own)
            own.update(_bound(item))
        return found

    def _given(self, *parts: Part, guarded: bool = False) -> list[str]:
        """What a text takes besides tensors: sizes of the whole, and groups."""
        names = set().union(*(part.names for part in parts))
        if guarded:
            names |= {self.split.axes[at].whole for at in self._gathered(*parts)}
        sizes = [n for axis in self.split.axes for n in (axis.whole, axis.start)]
        return [name for name in (*sizes, *self.groups) if name in names]

    def _gathered(self, *parts: Part) -> list[int]:
        """The axes whose shares parts hand to calls that want them of one length."""
        found = {c.mesh_axis for p in parts for c in p.collectives if c.kind != "all_reduce"}
        return [at for at, of in enumerate(self.split.mesh.axes) if of in found]

    def _guards(self, *parts: Part) -> Iterator[str]:
        """Lines that refuse shares of other lengths: a backend would hang, or mix them up."""
        for at in self._gathered(*parts):
            axis = self.split.axes[at]
            yield f"if {axis.whole} % torch.distributed.get_world_size({axis.group}):"
            yield f'    raise ValueError("{axis.name} is gathered: its shares must be equal")'

    def _text(self, name: str, arguments: Sequence[str], body: Sequence[str]) -> str:
        lines = "\n".join(f"    {line}" for line in body)
        text = with_imports(f"{signature(name, arguments)}\n{lines}\n")
        if f"{COLLECTIVES}." not in text:
            return text
        head, _, rest = text.partition("\n\n\n") if text.startswith("import") else ("", "", text)
        return "\n".join(filter(None, [head, IMPORT])) + "\n\n\n" + rest

    def _inputs(self) -> list[str]:
        return [f"{i.name}={i.value!r}" if i.optional else i.name for i in self.program.inputs]

    @cached_property
    def forward_source(self) -> str:
        """`def forward(...)` for one rank: its outputs, and what the backward reads."""
        return self._forward_text(told=False)

    @cached_property
    def source(self) -> str:
        """`def backward(...)` for one rank, given the forward's values that it has."""
        return self._backward_text(told=False)

    @cached_property
    def step_source(self) -> str:
        """Both in one function, `def step(...)`: the outputs, then the gradients."""
        return self._step_text(self._results, guarded=True)

    @property
    def _results(self) -> str:
        return ", ".join((*self.forward.returned, *self.backward.returned))

    @cached_property
    def step_locals(self) -> str:
        """The same, giving all that its lines bind, by name."""
        return self._step_text("locals()")

    def _step_text(self, returned: str, guarded: bool = False) -> str:
        part = self.step
        names = self._arguments([*self.cotangents, *self._given(part, guarded=guarded)])
        lines = list(self._guards(part)) if guarded else []
        lines += self._lines(part, False)
        return self._text("step", names, [*lines, f"return {returned}"])

    def _arguments(self, given: Sequence[str]) -> list[str]:
        inputs = self._inputs()
        plain = [name for name in inputs if "=" not in name]
        return [*plain, *given, *(name for name in inputs if "=" in name)]

    def _forward_text(self, told: bool) -> str:
        names = self._arguments(self._given(self.forward, guarded=True))
        returned = ", ".join((*self.forward.returned, *self.kept))
        guards = self._guards(self.forward)
        body = [*guards, *self._lines(self.forward, told), f"return {returned}"]
        return self._text("forward", names, body)

    @cached_property
    def forward_locals(self) -> str:
        """The same, giving all that its lines bind, by name."""
        names = self._arguments(self._given(self.forward))
        return self._text("forward", names, [*self._lines(self.forward, False), "return locals()"])

    def _backward_text(self, told: bool) -> str:
        body = [*self._lines(self.backward, told), f"return {', '.join(self.backward.returned)}"]
        return self._text("backward", self.backward_arguments, body)

    @cached_property
    def backward_arguments(self) -> list[str]:
        """The names that the backward takes."""
        inputs = [i.name for i in self.program.inputs if i.name in self._reads]
        made = [n for n in (*self.forward.returned, *self.kept) if n in self._reads]
        return [*inputs, *made, *self.cotangents, *self._given(self.backward)]

    def _lines(self, part: Part, told: bool) -> list[str]:
        """The lines as text; with their types, and why each collective stands there."""
        found: list[str] = []
        answers = ""
        texts = [str(item) for item in part.items]
        column = max((len(t) for t in texts if len(t) <= WIDEST), default=0)
        for item, text in zip(part.items, texts, strict=True):
            if isinstance(item, RankLine) and item.answers and item.answers != answers:
                answers = item.answers
                found.append(f"# {answers}")
            if told:
                said = self._said(item)
                found.append(f"{text:{column}}  # {said}" if said else text)
            else:
                found.append(text)
        return found

    def _said(self, item: RankLine | Collective) -> str:
        if isinstance(item, Collective):
            return f"{item.kind} over {item.mesh_axis}"
        kinds = [self.said(types) for types in item.types if types is not None]
        return ", ".join(dict.fromkeys(kinds))

    def said(self, types: Sequence[Type]) -> str:
        """Types in words: `data: S(0), model: R`; one alone without its axis."""
        if len(types) == 1:
            return str(types[0])
        return ", ".join(f"{a}: {t}" for a, t in zip(self.split.mesh.axes, types, strict=True))

    def declared(self, name: str) -> tuple[str, ...]:
        """An input's types as the field declares them: a weight, whose gradient is wanted whole, is
        invariant and not only replicated."""
        flows = name in self.wanted
        return tuple("I" if flows and t.letter == "R" else str(t) for t in self.types[name])

    @cached_property
    def annotated(self) -> str:
        """Both texts with the type of each line beside it: what `gradninja shard` prints."""
        head = []
        for axis, of in zip(self.split.axes, self.split.mesh.axes, strict=True):
            head.append(f"# {axis.name} is split over {of}: {', '.join(axis.inputs)}")
            if any(axis.start in part.names for part in (self.forward, self.backward)):
                head.append(f"# {axis.start}: where a rank's share of {axis.name} begins")
            if any(axis.whole in part.names for part in (self.forward, self.backward)):
                head.append(f"# {axis.whole}: how long {axis.name} is on all ranks together")
        head.append(
            "# R replicated, S(0) varying: a share of axis 0, P partial: the ranks' sum counts"
        )
        for at in sorted(self.split.equal):
            head.append(f"# {self.split.axes[at].name} is gathered: its shares must be equal")
        parts = ["\n".join(head) + "\n", self._forward_text(told=True)]
        if self.backward.items:
            parts.append(self._backward_text(told=True))
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        return self.annotated

    # -- running ----------------------------------------------------------------------------

    def mesh_of(self, ranks: int | Sequence[int]) -> Mesh:
        """A mesh with so many ranks along each axis."""
        sizes = (ranks,) * len(self.split.axes) if isinstance(ranks, int) else tuple(ranks)
        return Mesh(self.split.mesh.axes, sizes)

    def arguments(self, values: Mapping[str, Any], mesh: Mesh) -> list[dict[str, Any]]:
        """What each rank's text takes, of whole values: shares, sizes of the whole.

        Raises:
            DeriveError: an axis is shorter than there are ranks.
        """
        found: list[dict[str, Any]] = [{} for _ in mesh.ranks]
        for name, value in values.items():
            held = [value] * len(mesh.ranks)
            if isinstance(value, Tensor):
                held = list(cut(value, self.types[name], mesh))
            for rank, part in zip(found, held, strict=True):
                rank[name] = part
        for at, axis in enumerate(self.split.axes):
            name, dim = next(iter(axis.inputs.items()))
            size = values[name].shape[dim]
            if size < mesh.sizes[at]:
                raise DeriveError(
                    f"the axis `{axis.name}` is of size {size}, too short for "
                    f"{mesh.sizes[at]} ranks"
                )
            length, rest = divmod(size, mesh.sizes[at])
            for rank, place in zip(found, mesh.ranks, strict=True):
                rank[axis.whole] = size
                rank[axis.start] = place[at] * length + min(place[at], rest)
        return found

    def __call__(
        self,
        inputs: Mapping[str, Any],
        grad: Tensor | Sequence[Tensor] | None = None,
        ranks: int | Sequence[int] = 2,
    ) -> dict[str, Tensor]:
        """Outputs and gradients, `{"loss": tensor, "dx": tensor}`, by ranks that are simulated in
        this process, of whole inputs, which are split as they would be.

        Args:
            inputs: as for a `Backward`.
            grad: the cotangent of an output that is no loss; a tuple for several.
            ranks: how many, along each axis that is split.

        Raises:
            DeriveError: a rank's text fails, or the ranks do not agree on a result.
        """
        return self.simulated(inputs, grad, ranks)[0]

    def simulated(
        self,
        inputs: Mapping[str, Any],
        grad: Tensor | Sequence[Tensor] | None = None,
        ranks: int | Sequence[int] = 2,
    ) -> tuple[dict[str, Tensor], Traffic]:
        """The same, and what one rank handed to collectives."""
        mesh = self.mesh_of(ranks)
        values = {i.name: i.value for i in self.program.inputs if i.optional}
        values.update(inputs)
        live = self.program.live
        if live is not None:
            values = {live.paths.get(name, name): value for name, value in values.items()}
            values = {**{n: live.now[n] for n in live.tensors if n not in values}, **values}
        grads = self.program.of_flowing(grad if isinstance(grad, tuple | list) else (grad,))
        if self.cotangents:
            if len(grads) != len(self.cotangents) or any(g is None for g in grads):
                raise DeriveError(
                    f"the outputs are no loss: {len(self.cotangents)} cotangents are wanted",
                    hint="give them as `grad`",
                )
            values.update(zip(self.cotangents, grads, strict=True))
        results, traffic = simulate(
            self._step_text(self._results),
            "step",
            self.arguments(values, mesh),
            mesh,
            self.groups,
            self.program.namespace,
        )
        names = (*self.program.outputs, *(f"d{name}" for name in self.wanted))
        several = [r if isinstance(r, tuple) else (r,) for r in results]
        found: dict[str, Tensor] = {}
        for at, name in enumerate(names):
            held = [torch.as_tensor(each[at]) for each in several]
            whole = join(held, self.types[name], mesh)
            if whole is None:
                raise DeriveError(f"`{name}` differs between ranks")
            found[name] = whole
        return found, traffic

    def bytes(self, ranks: int, itemsize: int = 4) -> int:
        """Bytes that one rank sends a step on the sizes that were read, by the ring algorithm."""
        return sum(
            int(sent(call.kind, ranks) * call.elements * itemsize) for call in self.collectives
        )


def sent(kind: str, ranks: int) -> float:
    """How often a rank sends what it hands in, in a ring: Patarasuk and Yuan, "Bandwidth Optimal
    All-reduce Algorithms for Clusters of Workstations" (2009)."""
    return {
        "all_reduce": 2 * (ranks - 1) / ranks,
        "reduce_scatter": (ranks - 1) / ranks,
        "all_gather": ranks - 1,
    }[kind]


def _bound(item: RankLine | Collective) -> tuple[str, ...]:
    return item.of if isinstance(item, RankLine) else item.into


def _read(item: RankLine | Collective) -> list[str]:
    tree = item.node if isinstance(item, RankLine) else ast.parse(str(item))
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
    written = isinstance(item, RankLine) and not isinstance(item.node, ast.Assign)
    found = [n.id for n in names if isinstance(n.ctx, ast.Load)]
    if written:
        found += item.of  # type: ignore[union-attr]
    return found
