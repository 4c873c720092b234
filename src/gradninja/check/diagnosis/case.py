"""One wrong gradient, handed to the diagnosis: what was written, and a fast judge of edits."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import CodeType
from typing import Any

import torch

from gradninja.check.diagnosis.work import PER_ELEMENT, runs_of
from gradninja.check.given.backward_text import Reuse, Written
from gradninja.check.given.execution import compiled, copy_of, precision, quiet, run, tensors_of
from gradninja.check.given.plan import bound, written
from gradninja.lines import Program
from gradninja.rules import BOOK, Book


@dataclass(frozen=True, eq=False)
class Situation:
    """A wrong gradient on one float64 draw.

    `scope` is every name where the statements stand: the forward's values, the true gradients
    (`dY`) that are there by then, the person's other locals. The gradient itself is not in it.
    `bound` are the locals that the statements bind, as they are at the end.
    `gradients` maps every variable of the forward to its true gradient, `expected` is this one's;
    `got` is the person's value (None where a line raised `error`).
    """

    program: Program
    scope: Mapping[str, Any]
    values: Mapping[str, Any]
    gradients: Mapping[str, torch.Tensor]
    expected: torch.Tensor
    got: Any
    error: Exception | None
    tolerance: float  # largest difference that rounding explains
    bound: Mapping[str, Any]
    label: str  # how the inputs were drawn, in words


@dataclass(frozen=True, eq=False)
class Case:
    """A gradient that is wrong, with all that an edit can be tried on.

    Args:
        name: the gradient (`dX`); `variable`: the name in the Program that it is the gradient of.
        statements: the person's statements that write it, and those of their own locals that it is
            computed from, in order; empty where it is missing.
        writers: those of them that write it.
        body: all statements of the backward.
        text: the text that the statements' positions point into.
        gradients: gradient name -> variable, of all that are judged.
        written: the gradients that the backward writes anywhere.
        astray: statements of the body that write something else, and should perhaps write this.
        right: the gradients that are right.
        beside: the cases of other gradients that are computed from some of the same locals: an
            edit of such a line must leave them right, or make them right.
    """

    name: str
    variable: str
    statements: tuple[ast.stmt, ...]
    writers: tuple[ast.stmt, ...]
    body: tuple[ast.stmt, ...]
    text: str
    file: str
    gradients: Mapping[str, str]
    written: frozenset[str]
    situations: tuple[Situation, ...]
    namespace: Mapping[str, Any]  # what the person's file defines and imports
    book: Book = BOOK  # whose rules a mend is drawn from
    astray: tuple[ast.stmt, ...] = ()
    right: frozenset[str] = frozenset()
    beside: tuple[Case, ...] = ()
    wrong: bool = True  # as it stands
    origin: Written | None = None  # the whole that the statements are of
    _codes: dict[int, tuple[ast.stmt, CodeType]] = field(default_factory=dict)
    _written: dict[int, tuple[ast.stmt, frozenset[str]]] = field(default_factory=dict)
    _runs: dict[int, float] = field(default_factory=dict)
    _pristine: dict[int, dict[str, tuple[Any, Any, int]]] = field(default_factory=dict)

    @property
    def program(self) -> Program:
        """The forward as it was read on the first draw."""
        return self.situations[0].program

    @property
    def draws(self) -> int:
        return len(self.situations)

    @property
    def reuses(self) -> tuple[Reuse, ...]:
        return () if self.origin is None else self.origin.reuses

    @property
    def held(self) -> frozenset[str] | None:
        """What a Function's `ctx` holds of the forward; None of other backwards."""
        return None if self.origin is None else self.origin.held

    def plain(self, text: str, line: int | None = None) -> str:
        """A line of code with the person's own names, as they are at a line of the text."""
        return text if self.origin is None else self.origin.code(text, line)

    def legible(
        self, new: ast.stmt | None, old: ast.stmt | None, after: ast.stmt | None = None
    ) -> bool:
        """Whether a new statement means what it says when it is written in the person's names."""
        if hasattr(after, "within") or (hasattr(old, "within") and not isinstance(new, ast.Assign)):
            return False  # what is returned is an expression, and nothing stands below it
        if hasattr(old, "early") and self.origin is not None and new is not None:
            later = set(self.origin.parameters) - set(self.situations[0].values)
            if later & {n.id for n in ast.walk(new) if isinstance(n, ast.Name)}:
                return False  # it runs in the forward, where no gradient is known
        if not self._bound_by_then(new, old or after) or self._hidden(new, old):
            return False
        if not self.reuses:
            return True
        if hasattr(old, "unwritten") or hasattr(after, "unwritten"):
            return False
        place = old or after or (self.statements[0] if self.statements else None)
        if new is None or place is None:
            return True
        used = {(n.id, type(n.ctx)) for n in ast.walk(new) if isinstance(n, ast.Name)}
        for reuse in self.reuses:
            names = {name for name, _ in used}
            if place.lineno > reuse.line or (place.lineno == reuse.line and old is None):
                hidden = reuse.name in names
            elif place.lineno == reuse.line and getattr(old, "gives_up", None) == reuse.name:
                hidden = (reuse.alias, ast.Load) in used or (reuse.name, ast.Store) in used
            else:
                hidden = (reuse.name if place.lineno == reuse.line else reuse.alias) in names
            if hidden:
                return False
        return True

    def _hidden(self, new: ast.stmt | None, old: ast.stmt | None) -> bool:
        """Whether a new statement reads what its text cannot name: the name has another meaning."""
        if new is None or self.origin is None or not self.origin.hidden:
            return False
        written = set() if old is None else {id(n) for n in ast.walk(old)}
        fresh = [n for n in ast.walk(new) if isinstance(n, ast.Name) and id(n) not in written]
        return any(n.id in self.origin.hidden for n in fresh)

    def _bound_by_then(self, new: ast.stmt | None, place: ast.stmt | None) -> bool:
        """Whether what a new statement reads is there: bound before, and in the same function."""
        if new is None or place is None or self.origin is None or self.held is None:
            return True
        reads = {n.id for n in ast.walk(new) if isinstance(n, ast.Name)}
        helper = self.origin.helper(place.lineno)
        if helper is not None:
            ours = {*self.situations[0].scope, *self.situations[0].bound} - set(self.namespace)
            if (reads & ours) - {*helper.names.values(), self.name}:
                return False
        early = any(hasattr(statement, "early") for statement in self.statements)
        only_there = reads & set(self.situations[0].values) - self.held
        if early and only_there and not hasattr(place, "early"):
            return False  # another line runs in the forward, which has it
        late = reads & self._late.get(id(place), frozenset())
        return not late or not late - {
            *self.gradients,
            *self.situations[0].values,
            *bound(new),
            *_names(place),
        }

    @cached_property
    def _late(self) -> dict[int, frozenset[str]]:
        """For each statement, by its id: the names that only it and later ones bind."""
        found, late = {}, set[str]()
        binds = [set(bound(node)) for node in self.body]
        for at in reversed(range(len(self.body))):
            late |= binds[at]
            found[id(self.body[at])] = frozenset(late - set().union(*binds[:at]))
        return found

    def evaluate(self, statements: Sequence[ast.stmt], draw: int) -> Any:
        """The gradient's value after these statements stand in the place of `self.statements`.

        They run on true upstream gradients. Raises whatever they raise, NameError where they do
        not write the gradient.
        """
        working = self._working(draw)
        scope: dict[str, Any] = {**self.namespace}
        scope.update((name, held[0]) for name, held in working.items())
        codes = [self._code(statement) for statement in statements]
        try:
            with precision(torch.float64), torch.no_grad(), quiet():
                for code in codes:
                    run(code, scope)
        except Exception:
            # What raises may have written before, and torch counts no version for that.
            for name in {name for statement in statements for name in self._writes(statement)}:
                if name in working:
                    working[name] = _held(working[name][1])
            raise
        finally:
            self._restore(draw, working)
        if self.name not in scope:
            raise NameError(f"name '{self.name}' is not defined")
        return scope[self.name]

    def _writes(self, statement: ast.stmt) -> frozenset[str]:
        """What a statement writes into."""
        held, found = self._written.get(id(statement), (None, frozenset()))
        if held is not statement:
            found = frozenset(written(statement))
            self._written[id(statement)] = (statement, found)
        return found

    def _code(self, statement: ast.stmt) -> CodeType:
        """A statement's code, kept with it: most of what is run again is as it was."""
        held, code = self._codes.get(id(statement), (None, None))
        if held is not statement or code is None:
            code = compiled([statement], self.file, widen=True)
            self._codes[id(statement)] = (statement, code)
        return code

    def matches(self, value: Any, draw: int) -> bool:
        """Whether a value is the true gradient: the shape, and every element up to rounding."""
        situation = self.situations[draw]
        expected = situation.expected
        if isinstance(value, int | float) and expected.ndim == 0:
            value = torch.tensor(value, dtype=expected.dtype)
        if not isinstance(value, torch.Tensor) or value.shape != expected.shape:
            return False
        if value.dtype != expected.dtype:
            return False
        sound = torch.isfinite(expected)
        difference = (value - expected).abs()[sound]
        return bool((difference <= situation.tolerance).all())  # nan is no match

    def fits(self, statements: Sequence[ast.stmt], draw: int) -> bool:
        """Whether these statements give the true gradient on a draw; False where they raise."""
        try:
            value = self.evaluate(statements, draw)
        except Exception:  # an edit that does not run is no mend, whatever it raises
            return False
        return self.matches(value, draw)

    def runs(self, draw: int) -> float:
        """What evaluating the statements on a draw is worth, in the unit of a search's allowance.

        Where they raise, or there are none, as much as reading all values once.
        """
        if draw not in self._runs:

            def once() -> None:
                with contextlib.suppress(Exception):  # whatever the person's lines raise
                    self.evaluate(self.statements, draw)

            read = sum(v.numel() for _, v in tensors_of(self.situations[draw].scope))
            done = runs_of(once)
            self._runs[draw] = max(done, 1 + PER_ELEMENT * read)
        return self._runs[draw]

    # Statements may write into what they are given. Copying all of it each time would be most of
    # the work; a tensor's version tells what was written to, and only that is copied anew.

    def _working(self, draw: int) -> dict[str, tuple[Any, Any, int]]:
        if draw not in self._pristine:
            scope = self.situations[draw].scope
            self._pristine[draw] = {name: _held(value) for name, value in scope.items()}
        return self._pristine[draw]

    def _restore(self, draw: int, working: dict[str, tuple[Any, Any, int]]) -> None:
        for name, (now, original, version) in working.items():
            if isinstance(now, torch.Tensor):
                if now._version != version:
                    working[name] = _held(original)
            elif isinstance(now, list | dict):
                working[name] = _held(original)


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _held(original: Any) -> tuple[Any, Any, int]:
    """(a copy to work on, the original, the copy's version)."""
    working = copy_of(original)
    return working, original, working._version if isinstance(working, torch.Tensor) else 0
