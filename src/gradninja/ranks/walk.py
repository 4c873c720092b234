"""The walk over a program's lines: each value gets its types, and collectives where they must be.

A partial value stays so through whatever is linear in it, and is summed over the ranks where
something needs it whole. What no rank can do on its share is given the whole: that is dear, so it
comes last.
"""

from __future__ import annotations

import ast
import builtins
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gradninja.errors import DeriveError
from gradninja.ranks.lines import Collective, RankLine
from gradninja.ranks.mesh import Mesh, cut, join, numel
from gradninja.ranks.operations import Operation, Taker, target_of
from gradninja.ranks.split import Split
from gradninja.ranks.trying import FAILURES, Found, Judge, Trial
from gradninja.ranks.types import R, Type, V
from gradninja.ranks.values import Value, constant

# What a change of type costs beside others: a slice is free, a sum over ranks cheaper than a whole.
COST = {"slice": 1, "zeros": 2, "reduce_scatter": 3, "all_reduce": 4, "all_gather": 40}
MOST_MOVES = 3
MOST_SIZES = 3  # sizes in one operation that are tried of the share and of the whole


@dataclass(frozen=True)
class Move:
    """A change of one operand's type on one mesh axis."""

    kind: str
    key: str | int  # the operand's name, or its place
    axis: int
    to: Type


class Again(Exception):
    """A name is whole now, so the line that needs it is gone through once more."""


