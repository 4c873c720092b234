"""What a Function's `ctx` holds, by the forward's names; and `ctx` taken out of a text."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from gradninja.check.functions.function_text import Unreadable
from gradninja.check.given.plan import bound, written

QUIET = frozenset({"torch.no_grad()", "torch.inference_mode()", "torch.set_grad_enabled(False)"})


@dataclass
class Held:
    """What a forward hands on.

    `inputs`: the names of what it is called with; `saved`: by place, the forward's names of what is
    saved; `kept`: attribute -> the forward's name; `outputs`: by place, what is returned, None
    where it is no value; `made`: the statements that only the backward has a use for, which are
    lines of the backward that run early.
    """

    inputs: list[str] = field(default_factory=list)
    made: list[ast.stmt] = field(default_factory=list)
    saved: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    outputs: list[str | None] = field(default_factory=list)

    @property
    def names(self) -> frozenset[str]:
        return frozenset({*self.saved, *self.kept.values()})


class Context(ast.NodeTransformer):
    """Puts plain values in the place of `ctx.saved_tensors`, `ctx.eps`, `ctx.needs_input_grad`."""

    def __init__(self, ctx: str, value: Callable[[str, ast.Attribute], ast.expr]) -> None:
        """`value`: an attribute as an expression."""
        self.ctx, self.value = ctx, value

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == self.ctx:
            return place(self.value(node.attr, node), node)
        self.generic_visit(node)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        at = node.slice
        if isinstance(node.value, ast.Tuple) and isinstance(at, ast.Constant):
            try:
                return node.value.elts[at.value]  # type: ignore[index]
            except (IndexError, TypeError):
                return node
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id == self.ctx:
            raise Unreadable(f"`{self.ctx}` is handed on as a whole (line {node.lineno})")
        return node


def place(new: ast.expr, old: ast.expr) -> ast.expr:
    """An expression of ours that stands where another stood, all of it."""
    for node in ast.walk(new):
        ast.copy_location(node, old)
        node.ours = True  # type: ignore[attr-defined]
    return new


def names(elements: Iterable[str]) -> ast.Tuple:
    return ast.Tuple([ast.Name(name, ast.Load()) for name in elements], ast.Load())


SIZES = frozenset("shape size numel dim ndim stride dtype device len int tuple list".split())


def tells_sizes(node: ast.stmt) -> bool:
    """`n = x.shape[0]`: a number or a type, of which there is no gradient."""
    if not isinstance(node, ast.Assign):
        return False
    parts = list(ast.walk(node.value))
    calls = [part.func for part in parts if isinstance(part, ast.Call)]
    told = [*calls, *(part for part in parts if isinstance(part, ast.Attribute))]
    names = [part.attr if isinstance(part, ast.Attribute) else ast.unparse(part) for part in told]
    plain = isinstance(node.value, ast.Tuple | ast.Constant)
    return (
        (plain or bool(names))
        and set(names) <= SIZES
        and not any(isinstance(part, ast.MatMult) for part in parts)
    )


def names_in(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def returns_in(node: ast.AST) -> Iterator[ast.Return]:
    """The returns of a statement or of a function itself, not those of functions inside of it."""
    for child in [node] if isinstance(node, ast.Return) else ast.iter_child_nodes(node):
        if isinstance(child, ast.Return):
            yield child
        elif not isinstance(child, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            yield from returns_in(child)


def elements(node: ast.expr) -> list[ast.expr] | None:
    """The parts of `(a, b)`, of `(a,) + (None,) * 3`, of `(a, *(None, None))`; None of others."""
    if isinstance(node, ast.Tuple | ast.List):
        found: list[ast.expr] = []
        for part in node.elts:
            inner = elements(part.value) if isinstance(part, ast.Starred) else [part]
            if inner is None:
                return None
            found += inner
        return found
    if isinstance(node, ast.Call) and ast.unparse(node.func) in {"tuple", "list"} and node.args:
        return elements(node.args[0])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = elements(node.left), elements(node.right)
        return None if left is None or right is None else [*left, *right]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        left, times = elements(node.left), node.right
        if left is not None and isinstance(times, ast.Constant) and isinstance(times.value, int):
            return left * times.value
    return None


def pairs(node: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]] | None:
    """Targets with what each is given: `a, (b, c) = x, y`; None where that is not seen."""
    found: list[tuple[ast.expr, ast.expr]] = []
    for target in node.targets:
        if isinstance(target, ast.Tuple | ast.List):
            parts = elements(node.value)
            if parts is None:
                return None
            stars = [i for i, one in enumerate(target.elts) if isinstance(one, ast.Starred)]
            if stars:
                at, after = stars[0], len(target.elts) - stars[0] - 1
                middle = ast.Tuple(parts[at : len(parts) - after], ast.Load())
                parts = [*parts[:at], ast.copy_location(middle, node), *parts[len(parts) - after :]]
            if len(parts) != len(target.elts):
                return None
            found += [
                (one.value if isinstance(one, ast.Starred) else one, part)
                for one, part in zip(target.elts, parts, strict=True)
            ]
        else:
            found.append((target, node.value))
    return iter(found)


def changed(statements: Iterable[ast.stmt]) -> dict[str, list[int]]:
    """Names -> the lines that give them a value or write into what they hold."""
    found: dict[str, list[int]] = {}
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.stmt) and not isinstance(node, ast.FunctionDef):
                inner = [n for n in ast.iter_child_nodes(node) if not isinstance(n, ast.stmt)]
                alone = isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Try)
                several = inner if alone else [node]
                for part in several:
                    for name in {*bound(part), *written(part)}:
                        found.setdefault(name, []).append(node.lineno)
    return found


def fresh(base: str, taken: Iterable[str]) -> str:
    """A name that is not taken: `x_`, `x__`, ..."""
    used = set(taken)
    while base in used:
        base += "_"
    return base
