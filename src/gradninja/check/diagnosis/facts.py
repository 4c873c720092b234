"""What the edits may draw on: values, names in reach, the derived contributions."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from gradninja.check.diagnosis.candidates.trees import expression, number_of
from gradninja.check.diagnosis.contributions import Contribution
from gradninja.check.diagnosis.kinds import Kind
from gradninja.lines import Program
from gradninja.lines.scope import LIBRARY, value_of
from gradninja.rules import BOOK, Book


class _Unknown:
    """The value of what cannot be evaluated alone."""


UNKNOWN = _Unknown()


@dataclass(frozen=True, eq=False)
class Facts:
    """One wrong gradient, seen on one draw.

    `scope` holds every name's value where the statements stand (forward values, true gradients,
    the person's other locals); `gradients` maps gradient names to their variables. `reach` are
    the names that the person can write there, `later` those that there are by the backward's end;
    `got` is the person's value, `amounts` what each contribution to the gradient is, `parts` what
    derive names on the way, `unbound` a name of the person's own that is read and that no line
    binds, `astray` statements that write what they should not, `right` the
    gradients that are, `truths` the true gradients of all that the forward binds, `pieces` parts of
    values that the text has, as `a[:, t]`, `unread` locals that lines bind and none reads,
    `book` the rules that a mend is drawn from.
    """

    program: Program
    variable: str
    gradient: str
    scope: Mapping[str, Any]
    gradients: Mapping[str, str]
    expected: torch.Tensor
    contributions: Sequence[Contribution]
    reach: frozenset[str]
    later: frozenset[str]
    got: Any = None
    amounts: Sequence[tuple[Contribution, Any]] = ()
    parts: Sequence[ast.expr] = ()
    unbound: str | None = None
    astray: Sequence[ast.stmt] = ()
    right: frozenset[str] = frozenset()
    truths: Sequence[torch.Tensor] = ()
    pieces: Sequence[ast.expr] = ()
    unread: frozenset[str] = frozenset()
    book: Book = BOOK
    _seen: dict[int, tuple[ast.AST, Any]] = field(default_factory=dict)

    def value(self, node: ast.AST) -> Any:
        """What an expression is on this draw; UNKNOWN where it cannot be told."""
        if id(node) not in self._seen:
            self._seen[id(node)] = (node, self._evaluate(node))
        return self._seen[id(node)][1]

    def _evaluate(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Name):
            return self.scope.get(node.id, LIBRARY.get(node.id, UNKNOWN))
        if not isinstance(node, ast.expr) or isinstance(node, ast.Lambda | ast.Slice):
            return UNKNOWN
        if any(_calls_in_place(part) for part in ast.walk(node)):
            return UNKNOWN
        if isinstance(node, ast.Constant):
            return node.value
        try:
            return value_of(node, {**LIBRARY, **self.scope})
        except Exception:  # whatever the person's code raises
            return UNKNOWN

    def tensor(self, node: ast.AST) -> torch.Tensor | None:
        found = self.value(node)
        return found if isinstance(found, torch.Tensor) else None

    def is_float(self, node: ast.AST) -> bool:
        found = self.tensor(node)
        return found is not None and (found.is_floating_point() or found.is_complex())

    def is_count(self, node: ast.AST) -> bool:
        """Whether an expression is a whole number that sizes may have made."""
        found = self.value(node)
        return type(found) is int and number_of(node) is None

    @cached_property
    def reachable(self) -> tuple[str, ...]:
        """The names in reach, in the scope's order."""
        return tuple(name for name in self.scope if name in self.reach)

    def can_read(self, contribution: Contribution) -> bool:
        """Whether the person's line may be written as this contribution."""
        return contribution.reads <= self.reach

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """The tensors' names, those that derive uses for this gradient first."""
        names = [n for n in self.reachable if isinstance(self.scope[n], torch.Tensor)]
        return tuple(sorted(names, key=lambda n: (n not in self.relevant, n == self.gradient)))

    @cached_property
    def relevant(self) -> frozenset[str]:
        """The names that stand in the derived lines of this gradient.

        Without any, the gradients that are handed in.
        """
        if not self.contributions:
            return frozenset(self.gradients)
        mine = [c for c in self.contributions if c.of == self.variable]
        return frozenset(
            node.id
            for c in mine
            for s in c.statements
            for node in ast.walk(s)
            if isinstance(node, ast.Name)
        )

    @cached_property
    def scalars(self) -> tuple[ast.expr, ...]:
        """Sizes, options and what the forward makes of them, as expressions in reach."""
        found: dict[str, ast.expr] = {}
        counts = [n for n in self.reachable if type(self.scope[n]) in (int, float)]
        for text in counts:
            found[text] = expression(text)
        for line in self.program.lines:
            for node in ast.walk(line.expr.syntax):
                if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Div):
                    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                    if names and names <= set(counts):
                        found.setdefault(ast.unparse(node), node)
        for text in counts:
            if type(self.scope[text]) is int:
                for less in (f"{text} - 1", f"({text} + 1)"):
                    found.setdefault(less, expression(less))
        shown = [n for n in (self.variable, *sorted(self.relevant)) if n in self.reach]
        shown = shown or list(self.tensors[:2])
        values = {type_and_value(self.value(e)) for e in found.values()}
        for owner in shown:
            shape = getattr(self.scope[owner], "shape", ())
            for axis, size in enumerate(shape):
                if size > 1 and (int, size) not in values:
                    text = f"{owner}.shape[{axis}]"
                    found.setdefault(text, expression(text))
            if len(shape) > 1:
                found.setdefault(f"{owner}.numel()", expression(f"{owner}.numel()"))
        return tuple(found.values())

    @cached_property
    def incoming(self) -> tuple[Any, ...]:
        """What a value may still be times of: 1, and the gradients of losses, which are numbers."""
        outputs = {name for name, of in self.gradients.items() if of in self.program.outputs}
        given = [self.scope[name] for name in sorted(outputs) if name in self.scope]
        return (1.0, *(g for g in given if isinstance(g, torch.Tensor) and not g.ndim))

    @cached_property
    def wrong_at_ties(self) -> bool:
        """Whether it is wrong only where equal values of the variable compete for a gradient."""
        of = self.scope.get(self.variable)
        got, expected = self.got, self.expected
        if not isinstance(got, torch.Tensor) or not isinstance(of, torch.Tensor):
            return False
        if got.shape != expected.shape or of.shape != expected.shape or not of.numel():
            return False
        off = (got - expected).abs() > 1e-9 * expected.abs().max()
        _, place, often = torch.unique(of, return_inverse=True, return_counts=True)
        return bool(off.any()) and bool((often[place][off] > 1).all())

    @cached_property
    def literals(self) -> tuple[float, ...]:
        """Numbers that the forward's text has, and the usual ones."""
        found: dict[float, None] = dict.fromkeys((2, 0.5, 1, 0, 3, -1))
        for line in self.program.lines:
            for node in ast.walk(line.expr.syntax):
                value = number_of(node)
                if value is not None:
                    found.setdefault(value)
        return tuple(found)

    @cached_property
    def ancestors(self) -> Mapping[str, frozenset[str]]:
        """Variable -> the variables that it was made from."""
        found: dict[str, frozenset[str]] = {}
        for line in self.program.lines:
            names = {n.id for n in ast.walk(line.expr.syntax) if isinstance(n, ast.Name)}
            above = frozenset(names).union(*(found.get(name, ()) for name in names))
            for target in line.targets:
                found[target] = above
        return found

    def kind_of_swap(self, old: str, new: str) -> Kind:
        """What it means that `old` was written where `new` belongs."""
        was, now = self.gradients.get(old), self.gradients.get(new)
        if was is not None and now is None:
            return Kind.GRADIENT_FOR_VALUE
        if was is None and now is not None:
            return Kind.VALUE_FOR_GRADIENT
        if was is not None and now in self.ancestors.get(was, ()):
            return Kind.SKIPPED_LINK
        return Kind.WRONG_NAME


def type_and_value(value: Any) -> tuple[type, Any]:
    """Tells 1 from 1.0 and from True."""
    return type(value), value if isinstance(value, int | float | bool) else None


def _calls_in_place(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom)
    return node.func.attr.endswith("_") and not node.func.attr.endswith("__")