class Walk:
    """Goes through lines; `lines` and `collectives` by their place are what one rank has."""

    def __init__(
        self, split: Split, scope: Mapping[str, Any], values: Mapping[str, Value], taken: set[str]
    ) -> None:
        self.split, self.mesh = split, split.mesh
        self.scope = scope
        self.values: dict[str, Value] = dict(values)
        self.taken = taken
        self.lines: list[RankLine | Collective] = []
        self.judge = Judge(split.mesh, split.weights)
        self.copies: dict[tuple[str, str, int], str] = {}  # what was gathered or sliced already
        self.last: dict[str, int] = {}  # the last line that read a name as partial
        self.answers = ""
        self.current = ""
        self.target = ""  # what the line writes into

    # -- lines ------------------------------------------------------------------------------

    def line(self, node: ast.stmt, answers: str = "", note: str = "") -> None:
        """Go through one line."""
        self.answers, self.note, self.current = answers, note, ast.unparse(node)
        while True:
            before = dict(self.values), list(self.lines), dict(self.copies), dict(self.last)
            try:
                self._line(node)
                return
            except Again as again:
                self.values, self.lines, self.copies, self.last = before
                name, axis = again.args
                self.move_name(Move("all_reduce", name, axis, R))

    def _line(self, node: ast.stmt) -> None:
        target = target_of(node)
        self.target = target
        if target:
            if target not in self.values:
                self.refuse(f"`{target}` is written into and has no value")
            value = self.operation(Taker(self.values.__contains__).statement(node, target), target)
            self.values[target] = value.named(target)
            self._forget(target)
            self._emit(value.syntax, (target,))  # type: ignore[arg-type]
            return
        if not isinstance(node, ast.Assign):
            self.refuse("only assignments are read here")
        value = self.expression(node.value)
        names = node.targets[0]
        if isinstance(names, ast.Name):
            self._forget(names.id)
            self.values[names.id] = value.named(names.id)
            self.split.note(self.values[names.id])
            bound = (names.id,)
        else:
            assert isinstance(names, ast.Tuple | ast.List)
            bound = tuple(n.id for n in names.elts if isinstance(n, ast.Name))
            if len(bound) != len(names.elts):
                self.refuse("this binds more than names")
            parts = value.parts
            if not parts:  # plain values, such as the sizes of a shape
                parts = tuple(
                    self._plain(value.whole[at], [h[at] for h in value.held], value.syntax)
                    for at in range(len(bound))
                )
            for name, part in zip(bound, parts, strict=True):
                self.values[name] = part.named(name)
        self._emit(ast.Assign([names], value.syntax, lineno=0), bound)

    def _forget(self, name: str) -> None:
        """Copies of a name are not what it is any more."""
        self.copies = {key: into for key, into in self.copies.items() if key[0] != name}

    def _plain(self, whole: Any, held: list[Any], syntax: ast.expr) -> Value:
        """One of several plain values."""
        value = Value(whole, held, None, syntax)
        if value.sized:
            value.whole_syntax = self.split.exact(value)
        return value

    def _emit(self, node: ast.stmt, bound: tuple[str, ...]) -> None:
        types = tuple(self.values[name].types for name in bound)
        self.lines.append(RankLine(node, bound, types, self.answers, self.note))
        self._note_uses(node)

    def _note_uses(self, node: ast.AST) -> None:
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and part.id in self.values:
                types = self.values[part.id].types or ()
                if any(kind.partial for kind in types):
                    self.last[part.id] = len(self.lines)

    def refuse(self, why: str, hint: str | None = None) -> Any:
        """Raise DeriveError: a line that cannot be split."""
        raise DeriveError(f"`{self.current}` cannot be split over ranks: {why}", hint=hint)

    # -- expressions ------------------------------------------------------------------------

    def expression(self, node: ast.expr) -> Value:
        """An expression's value, innermost operations first."""
        if isinstance(node, ast.Name) and node.id in self.values:
            return self.values[node.id]
        taker = Taker(self.values.__contains__)
        if not taker.has_values(node):
            scope = {**vars(builtins), **self.scope}
            found = eval(compile(ast.unparse(node), "<line>", "eval"), scope)
            return constant(found, node, self.mesh)
        return self.operation(taker.expression(node))

    def operation(self, operation: Operation, target: str = "") -> Value:
        """The value of one operation on operands that are gone through first."""
        operands = [self.expression(node) for node in operation.operands]
        keys: list[str | int] = [v.name or at for at, v in enumerate(operands)]
        into = self.values[target] if target else None
        trial = Trial(operation, into, self.mesh, self.scope)
        try:
            wholes = trial.wholes(operands)
        except FAILURES as error:
            self.refuse(f"it does not run ({error})")
        if into is None and not _has_tensor(wholes[0]):
            return self._plain_result(operation, operands, trial, wholes[0])
        self._sizes = trial.sizes(operands)
        for moves in self._moves(operands, keys, target):
            found = self._attempt(trial, operands, keys, target, moves, wholes)
            if found is not None:
                self._perform(moves, operands, keys)
                return self._value(operation, operands, trial, target, found, wholes)
        return self.refuse(
            "no rank can do it on its share, nor on the whole",
            hint="split another axis, or write the step with other operations",
        )

    def _plain_result(
        self, operation: Operation, operands: list[Value], trial: Trial, whole: Any
    ) -> Value:
        """A plain value: a size, a shape, a number."""
        held = trial.held(operands, [False] * len(operands), None, 0)
        if held is None:
            self.refuse("a share is too short for it")
        assert held is not None
        syntax = operation.filled([v.syntax for v in operands])
        value = Value(whole, held, None, syntax)
        if value.sized:
            value.whole_syntax = self.split.exact(value)
            of_tensors = any(v.types is not None for v in operands)
            if value.whole_syntax is None and not of_tensors:
                wholes = [v.whole_syntax if v.sized else v.syntax for v in operands]
                if all(w is not None for w in wholes):
                    value.whole_syntax = operation.filled([w for w in wholes if w is not None])
            if value.whole_syntax is None:
                value.whole_syntax = self.split.proportional(value)
        return value

    # -- trying -----------------------------------------------------------------------------

    def _moves(
        self, operands: list[Value], keys: list[str | int], target: str
    ) -> Iterator[tuple[Move, ...]]:
        """What may be done to operands first: nothing, then the cheapest."""
        yield ()
        single: dict[tuple[str | int, int], list[Move]] = {}
        pairs = [*zip(operands, keys, strict=True)]
        if target:
            pairs.append((self.values[target], target))
        for value, key in pairs:
            for axis, kind in enumerate(value.types or ()):
                single[key, axis] = list(self._moves_of(value, key, axis, kind, key == target))
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
        last = tuple(
            moves[-1] for moves in single.values() if moves and moves[-1].kind != "slice"
        )
        if len(last) > MOST_MOVES:
            yield last

    def _moves_of(
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
                value = self._as(value, move)
        return value

    def _as(self, value: Value, move: Move) -> Value:
        assert value.types is not None
        if move.kind == "slice":
            types = tuple(move.to if a == move.axis else t for a, t in enumerate(value.types))
            cut_now = cut(value.whole, types, self.mesh) if not _partial(types) else None
            if cut_now is None:
                cut_now = [
                    h.narrow(move.to.dim or 0, *self.split.shares(move.axis)[at[move.axis]])
                    for h, at in zip(value.held, self.mesh.ranks, strict=True)
                ]
            return value.becomes(move.axis, move.to, cut_now)
        held = list(value.held)
        only = tuple(t if a == move.axis else R for a, t in enumerate(value.types))
        for line in self.mesh.lines(move.axis):
            part = Mesh(self.mesh.axes[move.axis : move.axis + 1], (len(line),))
            whole = join([value.held[at] for at in line], (only[move.axis],), part)
            assert whole is not None
            parts = cut(whole, (move.to,), part)
            for at, mine in zip(line, parts, strict=True):
                held[at] = mine
        return value.becomes(move.axis, move.to, held)

    def _attempt(
        self,
        trial: Trial,
        operands: list[Value],
        keys: list[str | int],
        target: str,
        moves: tuple[Move, ...],
        wholes: list[Any],
    ) -> tuple[Found, tuple[bool, ...]] | None:
        """How the results make up the whole, and of which operands the whole's size is taken."""
        now = [self.moved(v, key, moves) for v, key in zip(operands, keys, strict=True)]
        into = self.moved(self.values[target], target, moves) if target else None
        sized = [at for at, v in enumerate(now) if v.sized]
        if len(sized) > MOST_SIZES:
            choices = [(False,) * len(sized), (True,) * len(sized)]
        else:
            choices = list(itertools.product((False, True), repeat=len(sized)))
        for plainly, choice in itertools.product((True, False), choices):
            of_whole = dict(zip(sized, choice, strict=True))
            if any(of_whole[at] and now[at].whole_syntax is None for at in sized):
                continue
            sizes = tuple(of_whole.get(at, False) for at in range(len(now)))
            held = [trial.held(now, sizes, into, number) for number in range(len(wholes))]
            found = self.judge.types(wholes, held, self._sizes, plainly)
            if found is not None and (not target or not (found.weighed or found.extreme)):
                if not _has_tensor(wholes[0]):
                    continue
                self._results = [h for h in held[0] or []]
                self._zero = all(w is None or _zeros(w) for w in wholes) and all(
                    h is None or all(_zeros(each) for each in h) for h in held
                )
                return found, sizes
        return None

    def _value(
        self,
        operation: Operation,
        operands: list[Value],
        trial: Trial,
        target: str,
        found: tuple[Found, tuple[bool, ...]],
        wholes: list[Any],
    ) -> Value:
        how, sizes = found
        written = [
            v.whole_syntax if of_whole else v.syntax
            for v, of_whole in zip(operands, sizes, strict=True)
        ]
        syntax = operation.filled([w for w in written if w is not None], into=target)
        held = self._results
        if how.several:
            parts = tuple(
                Value(wholes[0][at], [h[at] for h in held], types, syntax)
                for at, types in enumerate(how.several)
            )
            return Value(wholes[0], held, None, syntax, parts=parts)
        if how.weighed:
            held = self.judge.weigh(held, how.weighed)
            for axis in how.weighed:
                part = ast.BinOp(self.split.here(axis), ast.Div(), self.split.all_of(axis))
                syntax = ast.BinOp(syntax, ast.Mult(), part)
        value = Value(wholes[0], held, how.types, syntax, zero=self._zero)
        if how.extreme:
            assert how.types is not None
            (axis,) = (at for at, kind in enumerate(how.types) if kind.partial)
            name = self.fresh(how.extreme)
            self._bind(name, value)
            self._collect("all_reduce", name, name, axis, op=how.extreme)
            rest = tuple(R if at == axis else t for at, t in enumerate(how.types))
            whole = cut(wholes[0], rest, self.mesh)
            value = Value(wholes[0], whole, rest, ast.Name(name, ast.Load()))
            self.values[name] = value
        return value

    # -- collectives ------------------------------------------------------------------------

    def _perform(
        self, moves: tuple[Move, ...], operands: list[Value], keys: list[str | int]
    ) -> None:
        """Write what makes operands of other types; `operands` are changed."""
        by_key: dict[str | int, list[Move]] = {}
        for move in sorted(moves, key=lambda m: COST[m.kind]):
            by_key.setdefault(move.key, []).append(move)
        for key, several in by_key.items():
            if isinstance(key, int):
                for move in several:
                    if move.kind == "all_reduce":
                        self._hoist(operands[key], move.axis)
                name = self.fresh("part")
                self._bind(name, operands[key])
            else:
                name = key
            for move in several:
                name = self.move_name(replace(move, key=name))
            for at, other in enumerate(keys):
                if other == key:
                    operands[at] = self.values[name]

    def _hoist(self, value: Value, axis: int) -> None:
        """Where one partial name is all that makes an expression partial, sum that."""
        names = {
            n.id
            for n in ast.walk(value.syntax)
            if isinstance(n, ast.Name)
            and n.id in self.values
            and (types := self.values[n.id].types) is not None
            and types[axis].partial
        }
        if len(names) == 1:
            (name,) = names
            if numel(self.values[name].held[0].shape) <= numel(value.held[0].shape):
                raise Again(name, axis)

    def move_name(self, move: Move) -> str:
        """Write the change of a name's type; the name that has the other type."""
        name = str(move.key)
        value = self.values[name]
        now = self._as(value, move)
        if move.kind == "zeros":
            self._zeros(name, now, move.axis)
            return name
        if move.kind == "all_reduce":
            self._collect("all_reduce", name, name, move.axis)
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
            self._collect(move.kind, name, into, move.axis, dim=kind.dim or 0)
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

    def _bind(self, name: str, value: Value) -> None:
        self.values[name] = value.named(name)
        node = ast.Assign([ast.Name(name, ast.Store())], value.syntax, lineno=0)
        self._emit(node, (name,))

    def _collect(
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
                self.current,
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


def _has_tensor(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(isinstance(v, Tensor) for v in value)
    return isinstance(value, Tensor)


def _zeros(value: Any) -> bool:
    return isinstance(value, Tensor) and not bool(torch.count_nonzero(value.nan_to_num(1)))


def _partial(types: Sequence[Type]) -> bool:
    return any(kind.partial for kind in types)
