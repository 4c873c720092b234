"""What is written twice gets a name: common subexpressions of neighbouring backward lines."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from gradninja.algebra.measure.cost import Cost, cost_of
from gradninja.derive.statement import Statement, is_view
from gradninja.derive.template import rebuild
from gradninja.derive.temporaries import SYMBOL_NAMES
from gradninja.lines.operators import BINARY
from gradninja.lines.scope import value_of

ROUNDS = 6  # names that are made at most for one stretch of lines
LONGEST = 24  # statements that are looked at together


@dataclass
class Sharing:
    """Names for what is computed more than once, in statements over given values."""

    values: Mapping[str, Any]
    taken: set[str]
    texts: dict[int, tuple[ast.expr, str]] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    parts: dict[int, tuple[ast.AST, list[ast.expr]]] = field(default_factory=dict)

    def run(self, statements: Sequence[Statement]) -> list[Statement]:
        """The statements with repeated parts on lines of their own, where that is cheaper."""
        scope = dict(self.values)  # with what the lines so far have written
        written = [s.target for s in statements]
        self.once = {name for name in written if written.count(name) == 1}
        found: list[Statement] = []
        for start in range(0, len(statements), LONGEST):
            stretch = list(statements[start : start + LONGEST])
            cost_of([s.tree() for s in stretch], scope, 0.0, keep=scope)
            for _ in range(ROUNDS):
                shared = self._once(stretch, scope)
                if shared is None:
                    break
                stretch = shared
            found += stretch
        return found

    def _once(self, stretch: list[Statement], scope: dict[str, Any]) -> list[Statement] | None:
        """One name for the part whose repetition costs most."""
        written = {s.target for s in stretch}
        places: dict[str, list[int]] = {}
        trees: dict[str, ast.expr] = {}
        for at, statement in enumerate(stretch):
            for part in self._parts(statement):
                text = self._text(part)
                places.setdefault(text, []).append(at)
                trees[text] = part
        best: tuple[float, str] | None = None
        twice = {
            text: found
            for text, found in places.items()
            if len(found) > 1 and self._fixed(trees[text], written)
        }
        for text, found in twice.items():
            cost = self._cost(text, trees[text], scope)
            saved = cost.total() * (len(found) - 1)
            if cost.traffic and (best is None or saved > best[0]):
                best = saved, text
        if best is None:
            return None
        return self._named(stretch, best[1], trees[best[1]], places[best[1]][0], scope)

    def _cost(self, text: str, tree: ast.expr, scope: Mapping[str, Any]) -> Cost:
        """What a part costs, which is asked in each round; nothing where it is no tensor."""
        if text not in self.costs:
            try:
                cost = cost_of([ast.Assign([_store("_")], tree, lineno=0)], scope, 0.0)
            except Exception:  # not an expression on its own
                cost = Cost()
            self.costs[text] = cost
        return self.costs[text]

    def _text(self, part: ast.expr) -> str:
        """The text of a syntax tree, which is asked for many times."""
        if id(part) not in self.texts:
            self.texts[id(part)] = (part, ast.unparse(part))
        return self.texts[id(part)][1]

    def _parts(self, statement: Statement) -> list[ast.expr]:
        """The operations in a statement that give a tensor of their own, asked in each round."""
        tree = statement.value if statement.scatter is None else statement.scatter
        if tree is None:
            return []
        if id(tree) not in self.parts:
            kinds = ast.BinOp | ast.Call | ast.UnaryOp | ast.Compare
            self.parts[id(tree)] = tree, [n for n in ast.walk(tree) if isinstance(n, kinds)]
        return self.parts[id(tree)][1]

    def _fixed(self, tree: ast.expr, written: set[str]) -> bool:
        """Whether it has the same value wherever it stands."""
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        return not (names & written - self.once) and "rand" not in self._text(tree)

    def _named(
        self,
        stretch: list[Statement],
        text: str,
        tree: ast.expr,
        at: int,
        scope: dict[str, Any],
    ) -> list[Statement]:
        first = stretch[at]
        name = self._name(first, tree)
        value = scope[name] = value_of(text, dict(scope))
        found = []
        for place, statement in enumerate(stretch):
            if place == at:
                shape = tuple(value.shape) if isinstance(value, torch.Tensor) else ()
                rules, notes = first.rules, first.notes
                found.append(
                    Statement(name, name, first.line, shape, tree, rules=rules, notes=notes)
                )
                self.once.add(name)
            found.append(self._replaced(statement, text, ast.Name(name, ast.Load())))
        return found

    def _replaced(self, statement: Statement, text: str, name: ast.Name) -> Statement:
        if not any(self._text(part) == text for part in self._parts(statement)):
            return statement

        def swap(node: ast.AST) -> ast.AST | None:
            same = isinstance(node, ast.expr) and self._text(node) == text
            return name if same else None

        value = None if statement.value is None else rebuild(statement.value, swap)
        scatter = None if statement.scatter is None else rebuild(statement.scatter, swap)
        # What is added to in place later must not be the shared value's own memory.
        shares = value is not None and not statement.adds and is_view(value)
        clone = statement.clone or (shares and statement.target not in self.once)
        return replace(statement, value=value, scatter=scatter, clone=clone)

    def _name(self, statement: Statement, tree: ast.expr) -> str:
        operation = ""
        if isinstance(tree, ast.BinOp):
            operation = SYMBOL_NAMES.get(BINARY[type(tree.op)][0], "")
        elif isinstance(tree, ast.Call) and isinstance(tree.func, ast.Attribute):
            operation = tree.func.attr
        base = f"{statement.line.name}_{operation or 'part'}"
        name, count = base, 1
        while name in self.taken or not name.isidentifier():
            count += 1
            name = f"{base}{count}"
        self.taken.add(name)
        return name


def _store(name: str) -> ast.Name:
    return ast.Name(name, ast.Store())
