"""A class with `forward` and `backward`, as a function and the lines that answer it.

What `forward` keeps in `self.x` is the forward's `x`, and `self.dW = ...` writes `dW`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch

from gradninja.check.tell.findings import CheckError
from gradninja.lines.given.packed import holds_tensors
from gradninja.lines.ndarray import backward_within, forward_of, gradients_beside
from gradninja.lines.plain import is_plain

KEPT = ("output", "out", "outputs", "a", "A", "y", "result")
FORWARDS = ("forward", "__call__", "fprop")
BACKWARDS = ("backward", "backprop", "bprop")


@dataclass(frozen=True, eq=False)
class Layer:
    """The two methods of a class, of one method where that has the loss and its gradients."""

    node: ast.ClassDef
    forward: ast.FunctionDef
    backward: ast.FunctionDef
    whole: ast.FunctionDef | None = None  # the method that has both


def plain_functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """A file's functions, and static methods of its classes: `forward` as `Class_forward`."""
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        for name, method in _static(node).items():
            function = deepcopy(method)
            function.name, function.decorator_list = f"{node.name}_{name}", []  # type: ignore[attr-defined]
            found[function.name] = function
    return found


def static_methods(node: ast.ClassDef) -> dict[str, str]:
    """The names of `plain_functions` that a class has: its own -> theirs."""
    return {name: f"{node.name}_{name}" for name in _static(node)}


def _static(node: ast.stmt) -> dict[str, ast.FunctionDef]:
    parts = node.body if isinstance(node, ast.ClassDef) else []
    return {
        part.name: part
        for part in parts
        if isinstance(part, ast.FunctionDef)
        and "staticmethod" in map(ast.unparse, part.decorator_list)
    }


def layer_of(node: ast.ClassDef) -> Layer | None:
    """The methods of a class that has both; None of another, and of static ones."""
    if _static(node):
        return None
    methods = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
    forward = next((methods[name] for name in FORWARDS if name in methods), None)
    backward = next((methods[name] for name in BACKWARDS if name in methods), None)
    if forward is not None and backward is not None:
        takes = forward.args.args and backward.args.args
        written = not (_abstract(forward) or _abstract(backward))
        return Layer(node, _returning(forward), backward) if takes and written else None
    for method in methods.values():
        if method.args.args and backward_within(method):
            return Layer(node, forward_of(method)[0], _within(method), whole=method)
    return None


def _abstract(method: ast.FunctionDef) -> bool:
    """Whether a method is only named, for the classes that come of this one."""
    return all(isinstance(part, ast.Pass | ast.Expr | ast.Raise) for part in method.body)


def _returning(method: ast.FunctionDef) -> ast.FunctionDef:
    """A forward with a `return`: of what it keeps in the object, where it has none of its own."""
    last = method.body[-1]
    nodes = [part for part in ast.walk(method) if isinstance(part, ast.Return)]
    kept = [
        target.attr
        for part in method.body
        if isinstance(part, ast.Assign)
        for target in part.targets
        if isinstance(target, ast.Attribute)
    ]
    if nodes or not kept:
        return method
    name = next((one for one in KEPT if one in kept), kept[-1])
    value = ast.Attribute(ast.Name(method.args.args[0].arg, ast.Load()), name, ast.Load())
    found = deepcopy(method)
    made = ast.copy_location(ast.Return(value), last)
    found.body.append(ast.fix_missing_locations(made))
    return found


def _within(method: ast.FunctionDef) -> ast.FunctionDef:
    """The lines of a method that go back from its loss, as a method of their own."""
    found = deepcopy(method)
    found.args = deepcopy(method.args)
    found.args.args, found.args.defaults = found.args.args[:1], []
    parts = gradients_beside(method)
    value = parts[0] if len(parts) == 1 else ast.Tuple(list(parts), ast.Load())
    ends = ast.fix_missing_locations(ast.copy_location(ast.Return(value), method.body[-1]))
    found.body = [*backward_within(method), ends]
    return found


@dataclass(frozen=True, eq=False)
class Functional:
    """A class as a function, its backward's lines, and the values of its object by plain names."""

    forward: ast.FunctionDef
    lines: tuple[ast.stmt, ...]
    held: Mapping[str, Any]
    written: Mapping[str, str]  # plain names -> as the person writes them: `dW` -> `self.dW`


