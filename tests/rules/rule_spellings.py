"""A call of the rule book written in the row's other spellings, with the same operands."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gradninja.lines import Expr
from gradninja.rules import Site, Spelling


def respelled(site: Site) -> Iterator[tuple[str, str]]:
    """Each spelling that takes what was given at this place, and the call written so."""
    operands = {id(e) for e in site.expr.operands}
    given = {
        formal: operand.syntax
        for formal, operand in site.bound.items()
        if id(operand) in operands or _holds(operand, operands) or formal in site.rule.shape_only
    }
    for text in site.rule.spellings:
        formals = Spelling.parse(text).formals
        names = {formal.name for formal in formals}
        required = {formal.name for formal in formals if formal.required}
        if required <= set(given) <= names:
            call = ast.parse(text, mode="eval").body
            yield text, ast.unparse(_written(call, given))


def _holds(operand: Expr, operands: set[int]) -> bool:
    """Whether an operand gathers several, as `a.view(3, 4)` does."""
    return bool(operand.args) and all(id(part) in operands for part in operand.args)


def _written(call: ast.expr, given: dict[str, ast.expr]) -> ast.expr:
    if not isinstance(call, ast.Call):
        return _Fill(given).visit(call)
    args: list[ast.expr] = []
    for arg in call.args:
        if isinstance(arg, ast.Starred):
            assert isinstance(arg.value, ast.Name)
            several = given.get(arg.value.id)
            if isinstance(several, ast.Tuple | ast.List):
                args.extend(several.elts)
            elif several is not None:
                args.append(several)
        else:
            args.append(_Fill(given).visit(arg))
    keywords = [ast.keyword(k.arg, given[k.arg]) for k in call.keywords if k.arg in given]
    func = _Fill(given).visit(call.func) if isinstance(call.func, ast.Attribute) else call.func
    return ast.Call(func, args, keywords)


class _Fill(ast.NodeTransformer):
    """Puts the operands in for the formals."""

    def __init__(self, given: dict[str, ast.expr]) -> None:
        self.given = given

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.given.get(node.id, node)
