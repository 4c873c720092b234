"""Lines in place: no full-size array is made anew where one of the line's own can be changed.

`dlogits = (probs - F.one_hot(Yb, c)) / n` becomes the lecture's three lines, which make no one-hot;
`dx = rstd * (dxhat - shift)` becomes `dx = dxhat - shift` and `dx *= rstd`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from gradninja.algebra.write.one_hot import Hot, hot_in
from gradninja.derive.statement import Statement, is_view
from gradninja.lines.scope import run, value_of

Steps = list[tuple[ast.operator, ast.expr]]  # what is done in place, and with what


@dataclass
class InPlace:
    """Rewrites statements over given values; what the forward made is never written to.

    `lean`: where 1 is taken off, the array is scaled before and not after. That is one operation
    on the whole of it, `dlogits = probs / n`, where the lecture has two, and then
    `dlogits[torch.arange(len(Yb)), Yb] -= 1 / n`. `hots`: nothing but one-hots goes.
    """

    values: Mapping[str, Any]
    lean: bool = False
    hots: bool = False
    scope: dict[str, Any] = field(default_factory=dict)
    full: int = 0  # elements of the largest arrays

    def run(self, statements: Sequence[Statement]) -> list[Statement]:
        """The statements, those that give full-size arrays in place as far as they can be."""
        self.scope = dict(self.values)
        tensors = (v for v in self.values.values() if isinstance(v, torch.Tensor))
        self.full = max((t.numel() for t in tensors), default=0)
        found: list[Statement] = []
        for statement in statements:
            found += self._lines(statement)
            run([statement], self.scope)
        return found

    def _lines(self, statement: Statement) -> Iterator[Statement]:
        value = None
        if statement.value is not None and not statement.adds and "rand" not in str(statement):
            value = self._value(statement.value)
        if not isinstance(value, torch.Tensor) or not self._is_whole(value):
            yield statement
            return
        assert statement.value is not None
        whole, taken, later = self._taken(statement.value, statement.target, value)
        core, steps = (whole, Steps()) if self.hots else self._split(whole, value)
        store = ast.Name(statement.target, ast.Store())
        after: list[ast.stmt] = [ast.AugAssign(store, *step) for step in steps]
        after += [*taken, *(ast.AugAssign(store, *step) for step in later)]
        if not after:
            yield statement
            return
        yield replace(statement, value=core, clone=is_view(core))
        for tree in after:
            yield replace(statement, value=None, scatter=tree, adds=True, clone=False)

    def _is_whole(self, value: torch.Tensor) -> bool:
        """Whether an array is no row or column beside larger ones."""
        return value.numel() > 1 and (value.numel() == self.full or value.squeeze().ndim > 1)

    def _value(self, tree: ast.expr) -> Any:
        return value_of(tree, self.scope)

    # -- one-hots ---------------------------------------------------------------------------

    def _taken(
        self, whole: ast.expr, target: str, value: torch.Tensor
    ) -> tuple[ast.expr, list[ast.stmt], Steps]:
        """What is left without a one-hot, the line that stands for it, and what follows."""
        hot = hot_in(whole)
        if hot is None or hot.rest is None or value.ndim != 2:
            return whole, [], []
        index = self._value(hot.index)
        if not isinstance(index, torch.Tensor) or index.shape != value.shape[:1]:
            return whole, [], []
        if not self.lean and hot.inner is not None:
            rows = f"range({target}.shape[0])"
            return hot.inner, [_picked(target, rows, hot, ast.Constant(1))], [*hot.scales]
        amount = self._per_row(hot.amount, value)
        if amount is None:
            return whole, [], []
        rows = f"torch.arange(len({ast.unparse(hot.index)}))"
        return hot.rest, [_picked(target, rows, hot, amount)], []

    def _per_row(self, amount: ast.expr | None, like: torch.Tensor) -> ast.expr | None:
        """An amount as a number, or one for each row; None where it is more."""
        if amount is None:
            return ast.Constant(1)
        value = self._value(amount)
        if not isinstance(value, torch.Tensor) or value.ndim == 0:
            return amount
        if value.shape != (like.shape[0], 1):
            return None
        if isinstance(amount, ast.Call) and isinstance(amount.func, ast.Attribute):
            if amount.func.attr == "unsqueeze":
                return amount.func.value
            if amount.func.attr in {"sum", "mean"} and len(amount.args) == 1:
                return ast.Call(amount.func, amount.args, [])
        return ast.Call(ast.Attribute(amount, "squeeze", ast.Load()), [ast.Constant(1)], [])

    # -- operations -------------------------------------------------------------------------

    def _split(self, tree: ast.expr, like: torch.Tensor) -> tuple[ast.expr, Steps]:
        """A new array, and what is then done to it in place."""
        steps: Steps = []
        while isinstance(tree, ast.BinOp):
            left, operator, right = tree.left, tree.op, tree.right
            if not isinstance(operator, ast.Add | ast.Sub | ast.Mult | ast.Div):
                break
            first, second = self._is_new(left, like), self._is_new(right, like)
            turns = isinstance(operator, ast.Add | ast.Mult)
            if first and second and turns and self._held(right, like) > self._held(left, like):
                first = False  # what needs most memory is made before anything else is held
            if first:
                tree, step = left, (operator, right)
            elif second and turns:
                tree, step = right, (operator, left)
            elif second and isinstance(operator, ast.Sub):
                turned = self._negated(right, like)
                if turned is None:
                    break
                tree, step = turned, (ast.Add(), left)
            else:
                break
            steps.insert(0, step)
        return tree, steps

    def _is_new(self, tree: ast.expr, like: torch.Tensor) -> bool:
        """Whether an expression makes an array that nothing else has, of the shape of another."""
        if not isinstance(tree, ast.BinOp | ast.Call) or is_view(tree):
            return False
        value = self._value(tree)
        if not isinstance(value, torch.Tensor) or value.shape != like.shape:
            return False
        memory = value.untyped_storage().data_ptr()
        others = (v for v in self.scope.values() if isinstance(v, torch.Tensor))
        alone = all(v.untyped_storage().data_ptr() != memory for v in others)
        return alone and value.dtype == like.dtype and 0 not in value.stride()

    def _held(self, tree: ast.expr, like: torch.Tensor) -> int:
        """How many arrays of a shape are held at most while an expression is computed."""
        parts = [node for node in ast.iter_child_nodes(tree) if isinstance(node, ast.expr)]
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Attribute):
            parts = [tree.func.value, *tree.args]
        held = most = 0
        for part in parts:
            most = max(most, held + self._held(part, like))
            held += self._is_new(part, like)
        return max(most, held + self._is_new(tree, like))

    def _negated(self, tree: ast.expr, like: torch.Tensor) -> ast.expr | None:
        """A product with a number, or a smaller array, in it turned to its negative."""
        if not isinstance(tree, ast.BinOp) or not isinstance(tree.op, ast.Mult | ast.Div):
            return None
        sides = [tree.left, tree.right] if isinstance(tree.op, ast.Mult) else [tree.left]
        for side in sides:
            value = self._value(side)
            small = not isinstance(value, torch.Tensor) or value.numel() < like.numel()
            turned = ast.UnaryOp(ast.USub(), side) if small else self._negated(side, like)
            if turned is not None and side is tree.left:
                return ast.BinOp(turned, tree.op, tree.right)
            if turned is not None:
                return ast.BinOp(tree.left, tree.op, turned)
        return None


def _picked(target: str, rows: str, hot: Hot, amount: ast.expr) -> ast.stmt:
    """`dlogits[range(n), Yb] -= 1`."""
    at = ast.Tuple([ast.parse(rows, mode="eval").body, hot.index], ast.Load())
    place = ast.Subscript(ast.Name(target, ast.Load()), at, ast.Store())
    return ast.AugAssign(place, ast.Sub() if hot.negative else ast.Add(), amount)
