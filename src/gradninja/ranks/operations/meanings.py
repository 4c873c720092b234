"""Operations by what their rows say that they mean, where no rank can do them on its share.

`F.batch_norm(a, ...)` of a share is not a share of the batch norm; its mean and variance are sums,
which ranks can add up.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

import torch

from gradninja.derive.template import rebuild
from gradninja.errors import GradninjaError
from gradninja.lines import NAME, STATIC, Expr
from gradninja.lines.given.source import parse
from gradninja.lines.reader import reading_of
from gradninja.ranks.operations.taking import Operation
from gradninja.ranks.rank_values import Value
from gradninja.rules import Book, Refusal

Lines = list[tuple[str, ast.expr]]  # hidden values by their names; the last is the result


def meaning(operation: Operation, operands: Sequence[Value], book: Book) -> Lines | None:
    """What an operation means, in operands `_0`, `_1`, ...; None where its row does not say it."""
    if not isinstance(operation.syntax, ast.expr):
        return None
    given = [f"_{at}" for at in range(len(operands))]
    source = parse(
        f"def meant({', '.join(given)}):\n    return {ast.unparse(operation.syntax)}", "<row>", None
    )
    reading = reading_of(source, book)
    spot = source.spot(source.function)
    for name, value in zip(given, operands, strict=True):
        tensor = isinstance(value.whole, torch.Tensor)
        syntax = ast.Name(name, ast.Load())
        reading.scope[name] = Expr(NAME if tensor else STATIC, (), syntax, value.whole, spot)
    returned = source.function.body[-1]
    assert isinstance(returned, ast.Return) and returned.value is not None
    try:
        with torch.no_grad():
            site = book.find(reading.read(returned.value))
        if site is None or not site.rule.means or site.rule.elementwise:
            return None
        text = site.rule.meaning(site)
    except (Refusal, GradninjaError):
        return None
    puts = {formal: bound.syntax for formal, bound in site.bound.items()}
    *hidden, last = text.split("\n")
    found: Lines = []
    for line in hidden:
        node = ast.parse(line).body[0]
        assert isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        found.append((node.targets[0].id, put_in(node.value, puts)))
    return [*found, (site.rule.name, put_in(ast.parse(last, mode="eval").body, puts))]


def put_in(tree: ast.expr, puts: Mapping[str, ast.expr]) -> ast.expr:
    """A copy of a tree with expressions in the places of names."""

    def replacement(node: ast.AST) -> ast.AST | None:
        return puts.get(node.id) if isinstance(node, ast.Name) else None

    found: ast.expr = rebuild(tree, replacement)
    return found
