"""How a value of the forward is written in the backward: by name, or by its own text."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from gradninja.derive import template as templates
from gradninja.derive.template import Gradient
from gradninja.lines import ITEM, NAME, STATIC, TUPLE, Expr, Line, Program
from gradninja.lines.operators import output_syntax
from gradninja.rules import Book, Site


class Printer:
    """Writes values of one program. `needs` collects the parts of lines that want names."""

    def __init__(self, program: Program, book: Book) -> None:
        self.program = program
        self.book = book
        self.needs: list[Expr] = []
        self.current: Line = program.lines[0]

    def printed(self, expr: Expr) -> ast.expr:
        """Syntax for a value: its name, or its own text where that is cheap to evaluate again."""
        if expr.op == TUPLE:
            parts = [self.printed(part) for part in expr.args]
            return (
                ast.Tuple(parts, ast.Load())
                if isinstance(expr.value, tuple)
                else ast.List(parts, ast.Load())
            )
        if not self._cheap(expr) and not (expr.is_tensor and self._is_root(expr)):
            self.needs.append(expr)
        return expr.syntax

    def result(self, expr: Expr) -> ast.expr:
        """Syntax for an operation's result."""
        if self._is_root(expr):
            return ast.Name(self.current.targets[0], ast.Load())
        return self.printed(expr)

    def _is_root(self, expr: Expr) -> bool:
        return expr is self.current.expr and not self.current.several

    def _cheap(self, expr: Expr, depth: int = 2) -> bool:
        if expr.op in (NAME, STATIC):
            return True
        if expr.op == TUPLE:
            return all(self._cheap(e, depth) for e in expr.args)
        if expr.random or depth == 0 or not expr.is_tensor:
            return not expr.random and expr.op == ITEM
        site = self.book.find(expr)
        if site is None or not (site.rule.elementwise or site.rule.view):
            return False
        less = depth if site.rule.view else depth - 1
        return all(self._cheap(operand, less) for operand in expr.operands)

    def like(self, expr: Expr, typed: bool = True) -> ast.expr:
        """Syntax for something of the same shape, whatever the sizes: a name, if it can be.

        It is of the same dtype, too, where `typed`.
        """
        if self._is_root(expr):
            return ast.Name(self.current.targets[0], ast.Load())
        if expr.op == NAME:
            return expr.syntax
        if expr.op == "[]" and not typed:
            index = expr.args[1].args if expr.args[1].op == TUPLE else (expr.args[1],)
            tensors = [e for e in index if e.is_tensor and e.value.dtype == torch.int64]
            whole = len(index) == expr.args[0].value.ndim
            if whole and len(tensors) == 1 and tensors[0].shape == expr.shape:
                others = [e.value for e in index if e is not tensors[0]]
                if all(isinstance(value, int | range) for value in others):
                    return self.like(tensors[0], typed)
        site = self.book.find(expr)
        if site is not None and site.rule.elementwise:
            for operand in expr.operands:
                if (
                    operand.is_tensor
                    and operand.shape == expr.shape
                    and (operand.value.dtype == expr.value.dtype or not typed)
                ):
                    return self.like(operand, typed)
        return self.printed(expr)

    def _axes(self, shape: Sequence[int], axes: tuple[int, ...]) -> str:
        names = self.program.axes_of(tuple(shape))
        told = [
            f"axis {axis} ({names[axis]})" if not names[axis].isdigit() else f"axis {axis}"
            for axis in axes
        ]
        return " and ".join(told)

    def note_summed(self, operand: Expr, value: torch.Tensor, axes: tuple[int, ...]) -> str:
        over = self._axes(tuple(value.shape), axes)
        return (
            f"{operand} was broadcast over {over} in the forward, so its gradient is summed over "
            "it: a broadcast in the forward is a sum in the backward"
        )

    def note_expanded(self, operand: Expr, axes: tuple[int, ...]) -> str:
        over = self._axes(operand.shape, axes)
        return (
            f"{operand} was summed over {over} in the forward, so its gradient is broadcast over "
            "it: a sum in the forward is a broadcast in the backward"
        )

    def output(self, expr: Expr, index: int) -> ast.expr:
        """Syntax for one output of an operation that gives several."""
        if expr is self.current.expr and self.current.several:
            return ast.Name(self.current.targets[index], ast.Load())
        return output_syntax(expr.op, expr.syntax, index)

    def fill(self, site: Site, cotangents: dict[str, Gradient], tree: ast.AST) -> Any:
        """A row's text with what the person wrote in place of its formals."""
        operands: dict[str, Expr] = {}
        for name, operand in site.bound.items():
            operands[name] = operand
            if operand.op == TUPLE:
                operands.update({f"{name}[{i}]": e for i, e in enumerate(operand.args)})
        shapes = {name: partial(self.like, e) for name, e in operands.items() if e.is_tensor}
        names: dict[str, Callable[[], ast.expr]] = {
            name: partial(self.printed, e) for name, e in operands.items()
        }
        for name, operand in site.bound.items():
            if operand.op == STATIC and isinstance(operand.syntax, ast.Tuple):
                parts = enumerate(operand.syntax.elts)
                names.update({f"{name}[{i}]": partial(_itself, part) for i, part in parts})
        names.update({name: partial(_itself, g.syntax) for name, g in cotangents.items()})
        several = ast.List([g.syntax for n, g in cotangents.items() if n != "d"], ast.Load())
        names["gs"] = partial(_itself, several)
        if isinstance(site.y, tuple):
            for index in range(len(site.y)):
                names[f"y[{index}]"] = partial(self.output, site.expr, index)
        else:
            names["y"] = partial(self.result, site.expr)
            shapes["y"] = partial(self.like, site.expr)
        return templates.rebuild(templates.substitute(tree, names, shapes), _transposed_twice)


def _transposed_twice(node: ast.AST) -> ast.AST | None:
    """`k` for `k.mT.mT`, `k.transpose(-2, -1).mT`: a person transposed, the row transposes back."""
    if not isinstance(node, ast.Attribute) or node.attr not in {"T", "mT"}:
        return None
    inner = node.value
    if isinstance(inner, ast.Attribute) and inner.attr == node.attr:
        return inner.value
    last_two = {".transpose(-2, -1)", ".transpose(-1, -2)"}
    if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and node.attr == "mT":
        owner = inner.func.value
        if ast.unparse(inner).removeprefix(ast.unparse(owner)) in last_two:
            return owner
    return None


def _itself(syntax: ast.expr) -> ast.expr:
    return syntax