class _Unbound(ast.NodeTransformer):
    """`self.x` by a plain name."""

    def __init__(self, itself: str, names: Mapping[str, str]) -> None:
        self.itself, self.names = itself, names

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id == self.itself:
            return ast.copy_location(ast.Name(self.names[node.attr], node.ctx), node)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        target = node.targets[0]
        same = isinstance(target, ast.Name) and isinstance(node.value, ast.Name)
        if len(node.targets) == 1 and same and ast.unparse(target) == ast.unparse(node.value):
            return ast.copy_location(ast.Pass(), node)
        return node


def functional(layer: Layer, instance: Any, file: str) -> Functional:
    """The class as a function of its inputs and of the arrays that the object holds.

    Raises:
        CheckError: it reads what is no array and no number.
    """
    attributes = {
        part.attr
        for method in (layer.forward, layer.backward)
        for part in ast.walk(method)
        if isinstance(part, ast.Attribute)
        and isinstance(part.value, ast.Name)
        and part.value.id == method.args.args[0].arg
    }
    names = {name: _plain_name(name, layer) for name in attributes}
    for name in attributes:  # `self.dW` beside a `self_W`
        of = name.removeprefix("d")
        if of != name and names.get(of, of) != of:
            names[name] = f"d{names[of]}"
    forward, backward = (
        _Unbound(method.args.args[0].arg, names).visit(deepcopy(method))
        for method in (layer.forward, layer.backward)
    )
    held: dict[str, Any] = {}
    for attribute, name in sorted(names.items()):
        value = getattr(instance, attribute, None)
        arrays = isinstance(value, torch.Tensor) or holds_tensors(value)
        if arrays or (value is not None and is_plain(value)):
            held[name] = value
        elif callable(value) and not isinstance(value, type):
            raise CheckError(
                f"`self.{attribute}` is no array and no number",
                hint=f"check the class that it is of, by its own name: {file}:NAME",
            )
    taken = [n for n, v in held.items() if not is_plain(v) and _reads(forward, n)]
    more = [ast.copy_location(ast.arg(name), layer.forward) for name in taken]
    forward.args.kwonlyargs = [*forward.args.kwonlyargs, *more]
    forward.args.kw_defaults = [*forward.args.kw_defaults, *(None for _ in more)]
    forward.args.args = forward.args.args[1:]
    forward.decorator_list, forward.returns = [], None
    body = [node for node in backward.body if not _steps(node, taken)]
    lines = _ended(body, forward.args.args[0].arg if forward.args.args else "x")
    itself = layer.backward.args.args[0].arg
    written = {name: f"{itself}.{a}" for a, name in names.items()}
    return Functional(forward, tuple(lines), held, written)


def _steps(node: ast.stmt, parameters: Sequence[str]) -> bool:
    """Whether a line makes a step, `self.W -= rate * dW`: it is no part of the backward."""
    if not isinstance(node, ast.Assign | ast.AugAssign):
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return all(isinstance(t, ast.Name) and t.id in parameters for t in targets)


def _plain_name(attribute: str, layer: Layer) -> str:
    """The attribute's own name, where no local of the methods has it for something else."""
    for method in (layer.forward, layer.backward):
        itself = method.args.args[0].arg
        for node in ast.walk(method):
            if not isinstance(node, ast.Assign):
                continue
            stored = [t.id for t in ast.walk(ast.Tuple(node.targets)) if isinstance(t, ast.Name)]
            if attribute in stored and ast.unparse(node.value) != f"{itself}.{attribute}":
                kept = f"{itself}.{attribute} = {attribute}"
                after = [
                    other
                    for other in ast.walk(method)
                    if isinstance(other, ast.Assign) and ast.unparse(other) == kept
                ]
                if not any(other.lineno >= node.lineno for other in after):
                    return f"self_{attribute}"
    return attribute


def _reads(function: ast.FunctionDef, name: str) -> bool:
    """Whether a function reads a name before it writes it."""
    for node in function.body:
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and part.id == name and isinstance(part.ctx, ast.Load):
                return True
        if any(
            isinstance(part, ast.Name) and part.id == name and isinstance(part.ctx, ast.Store)
            for part in ast.walk(node)
        ):
            return False
    return False


def _ended(body: list[ast.stmt], first: str) -> list[ast.stmt]:
    """The lines, with what is returned without a name as the first input's gradient."""
    last = body[-1] if body else None
    if isinstance(last, ast.Return) and last.value is not None:
        named = isinstance(last.value, ast.Name | ast.Tuple | ast.Dict)
        if not named:
            target = ast.copy_location(ast.Name(f"d{first}", ast.Store()), last)
            made = ast.copy_location(ast.Assign([target], last.value), last)
            return [*body[:-1], made]
    return body
