"""Helpers that a method calls, laid into it: `dx, dw = launch_backward(x, w, g)` as its lines.

Each line keeps its place in the text, and what its names are there (`Inside`).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

from gradninja.check.functions.held import changed, fresh, pairs
from gradninja.check.given.backward_text import Inside, Within

DEEPEST = 4  # helpers that call helpers


@dataclass
class Laid:
    """A method's statements with helpers laid in, and where these stand in the text."""

    body: list[ast.stmt]
    inside: list[Inside] = field(default_factory=list)


def laid_in(method: ast.FunctionDef, helpers: Mapping[str, ast.FunctionDef]) -> Laid:
    """A method's body, in which calls of plain helpers are replaced by their lines.

    Args:
        helpers: by the names that they are called by; those called once, with one `return` at the
            end, are laid in.
    """
    return _Laying(method, helpers).laid()


class _Laying:
    def __init__(self, method: ast.FunctionDef, helpers: Mapping[str, ast.FunctionDef]) -> None:
        self.method, self.helpers = method, helpers
        self.taken = {n.id for n in ast.walk(method) if isinstance(n, ast.Name)}
        self.taken |= {a.arg for a in ast.walk(method) if isinstance(a, ast.arg)}
        self.inside: list[Inside] = []
        self.seen: list[str] = [
            ast.unparse(n.func) for n in ast.walk(method) if isinstance(n, ast.Call)
        ]

    def laid(self) -> Laid:
        body = self.statements(self.method.body, 0)
        return Laid(body, self.inside)

    def statements(self, body: Sequence[ast.stmt], depth: int) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for node in body:
            if isinstance(node, ast.If | ast.With):
                node.body = self.statements(node.body, depth)
                if isinstance(node, ast.If):
                    node.orelse = self.statements(node.orelse, depth)
            found += self.statement(node, depth)
        return found

    def statement(self, node: ast.stmt, depth: int) -> list[ast.stmt]:
        call = node.value if isinstance(node, ast.Assign | ast.Return) else None
        if not isinstance(call, ast.Call) or depth > DEEPEST:
            return [node]
        name = ast.unparse(call.func)
        helper = self.helpers.get(name)
        if helper is None or self.seen.count(name) != 1:
            return [node]
        given = _arguments(helper, call)
        last = helper.body[-1]
        inner = [n for s in helper.body for n in ast.walk(s)]
        if given is None or not isinstance(last, ast.Return) or last.value is None:
            return [node]
        if sum(isinstance(n, ast.Return | ast.Yield | ast.Global) for n in inner) != 1:
            return [node]
        return self.inlined(node, deepcopy(helper), given, depth)

    def inlined(
        self,
        node: ast.stmt,
        helper: ast.FunctionDef,
        given: Mapping[str, ast.expr],
        depth: int,
    ) -> list[ast.stmt]:
        own = changed(helper.body)
        names: dict[str, str] = {}
        found: list[ast.stmt] = []
        for name, value in given.items():
            if isinstance(value, ast.Name) and name not in own:
                names[name] = value.id
                continue
            names[name] = self.fresh(name)
            made = ast.Assign([ast.Name(names[name], ast.Store())], value)
            found.append(_ours(ast.copy_location(made, node)))
        last = helper.body[-1]
        assert isinstance(last, ast.Return)
        handed = {} if isinstance(node, ast.Return) else self.handed(node, last, own, names)
        names.update(handed)
        for name in own:
            if name not in names:
                names[name] = self.fresh(name)
        rename = _Renamed(names)
        body = [rename.visit(statement) for statement in helper.body]
        self.inside.append(Inside(helper.lineno, helper.end_lineno or helper.lineno, names))
        inner = (n for statement in body for n in ast.walk(statement))
        self.seen += [ast.unparse(n.func) for n in inner if isinstance(n, ast.Call)]
        found += self.statements(body[:-1], depth + 1)
        return found + self.end(node, body[-1], set(handed.values()), depth)

    def fresh(self, name: str) -> str:
        found = fresh(name, self.taken)
        self.taken.add(found)
        return found

    def handed(
        self, node: ast.stmt, last: ast.Return, own: Mapping[str, object], names: Mapping[str, str]
    ) -> dict[str, str]:
        """The helper's locals that are returned, by the names that they are handed to."""
        assert isinstance(node, ast.Assign)
        assert last.value is not None
        pair = ast.copy_location(ast.Assign(node.targets, last.value), node)
        found: dict[str, str] = {}
        for target, value in pairs(pair) or ():
            plain = isinstance(target, ast.Name) and isinstance(value, ast.Name)
            if not plain or value.id not in own or value.id in {*found, *names}:  # type: ignore[attr-defined]
                continue
            if target.id not in {*names.values(), *found.values()}:  # type: ignore[attr-defined]
                found[value.id] = target.id  # type: ignore[attr-defined]
        return found

    def end(self, node: ast.stmt, last: ast.stmt, handed: set[str], depth: int) -> list[ast.stmt]:
        """What the helper returns, where the call's value went."""
        assert isinstance(last, ast.Return)
        assert last.value is not None
        if isinstance(node, ast.Return):
            return self.statement(last, depth + 1)
        assert isinstance(node, ast.Assign)
        told = pairs(ast.copy_location(ast.Assign(node.targets, last.value), node))
        if told is None:
            made = ast.Assign(node.targets, last.value)
            return self.statement(ast.copy_location(made, last), depth + 1)
        found: list[ast.stmt] = []
        for target, value in told:
            if isinstance(value, ast.Name) and ast.unparse(target) == value.id in handed:
                continue
            made = ast.copy_location(ast.Assign([target], value), last)
            if isinstance(value, ast.Name):
                _ours(made)
            else:
                made.within = Within(last, value)  # type: ignore[attr-defined]
            found.append(made)
        return found


def _ours(node: ast.stmt) -> ast.stmt:
    """A statement that hands a value on, in which there is nothing to mend."""
    node.given = node.unwritten = True  # type: ignore[attr-defined]
    return node


def _arguments(helper: ast.FunctionDef, call: ast.Call) -> dict[str, ast.expr] | None:
    """Parameter -> what is given; None where that is not told by name or place."""
    arguments = helper.args
    if arguments.vararg or arguments.kwarg or any(k.arg is None for k in call.keywords):
        return None
    plain = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    if len(call.args) > len(plain) or any(isinstance(a, ast.Starred) for a in call.args):
        return None
    defaults = dict(zip(plain[::-1], arguments.defaults[::-1], strict=False))
    defaults |= {
        a.arg: d for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d
    }
    every = [*plain, *(a.arg for a in arguments.kwonlyargs)]
    found = dict(zip(plain, call.args, strict=False))
    found |= {k.arg: k.value for k in call.keywords if k.arg is not None}
    if not set(found) <= set(every) or not set(every) <= {*found, *defaults}:
        return None
    return {name: found.get(name, defaults.get(name)) for name in every}  # type: ignore[misc]


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self.names.get(node.id, node.id)
        return node
