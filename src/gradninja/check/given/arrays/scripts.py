"""A script without functions: lines that go forward, lines that go back, an update, in a loop.

What stands before is run, as it stands; of the loop the first turn is judged.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gradninja.check.given.arrays.around import read_in
from gradninja.check.given.arrays.spelling import spelling_of
from gradninja.check.given.execution import quiet, run
from gradninja.check.given.plan import bound, written
from gradninja.lines.ndarray import is_gradient
from gradninja.lines.scope import compiled_tree

LOSS = re.compile(r"\w*(loss|cost|Loss|Cost|mse|MSE)\w*|J|E|L|error")
TOLD = frozenset("print plot append set_description show write display cmp".split())


@dataclass(frozen=True, eq=False)
class Script:
    """`before`: what is run; `forward` up to `output`; `backward`; `learned`: what is updated."""

    before: list[ast.stmt]
    forward: list[ast.stmt]
    output: str
    backward: list[ast.stmt]
    learned: frozenset[str]


def script_of(tree: ast.Module) -> Script | None:
    """The parts of a script; None where it has no line that writes a gradient."""
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    before: list[ast.stmt] = []
    body: Sequence[ast.stmt] = tree.body
    while True:
        first = next((at for at, node in enumerate(body) if _steep(node, names)), None)
        if first is None:
            return None
        node = body[first]
        inside = isinstance(node, ast.For | ast.While) and (
            _losses([node]) or not _losses(body[:first])
        )
        if not inside:
            break
        before += body[:first]
        if isinstance(node, ast.For):
            before.append(_first_turn(node))
        body = node.body  # type: ignore[attr-defined]
    learned = frozenset(_updated(body[first:], names)) or frozenset(_asking(tree))
    lines = [node for node in body[:first] if not _beside(node)]
    losses = _losses(lines)
    stored = [name for node in lines for name in bound(node)]
    if not stored:
        return None
    output = losses[-1] if losses else stored[-1]
    back = [node for node in body[first:] if not _beside(node)]
    back = [node for node in back if not _is_update(node, names)]
    last = max((at for at, node in enumerate(back) if _steep(node, names)), default=-1)
    back = back[: last + 1]
    needed = _needed(lines, {output, *read_in(back)})
    start = _dependent(lines, needed, learned) if learned else 0
    forward = [node for node in lines[start:] if node in needed]
    return Script([*before, *lines[:start]], forward, output, back, learned)


def _needed(lines: Sequence[ast.stmt], wanted: set[str]) -> list[ast.stmt]:
    """The statements that make what is wanted: no `loss.backward()`, no list of parameters."""
    found: list[ast.stmt] = []
    for node in reversed(lines):
        if _writes(node) & wanted:
            found.insert(0, node)
            wanted |= read_in([node])
    return found


def _asking(tree: ast.Module) -> Iterator[str]:
    """The names of tensors that ask for a gradient, alone or in a list that a loop goes over."""
    lists = {
        target.id: read_in([node.value])
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List | ast.Tuple)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in tree.body:
        if "requires_grad" not in ast.unparse(node):
            continue
        if isinstance(node, ast.For):
            for name in read_in([node.iter]):
                yield from lists.get(name, {name})
        elif isinstance(node, ast.Assign):
            yield from (name for target in node.targets for name in read_in([target]))
        elif isinstance(node, ast.Expr):
            yield from read_in([node])


def _writes(node: ast.stmt) -> set[str]:
    return {*bound(node), *written(node)}


def _gradient(name: str, names: set[str]) -> bool:
    return is_gradient(name, names) or spelling_of(name, names) is not None


def _steep(node: ast.stmt, names: set[str]) -> bool:
    """Whether a statement writes a gradient: a definition does not."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
        return False
    return any(_gradient(name, names) for name in _writes(node)) and not _is_update(node, names)


def _losses(body: Sequence[ast.stmt]) -> list[str]:
    """The names of losses that statements write, the last one last."""
    plain = [n for n in body if not isinstance(n, ast.FunctionDef | ast.ClassDef)]
    nodes = [n for node in plain for n in ast.walk(node) if isinstance(n, ast.Assign)]
    targets = [t for n in nodes for t in n.targets if isinstance(t, ast.Name)]
    calls = {id(t): n.value for n in nodes for t in n.targets}
    values = [t.id for t in targets if isinstance(calls[id(t)], ast.BinOp | ast.Call | ast.UnaryOp)]
    return [name for name in values if LOSS.fullmatch(name)]


