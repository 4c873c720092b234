"""Tensors' axes in text: which index runs along which, and what moves them where they must be."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

Layout = tuple[int | None, ...]  # the index along each axis; None where its size is 1


@dataclass(frozen=True)
class Written:
    """Syntax, and the layout of its value."""

    syntax: ast.expr
    layout: Layout


def constant(value: float) -> ast.expr:
    if value < 0:
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    return ast.Constant(value)


def call(path: str, args: Sequence[ast.expr]) -> ast.expr:
    return ast.Call(ast.parse(path, mode="eval").body, list(args), [])


def method(
    owner: ast.expr, name: str, args: Sequence[ast.expr] = (), **keywords: ast.expr
) -> ast.expr:
    given = [ast.keyword(key, value) for key, value in keywords.items()]
    return ast.Call(ast.Attribute(owner, name, ast.Load()), list(args), given)


def fitted(written: Written, want: Layout, exact: bool = False) -> Written:
    """The same value laid out to broadcast against `want`; as it is, where that does already.

    `exact`: of `want`'s very number of axes, each index in its place (indices that it lacks may
    have size 1).
    """
    layout = written.layout
    have = [i for i in layout if i is not None]
    if not exact and broadcasts(layout, want):
        return written
    goal: Layout = tuple(i if i in have else None for i in want)
    if not exact:
        while goal and goal[0] is None:
            goal = goal[1:]
    if layout == goal:
        return written
    written = turned(written, [i for i in goal if i is not None])
    return _spaced(written, goal)


def broadcasts(layout: Layout, want: Layout) -> bool:
    """Whether a value laid out so broadcasts against `want` as it is."""
    if len(layout) > len(want):
        return False
    tail = want[len(want) - len(layout) :]
    return all(i is None or i == j for i, j in zip(layout, tail, strict=True))


def turned(written: Written, order: Sequence[int]) -> Written:
    """The axes that have an index in another order."""
    layout = written.layout
    have = [i for i in layout if i is not None]
    if have == list(order):
        return written
    assert sorted(have) == sorted(order), (have, order)
    rest = iter(order)
    goal = tuple(None if i is None else next(rest) for i in layout)
    if len(layout) == 2:
        goal = (layout[1], layout[0])
        return Written(ast.Attribute(written.syntax, "T", ast.Load()), goal)
    if goal[:-2] == layout[:-2] and goal[-2:] == layout[:-3:-1]:
        return Written(ast.Attribute(written.syntax, "mT", ast.Load()), goal)
    nones = [d for d, i in enumerate(layout) if i is None]
    places = iter(nones)
    dims = [next(places) if i is None else layout.index(i) for i in goal]
    return Written(method(written.syntax, "permute", [constant(d) for d in dims]), goal)


def _spaced(written: Written, goal: Layout) -> Written:
    """Axes of size 1 taken out and put in."""
    layout, syntax = list(written.layout), written.syntax
    at = 0
    while tuple(layout) != goal:
        if at < len(layout) and at < len(goal) and layout[at] == goal[at]:
            at += 1
        elif at < len(layout) and layout[at] is None:
            syntax = method(syntax, "squeeze", [constant(at)])
            del layout[at]
        else:
            assert at < len(goal) and goal[at] is None, (written.layout, goal)
            syntax = method(syntax, "unsqueeze", [constant(at)])
            layout.insert(at, None)
            at += 1
    return Written(syntax, goal)


def joined(left: Written, operator: ast.operator, right: Written, want: Layout) -> Written:
    """Two operands of an operator, broadcast against each other."""
    a, b, layout = aligned(left, right, want)
    return Written(ast.BinOp(a.syntax, operator, b.syntax), layout)


def aligned(left: Written, right: Written, want: Layout) -> tuple[Written, Written, Layout]:
    """Two values laid out to broadcast against each other, and the layout of what comes of it."""
    a, b = left, right
    if a.layout and b.layout:
        a, b = fitted(a, want), fitted(b, want)
    longer, shorter = sorted((a.layout, b.layout), key=len, reverse=True)
    lead = len(longer) - len(shorter)
    layout = list(longer)
    for at, index in enumerate(shorter):
        if index is not None:
            layout[lead + at] = index
    return a, b, tuple(layout)


def negated(syntax: ast.expr) -> ast.expr:
    """`-x`, the sign at the front of a product."""
    if isinstance(syntax, ast.BinOp) and isinstance(syntax.op, ast.Mult | ast.Div):
        return ast.BinOp(negated(syntax.left), syntax.op, syntax.right)
    return ast.UnaryOp(ast.USub(), syntax)
