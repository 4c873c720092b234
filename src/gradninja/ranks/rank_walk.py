"""The walk over a program's lines: each value gets its types, and collectives where they must be.

A partial value stays so through whatever is linear in it, and is summed over the ranks where
something needs it whole. What no rank can do on its share is given the whole: that is dear, so it
comes last.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from torch import Tensor

from gradninja.errors import DeriveError
from gradninja.lines.scope import value_of
from gradninja.ranks.mesh import cut, numel
from gradninja.ranks.operations.lookups import HERE, MINE, lookup_of
from gradninja.ranks.operations.meanings import meaning, put_in
from gradninja.ranks.operations.plain_values import plain, plain_result
from gradninja.ranks.operations.taking import Operation, Taker, target_of
from gradninja.ranks.operations.trying import FAILURES, Judge, Outcome, Trial
from gradninja.ranks.rank_lines import RankLine
from gradninja.ranks.rank_text import Text
from gradninja.ranks.rank_values import Value, constant, exactly
from gradninja.ranks.split import Split
from gradninja.ranks.type_changes import COST, Move
from gradninja.ranks.types import R, V
from gradninja.rules import Book

REDUCTIONS = ("sum", "mean")  # names of parts that say what they are


class Again(Exception):
    """A name is whole now, so the line that needs it is gone through once more."""


class Dear(Exception):
    """An operation wants the whole of what is split, where sums were looked for."""


class Walk(Text):
    """Goes through lines and writes what one rank has in their place."""

    def __init__(
        self,
        split: Split,
        scope: Mapping[str, Any],
        values: Mapping[str, Value],
        taken: set[str],
        book: Book,
    ) -> None:
        """`book`: says what operations mean."""
        super().__init__(split, {**split.told(), **values}, taken)
        self.scope, self.book = scope, book
        self.judge = Judge(split.mesh, split.weights)
        self.by_sums = False  # whether an operation may not be given the whole of what is split

    # -- lines ------------------------------------------------------------------------------

    def line(self, node: ast.stmt, answers: str = "") -> None:
        """Go through one line."""
        self.answers, self.current = answers, ast.unparse(node)
        while True:
            before = self.state()
            try:
                self._line(node)
                return
            except Again as again:
                self.restore(before)
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
            value = self._taken_over(value, names.id)
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
                    plain(self.split, value.whole[at], [h[at] for h in value.held], value.syntax)
                    for at in range(len(bound))
                )
            for name, part in zip(bound, parts, strict=True):
                self.values[name] = part.named(name)
        self.emit(ast.Assign([names], value.syntax, lineno=0), bound)

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
            found = value_of(node, scope)
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
            return plain_result(self.split, operation, operands, trial)
        pairs: list[tuple[Value, str | int]] = [*zip(operands, keys, strict=True)]
        if into is not None:
            pairs.append((into, target))
        sizes = trial.sizes(operands)
        dear = looked = False
        for moves in self.moves.possible(pairs, target):
            if moves and not looked:
                looked = True
                found = self._looked_up(operation, operands, into, target)
                if found is not None:
                    return found
            if not dear and any(move.kind == "all_gather" for move in moves):
                dear = True  # all that follow are
                meant = self._by_meaning(operation, operands)
                if meant is not None:
                    return meant
                if self.by_sums:
                    raise Dear
            now = [self.moves.moved(v, key, moves) for v, key in zip(operands, keys, strict=True)]
            target_now = None if into is None else self.moves.moved(into, target, moves)
            outcome = self.judge.outcome(trial, now, target_now, wholes, sizes)
            if outcome is not None:
                self._perform(moves, operands, keys)
                return self._value(operation, operands, target, outcome, wholes[0])
        self.refuse(
            "no rank can do it on its share, nor on the whole",
            hint="split another axis, or write the step with other operations",
        )

    def _looked_up(
        self, operation: Operation, operands: list[Value], into: Value | None, target: str
    ) -> Value | None:
        """The value by a look in a rank's own share; None where that is not what is done."""
        lookup = lookup_of(operation, operands, into, self.split)
        if lookup is None:
            return None
        before, by_sums, self.by_sums = self.state(), self.by_sums, True
        try:
            named = [self._operand(value) for value in operands]
            places = {f"_{at}": syntax for at, syntax in enumerate(named)}
            here, mine = self._places_here(places[lookup.index], lookup.axis)
            count = len(named)
            syntax = lookup.on_share(f"_{count}", f"_{count + 1}")
            return self.operation(Operation(syntax, (*named, here, mine)), target)
        except (Dear, DeriveError):
            self.restore(before)
            return None
        finally:
            self.by_sums = by_sums

    def _places_here(self, index: ast.expr, axis: int) -> tuple[ast.expr, ast.expr]:
        """Names for whether what an index names lies in a rank's share, and where in it."""
        given = {"index": index, "length": self.split.here(axis)}
        given |= {"start": self.split.start(axis), "whole": self.split.all_of(axis)}
        for name, template in (("here", HERE), ("mine", MINE)):
            places = {of: ast.Name(f"_{at}") for at, of in enumerate(given)}
            operation = Operation(put_in(template, places), tuple(given.values()))
            node = put_in(template, given)
            text = ast.unparse(node)
            if text not in self.known:
                value = self._own(operation, node, index, axis)
                self.known[text] = self.fresh(name, of=ast.unparse(index))
                self.bind(self.known[text], value)
            given[name] = ast.Name(self.known[text], ast.Load())
        return given["here"], given["mine"]

    def _own(self, operation: Operation, syntax: ast.expr, of: ast.expr, axis: int) -> Value:
        """A value like another, of which each rank along an axis has another one."""
        operands = [self.expression(node) for node in operation.operands]
        trial = Trial(operation, None, self.mesh, self.scope)
        drawn, own = trial.wholes(operands), [False] * len(operands)
        cuts = {at: trial.held(operands, own, None, at) or [] for at in range(len(drawn))}
        types = self.expression(of).types or ()
        types = tuple(V() if at == axis else kind for at, kind in enumerate(types))
        return Value(drawn[0], cuts[0], types, syntax, drawn=drawn, cuts=cuts)

    def _by_meaning(self, operation: Operation, operands: list[Value]) -> Value | None:
        """The value by the lines that an operation means; None where these are dear as well."""
        lines = meaning(operation, operands, self.book)
        if lines is None:
            return None
        before, by_sums, self.by_sums = self.state(), self.by_sums, True
        try:
            puts = {f"_{at}": self._operand(value) for at, value in enumerate(operands)}
            for hidden, node in lines:
                value = self._once(put_in(node, puts), hidden)
                puts[hidden] = value.syntax
            return value
        except Dear:
            self.restore(before)
            return None
        finally:
            self.by_sums = by_sums

    def _taken_over(self, value: Value, name: str) -> Value:
        """What an operation means, bound by the line before for this one alone: by its name."""
        of = value.name
        if of not in self.known.values():
            return value
        last = self.lines[-1]
        if isinstance(last, RankLine) and last.of == (of,) and isinstance(last.node, ast.Assign):
            self.lines.pop()
            value = replace(value, syntax=last.node.value)
        # The name may be written into from now on.
        self.known = {text: n for text, n in self.known.items() if n not in (of, name)}
        return value

    def _operand(self, value: Value) -> ast.expr:
        """What an operand is written as where it may stand more than once."""
        if value.types is None or value.name:
            return value.syntax
        return self._once(value.syntax, _said(value.syntax)).syntax

    def _once(self, node: ast.expr, suffix: str) -> Value:
        """The whole or the shares of an expression, by a name: that of before, if it has one."""
        text = ast.unparse(node)
        if text not in self.known:
            value = self.expression(node)
            if value.types is None or value.name:
                return value
            name = self.fresh(suffix)
            self.bind(name, value)
            for axis, kind in enumerate(value.types):
                if kind.partial:
                    self.move_name(Move("all_reduce", name, axis, R))
            self.known[text] = name
        return self.values[self.known[text]]

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
            text = ""
            if isinstance(key, int):
                for move in several:
                    if move.kind == "all_reduce":
                        self._hoist(operands[key], move.axis)
                ways = " ".join(f"{move.kind} {move.axis} {move.to}" for move in several)
                text = f"{ways}: {ast.unparse(operands[key].syntax)}"
                if text in self.known:
                    operands[key] = self.values[self.known[text]]
                    continue
                name = self.fresh(_said(operands[key].syntax))
                self.bind(name, operands[key])
            else:
                name = key
                for move in several:
                    if move.kind == "all_reduce":
                        # What this line has read of it already would be of the other type.
                        raise Again(name, move.axis)
            for move in several:
                name = self.move_name(replace(move, key=name))
            if text:
                self.known[text] = name
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


def _said(node: ast.expr) -> str:
    """What a part of a line is called by: the function that makes it, if it is one."""
    calls = [n for n in ast.walk(node) if isinstance(n, ast.Call)]
    if calls and isinstance(calls[0].func, ast.Attribute) and calls[0].func.attr.isidentifier():
        name = calls[0].func.attr
        return name if name in REDUCTIONS else "part"
    return "part"


def _has_tensor(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(isinstance(v, Tensor) for v in value)
    return isinstance(value, Tensor)