def _is_update(node: ast.stmt, names: set[str]) -> bool:
    """Whether a statement makes a step: `W -= lr * dW`, also of all in a loop."""
    if isinstance(node, ast.For):
        own = set(bound(node.target))
        inner = set().union(*map(_writes, node.body)) if node.body else set()
        called = ast.unparse(node.iter)
        return (
            bool(inner)
            and ("zip(" in called or ".items()" in called or "params" in called)
            and (bool(inner & own) or not any(_gradient(name, names) for name in inner))
        )
    if not isinstance(node, ast.Assign | ast.AugAssign):
        return False
    wrote = _writes(node)
    read = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} - wrote
    steep = any(_gradient(name, names) for name in read)
    return steep and not any(_gradient(name, names) for name in wrote) and _again(node, wrote)


def _again(node: ast.Assign | ast.AugAssign, wrote: set[str]) -> bool:
    """Whether what is written is read as well."""
    if isinstance(node, ast.AugAssign):
        return True
    read = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
    return bool(read & wrote)


def _updated(body: Sequence[ast.stmt], names: set[str]) -> Iterator[str]:
    for node in body:
        if not _is_update(node, names):
            continue
        yield from _writes(node)
        if isinstance(node, ast.For):
            yield from (n.id for n in ast.walk(node.iter) if isinstance(n, ast.Name))


def _beside(node: ast.stmt) -> bool:
    """What tells of the training: `print`, `losses.append(loss)`, also under a condition."""
    if isinstance(node, ast.If):
        return all(map(_beside, [*node.body, *node.orelse]))
    if isinstance(node, ast.Pass | ast.Continue | ast.Break | ast.Import | ast.ImportFrom):
        return True
    if not isinstance(node, ast.Expr):
        return False
    call = node.value
    if not isinstance(call, ast.Call):
        return True
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name in TOLD or ast.unparse(call.func).startswith("plt.")


def _first_turn(node: ast.For) -> ast.stmt:
    """`for i in range(100)` as `i = next(iter(range(100)))`."""
    inner = ast.Call(ast.Name("iter", ast.Load()), [node.iter], [])
    value = ast.Call(ast.Name("next", ast.Load()), [inner], [])
    made = ast.Assign([node.target], value)
    return ast.fix_missing_locations(ast.copy_location(made, node))


def _dependent(
    lines: Sequence[ast.stmt], needed: Sequence[ast.stmt], learned: frozenset[str]
) -> int:
    """How many statements come before the first needed one that reads what is learned."""
    for at, node in enumerate(lines):
        if node in needed and not {*bound(node)} <= learned and read_in([node]) & learned:
            return at
    return 0


def function_of(script: Script, lines: list[ast.stmt]) -> ast.FunctionDef:
    """The lines that go forward as a function of what stands around them.

    A loss that is told as a number, `loss = ....item()`, is the tensor that it is taken out of.
    """
    lines = [_not_taken_out(node, script.output) for node in lines]
    ends = ast.Return(ast.Name(script.output, ast.Load()))
    arguments = ast.arguments([], [], None, [], [], None, [])
    made = ast.FunctionDef(
        "script", arguments, [*lines, ast.copy_location(ends, lines[-1])], [], None
    )
    return ast.fix_missing_locations(ast.copy_location(made, lines[0]))


def _not_taken_out(node: ast.stmt, output: str) -> ast.stmt:
    call = node.value if isinstance(node, ast.Assign) and output in bound(node) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return node
    assert isinstance(node, ast.Assign)
    taken = ast.copy_location(ast.Assign(node.targets, call.func.value), node)
    return taken if call.func.attr == "item" else node


def as_run(script: Script, names: Mapping[str, Any]) -> Callable[..., Any]:
    """The same as NumPy runs it, with the arrays around it as arguments."""
    code = compiled_tree(script.forward, "<script>")

    def call(**given: Any) -> Any:
        space = {**names, **given}
        with quiet():
            run(code, space)
        return space[script.output]

    return call


def counted(value: torch.Tensor) -> torch.Tensor:
    """A table of ints as the floats that NumPy makes of it beside floats: torch does not."""
    return value.double() if value.dtype == torch.int64 and value.ndim > 1 else value


def stirred(name: str, value: torch.Tensor) -> torch.Tensor:
    """What is learned, moved from where all of it is the same, where mistakes do not show."""
    floats = value.is_floating_point() and value.numel() > 0
    if not floats or bool((value != value.flatten()[0]).any()):
        return value
    generator = torch.Generator().manual_seed(len(name))
    return value + 0.5 * torch.randn(value.shape, generator=generator, dtype=value.dtype)


def told_apart(value: torch.Tensor, learned: frozenset[str]) -> torch.Tensor:
    """Data beside what is learned, of which no gradient is wanted."""
    if not learned or not value.is_floating_point():
        return value
    found = value.clone()
    found._no_gradient = True  # type: ignore[attr-defined]
    return found
