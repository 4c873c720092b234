"""The walk over a program's lines: each value gets its types, and collectives where they must be.

A partial value stays so through whatever is linear in it, and is summed over the ranks where
something needs it whole. What no rank can do on its share is given the whole: that is dear, so it
comes last.
"""

from __future__ import annotations

import ast
import builtins
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from gradninja.errors import DeriveError
from gradninja.ranks.mesh import cut, numel
from gradninja.ranks.moves import COST, Move
from gradninja.ranks.operations import Operation, Taker, target_of
from gradninja.ranks.split import Split
from gradninja.ranks.text import Text
from gradninja.ranks.trying import EXTREMES, FAILURES, Found, Judge, Trial
from gradninja.ranks.types import R
from gradninja.ranks.values import Value, constant, exactly

MOST_SIZES = 3  # sizes in one operation that are tried of the share and of the whole


UNFIT = object()  # in place of a number that a share does not have


class Again(Exception):
    """A name is whole now, so the line that needs it is gone through once more."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """How an operation went on shares: of which operands the whole's size was taken, and what the
    ranks then hold."""

    found: Found
    sizes: tuple[bool, ...]
    held: list[Any]
    zero: bool


class Walk(Text):
    """Goes through lines and writes what one rank has in their place."""

    def __init__(
        self, split: Split, scope: Mapping[str, Any], values: Mapping[str, Value], taken: set[str]
    ) -> None:
        super().__init__(split, values, taken)
        self.scope = scope
        self.judge = Judge(split.mesh, split.weights)

    # -- lines ------------------------------------------------------------------------------

    def line(self, node: ast.stmt, answers: str = "") -> None:
        """Go through one line."""
        self.answers, self.current = answers, ast.unparse(node)
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
            self.forget(target)
            self.emit(value.syntax, (target,))  # type: ignore[arg-type]
            return
        if not isinstance(node, ast.Assign):
            self.refuse("only assignments are read here")
        value = self.expression(node.value)
        names = node.targets[0]
        bound: tuple[str, ...]
        if isinstance(names, ast.Name):
            self.forget(names.id)
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
        self.emit(ast.Assign([names], value.syntax, lineno=0), bound)

    def _plain(self, whole: Any, held: list[Any], syntax: ast.expr) -> Value:
        """One of several plain values."""
        value = Value(whole, held, None, syntax)
        if value.sized:
            value.whole_syntax = self.split.exact(value) or self.split.proportional(value)
        return value

    def refuse(self, why: str, hint: str | None = None) -> NoReturn:
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
            return self._plain_result(operation, operands, trial)
        pairs: list[tuple[Value, str | int]] = [*zip(operands, keys, strict=True)]
        if into is not None:
            pairs.append((into, target))
        sizes = trial.sizes(operands)
        for moves in self.moves.possible(pairs, target):
            now = [self.moves.moved(v, key, moves) for v, key in zip(operands, keys, strict=True)]
            target_now = None if into is None else self.moves.moved(into, target, moves)
            outcome = self._attempt(trial, now, target_now, wholes, sizes)
            if outcome is not None:
                self._perform(moves, operands, keys)
                return self._value(operation, operands, target, outcome, wholes[0])
        self.refuse(
            "no rank can do it on its share, nor on the whole",
            hint="split another axis, or write the step with other operations",
        )

    def _plain_result(self, operation: Operation, operands: list[Value], trial: Trial) -> Value:
        """A plain value: a size, a shape, a number."""
        held = []
        for rank in range(len(self.mesh.ranks)):
            try:
                held.append(trial.run([v.held[rank] for v in operands], None))
            except FAILURES:
                held.append(UNFIT)  # of a share too short for it; the whole's may do
        syntax = operation.filled([v.syntax for v in operands])
        value = Value(trial.wholes(operands)[0], held, None, syntax)
        if value.sized:
            value.whole_syntax = self.split.exact(value)
            of_tensors = any(v.types is not None for v in operands)
            if value.whole_syntax is None and not of_tensors:
                wholes = [v.whole_syntax if v.sized else v.syntax for v in operands]
                if all(w is not None for w in wholes):
                    value.whole_syntax = operation.filled([w for w in wholes if w is not None])
            if value.whole_syntax is None and isinstance(value.whole, tuple):
                value.whole_syntax = self._whole_shape(value)
            elif value.whole_syntax is None:
                value.whole_syntax = self.split.proportional(value)
        return value

    def _whole_shape(self, value: Value) -> ast.expr | None:
        """How a shape of the whole is written: `(n_all, *x.shape[1:])`."""
        if UNFIT in value.held:
            return None
        parts: list[str] = []
        same = 0  # axes from here on are as they are
        written = ast.unparse(value.syntax)
        for at, size in enumerate(value.whole):
            one = ast.Subscript(value.syntax, ast.Constant(at), ast.Load())
            part = self._plain(size, [h[at] for h in value.held], one)
            if part.sized:
                if part.whole_syntax is None:
                    return None
                parts += [f"*{written}[{same}:{at}]"] if at > same else []
                parts.append(ast.unparse(part.whole_syntax))
                same = at + 1
        parts += [f"*{written}[{same}:]"] if same < len(value.whole) else []
        return ast.parse(f"({', '.join(parts)},)", mode="eval").body

    # -- trying -----------------------------------------------------------------------------

    def _attempt(
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
            found = self.judge.types(wholes, held, scales, way)
            if found is None:
                continue
            zero = all(w is None or _zeros(w) for w in wholes) and all(
                h is None or all(_zeros(each) for each in h) for h in held
            )
            return Outcome(found, sizes, list(held[0] or []), zero)
        return None

    def _value(
        self,
        operation: Operation,
        operands: list[Value],
        target: str,
        outcome: Outcome,
        whole: Any,
    ) -> Value:
        """The value of an operation that went well."""
        how, held = outcome.found, outcome.held
        written = [
            v.whole_syntax if of_whole else v.syntax
            for v, of_whole in zip(operands, outcome.sizes, strict=True)
        ]
        syntax = operation.filled([w for w in written if w is not None], into=target)
        if how.several:
            parts = tuple(
                Value(whole[at], [h[at] for h in held], types, syntax)
                for at, types in enumerate(how.several)
            )
            return Value(whole, held, None, syntax, parts=parts)
        if how.weighed:
            held = self.judge.weigh(held, how.weighed)
            for axis in how.weighed:
                part = ast.BinOp(self.split.here(axis), ast.Div(), self.split.all_of(axis))
                syntax = ast.BinOp(syntax, ast.Mult(), part)
        assert how.types is not None
        if not how.extreme:
            held = exactly(whole, held, how.types, self.mesh)
        value = Value(whole, held, how.types, syntax, zero=outcome.zero)
        return self._extreme(value, how.extreme) if how.extreme else value

    def _extreme(self, value: Value, op: str) -> Value:
        """The largest or smallest over ranks: a call at once, for there is no such type."""
        assert value.types is not None
        (axis,) = (at for at, kind in enumerate(value.types) if kind.partial)
        name = self.fresh(op)
        self.bind(name, value)
        self.collect("all_reduce", name, name, axis, op=op)
        types = tuple(R if at == axis else t for at, t in enumerate(value.types))
        self.values[name] = Value(
            value.whole, list(cut(value.whole, types, self.mesh)), types, ast.Name(name, ast.Load())
        )
        return self.values[name]

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
                self.bind(name, operands[key])
            else:
                name = key
                for move in several:
                    if move.kind == "all_reduce":
                        # What this line has read of it already would be of the other type.
                        raise Again(name, move.axis)
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


def _has_tensor(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(isinstance(v, Tensor) for v in value)
    return isinstance(value, Tensor)


def _zeros(value: Any) -> bool:
    return isinstance(value, Tensor) and not bool(torch.count_nonzero(value.nan_to_num(1)))
