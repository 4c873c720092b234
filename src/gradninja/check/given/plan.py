"""What each statement of a backward writes and reads, as far as the text tells."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

ADDING = frozenset({"add", "sub", "index_add", "scatter_add", "addmm", "at"})
IN_PLACE_FUNCTIONS = frozenset({"copyto", "put", "place", "putmask"})


@dataclass(frozen=True, eq=False)
class Step:
    """One top-level statement: the names that it writes and those that it mentions."""

    node: ast.stmt
    writes: frozenset[str]
    binds: frozenset[str]  # those written by giving the name a new value
    mentions: frozenset[str]
    code: tuple[ast.stmt, ...]  # what is run for it
    gives_up: str | None = None  # a name that no later statement uses (`reuse`)


@dataclass(frozen=True, eq=False)
class Plan:
    """A backward's statements up to its return, and the gradients among what they write.

    `gradients`: gradient name -> the forward's name that it is the gradient of.
    """

    steps: tuple[Step, ...]
    gradients: Mapping[str, str]

    def writers(self, name: str) -> list[int]:
        return [i for i, step in enumerate(self.steps) if name in step.writes]

    def last(self, name: str) -> int | None:
        """The last statement that writes a name."""
        found = self.writers(name)
        return found[-1] if found else None

    def absent(self, name: str) -> bool:
        """Whether a gradient is read, and no statement writes it."""
        return name in self.gradients and self.last(name) is None

    def feeding(self, name: str) -> list[int]:
        """The statements that write a gradient, and those of the person's own locals for it."""
        writers = self.writers(name)
        needed, found = set[str](), []
        for at in range(max(writers, default=-1), -1, -1):
            step = self.steps[at]
            own = step.writes - set(self.gradients)
            if at in writers or own & needed:
                found.append(at)
                needed |= step.mentions - set(self.gradients)
        return sorted(found)

    def with_writes(self, more: Mapping[int, Iterable[str]]) -> Plan:
        """The same, knowing what the text does not tell: a helper that writes in place."""
        steps = tuple(
            replace(step, writes=step.writes | set(more.get(i, ())))
            for i, step in enumerate(self.steps)
        )
        return replace(self, steps=steps)


def plan(statements: Iterable[ast.stmt], variables: Mapping[str, str]) -> Plan:
    """Cut a backward into steps. `variables`: gradient -> the forward's name that it is of."""
    steps = []
    for node in statements:
        if isinstance(node, ast.Return):
            break
        binds, writes = frozenset(bound(node)), frozenset(written(node))
        mentions = frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name))
        gone = getattr(node, "gives_up", None)
        steps.append(Step(node, writes | binds, binds, mentions, (_runnable(node),), gone))
    touched = set().union(*(step.writes | step.mentions for step in steps)) if steps else set()
    gradients = {gradient: name for gradient, name in variables.items() if gradient in touched}
    return Plan(tuple(steps), gradients)


def bound(node: ast.AST) -> Iterator[str]:
    """Names that a statement gives a new value: stores, but not those of nested functions."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        yield node.name
        return
    if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return
    if isinstance(node, ast.AugAssign):
        yield from bound(node.value)  # `dx += 1` writes into the tensor that dx has
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    if isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
    for child in ast.iter_child_nodes(node):
        yield from bound(child)


def unread(body: Sequence[ast.stmt], given: Collection[str] = ()) -> list[str]:
    """The names that statements bind, or are given, and that none of them reads."""
    nodes = [node for statement in body for node in ast.walk(statement)]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    made = [name for statement in body for name in bound(statement)]
    return [name for name in dict.fromkeys([*given, *made]) if name not in read]


def written(node: ast.AST) -> Iterator[str]:
    """Names whose tensor a statement writes into in place, as far as the text tells."""
    for part in ast.walk(node):
        if isinstance(part, ast.Subscript | ast.Attribute) and isinstance(part.ctx, ast.Store):
            yield from _root(part)
        elif isinstance(part, ast.AugAssign):
            yield from _root(part.target)
        elif isinstance(part, ast.Call):
            for keyword in part.keywords:
                if keyword.arg == "out":
                    yield from _root(keyword.value)
            name = part.func.attr if isinstance(part.func, ast.Attribute) else ""
            if name == "at" or name in IN_PLACE_FUNCTIONS:  # np.add.at(dC, ix, demb)
                for argument in part.args[:1]:
                    yield from _root(argument)
            elif name.endswith("_") and not name.endswith("__"):
                owner = part.func.value if isinstance(part.func, ast.Attribute) else None
                if isinstance(owner, ast.Name) and owner.id in {"torch", "F"}:
                    owner = part.args[0] if part.args else None
                if owner is not None:
                    yield from _root(owner)


def adds(node: ast.stmt) -> bool:
    """Whether a statement adds in place to what its target holds."""
    if isinstance(node, ast.AugAssign):
        return isinstance(node.op, ast.Add | ast.Sub)
    call = node.value if isinstance(node, ast.Expr) else None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
        return False
    name = call.func.attr.rstrip("_")
    return name in ADDING or any(keyword.arg == "accumulate" for keyword in call.keywords)


def _root(node: ast.AST) -> Iterator[str]:
    """`dX` of `dX[0]`, `dX.T` and `dX.view(-1)`."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        yield from _root(node.value)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield from _root(node.func.value)
    elif isinstance(node, ast.Tuple | ast.List):
        for element in node.elts:
            yield from _root(element)


class _EndAtReturn(ast.NodeTransformer):
    """A `return` inside of an `if` ends the walk."""

    def visit_Return(self, node: ast.Return) -> ast.AST:
        call = ast.Call(ast.Name("__reached__", ast.Load()), [], [])
        return ast.copy_location(ast.Raise(call, None), node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return node


def _runnable(node: ast.stmt) -> ast.stmt:
    if not any(isinstance(part, ast.Return) for part in ast.walk(node)):
        return node
    found = _EndAtReturn().visit(deepcopy(node))
    assert isinstance(found, ast.stmt)
    return found
