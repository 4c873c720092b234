"""One rank's text as it is written: values by name, lines, and collectives between them."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence

from gradninja.ranks.mesh import numel
from gradninja.ranks.rank_lines import Collective, RankLine
from gradninja.ranks.rank_values import Value
from gradninja.ranks.split import Split
from gradninja.ranks.type_changes import Move, Moves
from gradninja.ranks.types import R, Type

State = tuple[
    dict[str, Value],
    list[RankLine | Collective],
    dict[tuple[str, str, int], str],
    dict[str, int],
    dict[str, str],
]


class Text:
    """What a walk writes: `lines`, and `values`, what each name stands for after them."""

    def __init__(self, split: Split, values: Mapping[str, Value], taken: set[str]) -> None:
        self.split, self.mesh = split, split.mesh
        self.moves = Moves(split)
        self.values: dict[str, Value] = dict(values)
        self.taken = taken
        self.lines: list[RankLine | Collective] = []
        self.copies: dict[tuple[str, str, int], str] = {}  # what was gathered or sliced already
        self.last: dict[str, int] = {}  # the place after which a name may be summed
        self.known: dict[str, str] = {}  # the names of expressions that operations mean
        self.answers = self.current = ""
        self.target = ""  # what the line writes into

    def emit(self, node: ast.stmt, bound: tuple[str, ...], note: str = "") -> None:
        """Write a line."""
        types = tuple(self.values[name].types for name in bound)
        self.lines.append(RankLine(node, bound, types, self.answers, note))
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and part.id in self.values:
                kinds = self.values[part.id].types or ()
                if any(kind.partial for kind in kinds):
                    self.last[part.id] = len(self.lines)

    def bind(self, name: str, value: Value) -> None:
        """Write a line that gives a value a name."""
        self.values[name] = value.named(name)
        self.emit(ast.Assign([ast.Name(name, ast.Store())], value.syntax, lineno=0), (name,))

    def forget(self, name: str) -> None:
        """Copies of a name are not what it is any more."""
        self.copies = {key: into for key, into in self.copies.items() if key[0] != name}
        named = re.compile(rf"\b{name}\b")
        self.known = {text: of for text, of in self.known.items() if not named.search(text)}

    def state(self) -> State:
        """All that lines change, to go back to."""
        return (
            dict(self.values),
            list(self.lines),
            dict(self.copies),
            dict(self.last),
            dict(self.known),
        )

    def restore(self, state: State) -> None:
        """Go back to how it was."""
        self.values, self.lines, self.copies, self.last, self.known = state

    def move_name(self, move: Move) -> str:
        """Write the change of a name's type; the name that has the other type."""
        name = str(move.key)
        value = self.values[name]
        now = self.moves.changed(value, move)
        if move.kind == "zeros":
            self._zeros(name, now, move.axis)
            return name
        if move.kind == "all_reduce":
            self.collect("all_reduce", name, name, move.axis)
            self.values[name] = now.named(name)
            self.last[name] = len(self.lines)
            return name
        kept = self.copies.get((name, move.kind, move.axis))
        if kept is not None and self.values[kept].types == now.types:
            return kept
        axis = self.split.axes[move.axis]
        into = self.fresh("all" if move.kind == "all_gather" else "here", of=name)
        self.copies[name, move.kind, move.axis] = into
        self.values[into] = now.named(into)
        if name == self.target:  # it is written into from now on
            into, self.values[name] = name, now.named(name)
        if move.kind != "slice":
            self.split.equal.add(move.axis)
            assert value.types is not None
            kind = value.types[move.axis] if move.kind == "all_gather" else move.to
            self.collect(move.kind, name, into, move.axis, dim=kind.dim or 0)
        else:
            start, length = self.split.start(move.axis), self.split.here(move.axis)
            call = ast.Call(
                ast.Attribute(ast.Name(name, ast.Load()), "narrow", ast.Load()),
                [ast.Constant(move.to.dim), start, length],
                [],
            )
            note = f"this rank's part of {axis.name}"
            node = ast.Assign([ast.Name(into, ast.Store())], call, lineno=0)
            self.lines.append(RankLine(node, (into,), (now.types,), self.answers, note))
        return into

    def _zeros(self, name: str, now: Value, axis: int) -> None:
        """Zeros of the whole's shape need no call."""
        dim = (self.values[name].types or ())[axis].dim or 0
        before = f"*{name}.shape[:{dim}], " if dim else ""
        size = ast.unparse(self.split.all_of(axis))
        text = f"{name} = {name}.new_zeros(({before}{size}, *{name}.shape[{dim + 1}:]))"
        self.values[name] = now.named(name)
        self.lines.append(
            RankLine(ast.parse(text).body[0], (name,), (now.types,), self.answers, "zeros")
        )

    def collect(
        self, kind: str, name: str, into: str, axis: int, op: str = "sum", dim: int = 0
    ) -> None:
        value = self.values[name]
        shape = tuple(value.whole.shape)
        self.lines.append(
            Collective(
                kind,
                (name,),
                (into,),
                self.mesh.axes[axis],
                (self.current,),
                (self.split.named(shape),),
                numel(value.held[0].shape),
                str(value.whole.dtype).removeprefix("torch."),
                op=op,
                dim=dim,
                ready=self.last.get(name, 0),
            )
        )

    def fresh(self, suffix: str, of: str = "") -> str:
        """A name that nothing has."""
        if not of:
            node = ast.parse(self.current).body[0]
            first = next((n.id for n in ast.walk(node) if isinstance(n, ast.Name)), "part")
            of = first
        name = base = f"{of}_{suffix}"
        count = 1
        while name in self.taken:
            count += 1
            name = f"{base}{count}"
        self.taken.add(name)
        return name

    # -- what leaves ------------------------------------------------------------------------

    def make(self, name: str, types: Sequence[Type], why: str) -> str:
        """The name of a value that is of these types."""
        self.current, self.answers = why, ""
        for axis, kind in enumerate(types):
            value = self.values[name]
            assert value.types is not None
            now = value.types[axis]
            if now == kind or (value.zero and not now.varies and not kind.varies):
                continue
            if now.partial and kind.varies:
                name = self.move_name(Move("reduce_scatter", name, axis, kind))
                continue
            if now.partial:
                name = self.move_name(Move("all_reduce", name, axis, R))
            elif now.varies:
                how = "zeros" if value.zero else "all_gather"
                name = self.move_name(Move(how, name, axis, R))
            if kind.varies:
                name = self.move_name(Move("slice", name, axis, kind))
        return name
