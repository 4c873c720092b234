"""A plain reference in the place of a forward that cannot be read: it carries the lines.

The Function's own forward is a kernel; what it saves has names that the reference binds as well.
"""

from __future__ import annotations

import ast
from copy import deepcopy
from dataclasses import replace

from gradninja.check.functions.function_text import Text, Unreadable
from gradninja.check.functions.held import changed, elements, names_in
from gradninja.lines.given.source import Source


def carried(text: Text, reference: Source) -> Text:
    """The same Function with a reference's lines for its forward's, and what `ctx` is told.

    Raises:
        Unreadable: the reference stands elsewhere, or does not bind what is saved.
    """
    plain = deepcopy(reference.function)
    if reference.file != text.file:
        raise Unreadable(f"`{plain.name}` stands in another file, and cannot carry its lines")
    inputs = text.inputs
    mine = None if text.setup is not None else text.forward.args.args[0].arg
    theirs = [a.arg for a in (*plain.args.posonlyargs, *plain.args.args)]
    last, ends = plain.body[-1], text.forward.body[-1]
    if not (isinstance(last, ast.Return) and last.value and isinstance(ends, ast.Return)):
        raise Unreadable(f"`{plain.name}` does not end in one `return`")
    if len(theirs) > len(inputs) or ends.value is None:
        raise Unreadable(f"`{plain.name}` has more inputs than the Function")
    names = dict(zip(theirs, inputs, strict=False))
    outputs, returned = elements(ends.value) or [ends.value], elements(last.value) or [last.value]
    if len(outputs) != len(returned):
        raise Unreadable(f"`{plain.name}` returns {len(returned)} values, and it {len(outputs)}")
    known = {n: names.get(n, n) for n in (*changed(plain.body), *theirs)}
    body = [_Named(known).visit(statement) for statement in plain.body]
    end = body.pop()
    assert isinstance(end, ast.Return)
    assert end.value is not None
    for target, value in zip(outputs, elements(end.value) or [end.value], strict=True):
        if isinstance(target, ast.Name) and ast.unparse(target) != ast.unparse(value):
            made = ast.Assign([ast.Name(target.id, ast.Store())], value)
            body.append(ast.copy_location(made, end))
    there = {*known.values(), *inputs, *(n for o in outputs for n in names_in(o))}
    kept = [s for s in text.forward.body[:-1] if mine is not None and mine in names_in(s)]
    for statement in kept:
        missing = names_in(statement) - there - {mine} - set(text.namespace)
        if missing:
            raise Unreadable(f"`{plain.name}` does not bind `{min(missing)}`, which is saved")
    final: ast.stmt = ends
    if not all(isinstance(target, ast.Name) for target in outputs):
        final = ast.copy_location(ast.Return(end.value), end)
    forward = _with_body(text.forward, [*body, *deepcopy(kept), deepcopy(final)])
    return replace(text, forward=forward)


def _with_body(function: ast.FunctionDef, body: list[ast.stmt]) -> ast.FunctionDef:
    found = deepcopy(function)
    found.body = body
    return found


class _Named(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self.names.get(node.id, node.id)
        return node
