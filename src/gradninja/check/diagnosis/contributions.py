"""Derive's own lines for every gradient, told in the names that the person has.

Where derive gave a part of a forward line a name of its own, the part is written out again.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from gradninja.derive import Backward
from gradninja.derive.statement import Statement
from gradninja.lines import Line

LIBRARIES = frozenset({"torch", "F", "math", "range"})

Tree = TypeVar("Tree", bound=ast.AST)


@dataclass(frozen=True, eq=False)
class Contribution:
    """What one use of a variable in the forward adds to its gradient.

    `value` is the expression, or None for a scatter, whose statement is then the last of
    `statements`. `statements` compute the contribution alone, as the gradient's whole value.
    """

    of: str
    gradient: str
    line: Line
    value: ast.expr | None
    statements: tuple[ast.stmt, ...]
    rules: tuple[str, ...]
    why: tuple[str, ...]

    @property
    def reads(self) -> frozenset[str]:
        """The names that the contribution is computed from."""
        found = {
            node.id
            for statement in self.statements
            for node in ast.walk(statement)
            if isinstance(node, ast.Name)
        }
        return frozenset(found - {self.gradient} - LIBRARIES)


def contributions(
    backward: Backward, names: Mapping[str, str], ones: Collection[str] = ()
) -> tuple[tuple[Contribution, ...], tuple[ast.expr, ...]]:
    """The contributions to all variables, in derive's order, and the parts that they share.

    A part is what a person may give a name of their own: derive does.

    `names` maps the person's variables to the names of their gradients; `ones` are outputs whose
    gradient is 1 and has no name.
    """
    inline = _forward_parts(backward, names)
    for of, name in names.items():
        if of in backward.gradient_names:
            inline[backward.gradient_names[of]] = ast.Name(name, ast.Load())
    for output in ones:
        inline[backward.gradient_names[output]] = ast.Constant(1)
    found: list[Contribution] = []
    hidden: dict[str, int] = {}
    for statement in backward.statements:
        if statement.of not in names:
            hidden[statement.of] = hidden.get(statement.of, 0) + 1
    started: dict[str, ast.stmt] = {}
    blocked: set[str] = set()
    for statement in backward.statements:
        tree = _put(_tree(statement), inline)
        reads = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        if statement.of not in names:
            if hidden[statement.of] == 1 and isinstance(tree, ast.Assign) and not reads & blocked:
                inline[statement.target] = tree.value
            else:
                blocked.add(statement.target)
            continue
        if reads & blocked:
            continue
        if statement.scatter is None and _starts_a_scatter(statement):
            started[statement.of] = tree
            continue
        found.append(_contribution(statement, tree, names[statement.of], started))
    parts = (part for part in inline.values() if not isinstance(part, ast.Name | ast.Constant))
    return tuple(found), tuple(parts)


class _Put(ast.NodeTransformer):
    """Puts syntax in the place of names that are read, each time a copy of its own.

    Shared parts would be visited twice by the next transformer, and then be put into themselves.
    """

    def __init__(self, names: Mapping[str, ast.expr]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if isinstance(node.ctx, ast.Load) and node.id in self.names:
            return copy.deepcopy(self.names[node.id])
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        """`1 * x` is x."""
        self.generic_visit(node)
        if isinstance(node.op, ast.Mult):
            for one, other in ((node.left, node.right), (node.right, node.left)):
                if isinstance(one, ast.Constant) and one.value == 1:
                    return other
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """`1` expanded is a tensor of ones."""
        self.generic_visit(node)
        func = node.func
        owner = func.value if isinstance(func, ast.Attribute) else None
        if isinstance(owner, ast.Constant) and ast.unparse(func).endswith(".expand_as"):
            ones = ast.Attribute(ast.Name("torch", ast.Load()), "ones_like", ast.Load())
            return ast.Call(ones, node.args, [])
        return node


def _put(tree: Tree, names: Mapping[str, ast.expr]) -> Tree:
    found: Tree = _Put(names).visit(copy.deepcopy(tree))
    return found


def _tree(statement: Statement) -> ast.stmt:
    """The statement without the `.clone()` that what follows it asks for."""
    if statement.value is not None and statement.clone:
        target = ast.Name(statement.target, ast.Store())
        return ast.Assign([target], statement.value, lineno=0)
    return statement.tree()


def _forward_parts(backward: Backward, names: Mapping[str, str]) -> dict[str, ast.expr]:
    inline: dict[str, ast.expr] = {}
    known = set(names) | {given.name for given in backward.program.inputs}
    for line in backward.program.lines:
        tensors = [target for target in line.targets if target not in known]
        if len(line.targets) == 1 and tensors and line.expr.differentiable:
            inline[line.name] = _put(line.expr.syntax, inline)
    return inline


def _starts_a_scatter(statement: Statement) -> bool:
    value = statement.value
    return (
        not statement.adds
        and isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and value.func.attr == "zeros_like"
    )


def _contribution(
    statement: Statement, tree: ast.stmt, gradient: str, started: Mapping[str, ast.stmt]
) -> Contribution:
    value = tree.value if isinstance(tree, ast.Assign | ast.AugAssign) else None
    if statement.scatter is not None:
        value = None
        zeros = ast.parse(f"{gradient} = torch.zeros_like({statement.of})").body[0]
        statements: tuple[ast.stmt, ...] = (started.get(statement.of, zeros), tree)
    else:
        assert value is not None
        statements = (ast.Assign([ast.Name(gradient, ast.Store())], value),)
    return Contribution(
        statement.of,
        gradient,
        statement.line,
        value,
        statements,
        tuple(rule.name for rule in statement.rules),
        (*dict.fromkeys(rule.why for rule in statement.rules), *statement.notes),
    )
