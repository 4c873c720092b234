"""The rule book: all rows in one table, found by what a person calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from gradninja.errors import GradninjaError
from gradninja.lines import Expr
from gradninja.rules.own_functions import row_of
from gradninja.rules.rule import OVER_AXES, Rule, Site, Spelling, Template


class Book:
    """Rows by callee. Iterating gives the rows in the order in which they were added."""

    def __init__(self, *tables: tuple[Rule, ...]) -> None:
        self.rows: dict[str, Rule] = {}
        self.by_callee: dict[str, list[tuple[Spelling, Rule]]] = {}
        self.own: dict[str, Callable[..., Any]] = {}
        for table in tables:
            for row in table:
                assert row.name not in self.rows, f"two rows are named {row.name!r}"
                self.add(row)
        self.shipped = frozenset(self.rows)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rows.values())

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> Rule:
        return self.rows[name]

    def add(self, row: Rule) -> None:
        """Add a row; one of the same name is replaced."""
        self.remove(row.name)
        self.rows[row.name] = row
        for text in row.spellings:
            spelling = Spelling.parse(text)
            self.by_callee.setdefault(spelling.callee, []).append((spelling, row))

    def take(self, kind: type) -> str:
        """Enter a torch.autograd.Function of the person's, once; the callee that its `apply` is."""
        callee = f"{kind.__module__}.{kind.__qualname__}.apply at {id(kind)}"
        if callee not in self.by_callee:
            self.by_callee[callee] = [row_of(callee, kind, self)]
        return callee

    def remove(self, name: str) -> None:
        """Take a row out, if it is there."""
        if self.rows.pop(name, None) is not None:
            for spellings in self.by_callee.values():
                spellings[:] = [pair for pair in spellings if pair[1].name != name]
        self.own.pop(name.removeprefix("own "), None)

    def knows(self, callee: str) -> bool:
        """Whether some row is spelled so."""
        return bool(self.by_callee.get(callee))

    def constant(self, callee: str) -> bool:
        """Whether no gradient goes through what is spelled so."""
        return any(row.constant for _, row in self.by_callee.get(callee, ()))

    def random(self, callee: str) -> bool:
        """Whether what is spelled so draws random numbers."""
        return any(row.random for _, row in self.by_callee.get(callee, ()))

    def notation(self, name: str) -> str:
        """How a formula has the function or method of this name; "" where it is written as one."""
        return next((row.notation for row in self._called(name) if row.notation), "")

    def reduces(self, name: str) -> bool:
        """Whether a function or method of this name goes over axes, or tells places along them."""
        found = self.notation(name)
        return found in OVER_AXES or found.startswith("place of")

    def views(self, name: str) -> bool:
        """Whether a method or attribute of this name may give what shares its tensor's memory."""
        return any(row.view for row in self._called(name))

    def elementwise(self, name: str) -> bool:
        """Whether a function or method of this name works element by element."""
        return any(row.elementwise for row in self._called(name))

    def _called(self, name: str) -> Iterator[Rule]:
        for place in ("Tensor.", ".", "torch.", "F.", ""):
            yield from (row for _, row in self.by_callee.get(f"{place}{name}", ()))

    def find(self, expr: Expr) -> Site | None:
        """The row for an operation, bound to its operands; the first that fits."""
        for spelling, row in self.by_callee.get(expr.op, ()):
            bound = spelling.bind(expr)
            if bound is None:
                continue
            for formal in set(row.shape_only) & set(bound):
                bound[formal] = replace(bound[formal], differentiable=False)
            if self._fits(row, bound):
                return Site(row, expr, bound)
        return None

    @staticmethod
    def _fits(row: Rule, bound: Mapping[str, Expr]) -> bool:
        """Every operand that a gradient flows to has a text in the row."""
        return row.constant or all(
            formal in row.backward for formal, operand in bound.items() if operand.differentiable
        )

    def rule(
        self,
        function: Callable[..., Any],
        *,
        why: str,
        source: str = "given by its user",
        exact: Mapping[str, Template] | None = None,
        elementwise: bool = False,
        means: str = "",
        **backward: Template,
    ) -> Callable[..., Any]:
        """Give a function of one's own a rule, so that it is not read line by line.

        `gn.rule(softsign, x="g / (1 + abs(x))**2", why="...")`: for each input that has a gradient
        the text of that gradient, in which the function's own parameter names, `g` (the cotangent)
        and `y` (the result) may stand. Returns the function.

        Args:
            elementwise: each element of the result depends on one of each input; the slopes are
                then read for the fused backward, too.
            means: the result in simpler operations, a text in the parameters' names, from which
                the fused backward is made; what is compiled is the function's own lines.

        Raises:
            GradninjaError: an input that the function does not have, or text that is no Python.
        """
        names = list(inspect.signature(function).parameters)
        for formal, template in backward.items():
            if formal not in names:
                raise GradninjaError(
                    f"`{function.__name__}` has no input `{formal}`",
                    hint=f"its inputs are: {', '.join(names)}",
                )
            if isinstance(template, str) and not template.startswith(("d.", "d[")):
                _hold_expression(template, f"the rule for `{formal}`")
        if means:
            _hold_expression(means, "what it means")
        formals = [
            name if p.default is inspect.Parameter.empty else f"{name}={p.default!r}"
            for name, p in inspect.signature(function).parameters.items()
        ]
        name = function.__name__
        self.add(
            Rule(
                # The book may have a row of that name, for torch's function: it stays.
                name=f"own {name}" if name in self.shipped else name,
                spellings=(f"{function.__name__}({', '.join(formals)})",),
                backward=backward,
                exact=exact or {},
                why=why,
                source=source,
                tests=(),
                elementwise=elementwise,
                means=means,
            )
        )
        self.own[name] = function
        return function


class Open:
    """A book in which every operation stands: for a reader that asks for no gradient of ours.

    Args:
        book: what says through which operations no gradient goes.
        own: functions that are taken whole, by the name or path that they are called by.
    """

    def __init__(self, book: Book, own: Mapping[str, Callable[..., Any]]) -> None:
        self.own = own
        self.take = book.take
        self.constant = book.constant
        self.random = book.random

    def knows(self, callee: str) -> bool:
        """Always."""
        return True


def _hold_expression(text: str, what: str) -> None:
    try:
        compile(text, "<rule>", "eval")
    except SyntaxError as error:
        raise GradninjaError(
            f"{what} is not a Python expression: {error.msg}", hint=f"got: {text}"
        ) from None
