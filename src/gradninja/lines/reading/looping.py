"""Loops, read turn by turn: each line knows the loops that it stands in, and which turn it is."""

from __future__ import annotations

import ast

from gradninja.lines import fence
from gradninja.lines.program import STATIC, TUPLE, Expr, Loop
from gradninja.lines.reading.in_place.writing import Writing


class Broke(Exception):
    """The innermost loop is left."""


class Continued(Exception):
    """Its next turn comes."""


class Looping(Writing):
    """`for`, `while`, `break`, `continue` and comprehensions."""

    loops: list[Loop]

    def run_For(self, node: ast.For) -> None:
        over = self.read(node.iter)
        self.assume(over)
        elements = self.elements_of(node.iter, over)
        if len(elements) > fence.MOST_STEPS:
            self.fail(node.iter, f"{len(elements):,} steps are more than are unrolled")
        number = len(self.loops)
        self.loops.append(Loop(over, len(elements)))
        for turn, element in enumerate(elements):
            self.statement = node
            self.turns.append((number, turn))
            try:
                self._loop_variable(node.target, element)
                self.run(node.body)
            except Continued:
                continue
            except Broke:
                return
            finally:
                self.turns.pop()
        self.run(node.orelse)

    def run_While(self, node: ast.While) -> None:
        """Turn by turn, where its condition is one on plain values."""
        while self.decide(node.test):
            self.statement = node
            self.spend()
            try:
                self.run(node.body)
            except Continued:
                continue
            except Broke:
                return
        self.run(node.orelse)

    def run_Break(self, node: ast.Break) -> None:
        raise Broke

    def run_Continue(self, node: ast.Continue) -> None:
        raise Continued

    def _loop_variable(self, target: ast.expr, element: Expr) -> None:
        """A loop's int is written out as a number; a tensor gets a name like any other."""
        if isinstance(target, ast.Name) and element.op == STATIC:
            self.scope[target.id] = element
        elif isinstance(target, ast.Tuple) and element.op in (TUPLE, STATIC):
            for inner, part in zip(target.elts, self.elements_of(target, element), strict=False):
                self._loop_variable(inner, part)
        else:
            self.assign(target, element)

    def comprehension(self, node: ast.ListComp | ast.GeneratorExp) -> list[Expr]:
        before, found = self.scope, list[Expr]()
        self.scope = dict(before)

        def turns(loops: list[ast.comprehension]) -> None:
            if not loops:
                found.append(self.read(node.elt))
                return
            loop, *rest = loops
            over = self.read(loop.iter)
            self.assume(over)
            elements = self.elements_of(node, over)
            if len(elements) > fence.MOST_STEPS:
                self.fail(node, f"{len(elements):,} steps are more than are unrolled")
            for element in elements:
                self.spend()
                self._loop_variable(loop.target, element)
                if all(self.decide(test) for test in loop.ifs):
                    turns(rest)

        turns(node.generators)
        self.scope = before
        return found
