"""Names that are bound once: every binding of a person's name gets a version of its own."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

import torch

from gradninja.lines.plain import continuous, is_plain
from gradninja.lines.program import NAME, STATIC, TUPLE, Expr, Line
from gradninja.lines.reading.objects import Objects


class Naming(Objects):
    """Binds names to values, with a line where a value needs one."""

    lines: list[Line]
    taken: set[str]
    reserved: set[str]
    counts: dict[str, int]  # the number that a base's last fresh name ends in
    made: dict[str, int]  # how deep in calls a name was made
    turns: list[tuple[int, int]]  # the loops that are being read, and which turn of each
    whole_names: set[str]  # of the parts of inputs that are dictionaries or lists
    of_object: bool  # whether an object's forward is read

    def fresh(self, base: str) -> str:
        """`base`, or `base_1`, `base_2`, ... where it is taken."""
        name, count = base, self.counts.get(base, 0)
        while name in self.taken or (count and name in self.reserved):
            count += 1
            name = f"{base}_{count}"
        self.taken.add(name)
        self.counts[base] = count
        self.made[name] = self.depth
        return name

    def add_line(self, targets: tuple[str, ...], expr: Expr) -> None:
        number = self.source.spot(self.statement).line
        text = self.source.statement(self.statement)
        self.lines.append(Line(targets, expr, number, text, tuple(self.turns)))

    def bind(self, name: str, expr: Expr) -> Expr:
        """Bind a name of the person's to a value; the scope then holds what to read for it."""
        self.scope[name] = bound = self.named(name, expr)
        return bound

    def named(self, name: str, expr: Expr) -> Expr:
        """A value under a name like this one, with a line where it needs one."""
        if expr.op == NAME and str(expr) == name and name in self.whole_names:
            return expr  # `W1 = parameters["W1"]`
        if self.of_object and expr.op == NAME and self.made.get(str(expr), 0) > self.depth:
            return self._handed_out(name, expr)
        if expr.op == TUPLE:
            named = [self._leaf(name, element) for element in expr.args]
            bound = self.rebuilt(self.statement, expr, named)
        elif expr.op != STATIC and isinstance(expr.value, tuple):
            bound = self.name_outputs(name, expr)
        elif expr.op == STATIC and not self._keeps_name(expr):
            bound = expr
        else:
            target = self.fresh(name)
            self.add_line((target,), expr)
            bound = self.reference(target, expr.value, expr)
        return bound

    def _handed_out(self, name: str, expr: Expr) -> Expr:
        """What a forward within returned under a name of its own takes the caller's name.

        Where other lines have read it by then it keeps its own, and there is no line `y = x`.
        """
        last = self.lines[-1] if self.lines else None
        holders = [*self.state.values(), *self.scope.values()]
        holders += [held for frame in self.frames for held in frame.values()]
        kept = any(_holds(held, str(expr)) for held in holders)
        if last is None or last.targets != (str(expr),) or kept:
            return expr
        self.taken.discard(str(expr))
        target = self.fresh(name)
        self.lines[-1] = replace(last, targets=(target,))
        return self.reference(target, expr.value, expr)

    def name_outputs(self, base: str, expr: Expr) -> Expr:
        targets = tuple(self.fresh(f"{base}_{i}") for i in range(len(expr.value)))
        self.add_line(targets, expr)
        several = [self.reference(t, v, expr) for t, v in zip(targets, expr.value, strict=True)]
        return self.container(self.statement, several)

    def _keeps_name(self, expr: Expr) -> bool:
        """Whether a plain value is a line that can be read later: numbers are, a slice is not."""
        plain = isinstance(expr.value, bool | int | float | torch.Size) or (
            isinstance(expr.value, tuple) and is_plain(expr.value)
        )
        return plain and not isinstance(expr.syntax, ast.Name | ast.Slice)

    def _leaf(self, name: str, element: Expr, plain: bool = False) -> Expr:
        """An element of a list: it may be used many times, so it gets a name.

        `plain`: the name itself, where it is free.
        """
        if element.op in (NAME, STATIC):
            return element
        if element.op == TUPLE:
            parts = [self._leaf(name, e) for e in element.args]
            return self.rebuilt(self.statement, element, parts)
        target = self.fresh(name if plain else f"{name}_0")
        self.add_line((target,), element)
        return self.reference(target, element.value, element)

    def reference(self, name: str, value: Any, of: Expr) -> Expr:
        syntax = ast.Name(name, ast.Load())
        if not isinstance(value, torch.Tensor):
            return Expr(STATIC, (), syntax, value, of.spot, sized=of.sized)
        flows = of.differentiable and continuous(value)
        return Expr(NAME, (), syntax, value, of.spot, differentiable=flows)


def _holds(held: Expr, name: str) -> bool:
    """Whether what a scope holds is a line's value, or has it in a list."""
    if held.op == TUPLE:
        return any(_holds(part, name) for part in held.args)
    return held.op == NAME and str(held) == name
