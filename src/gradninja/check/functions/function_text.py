"""Where the methods of a `torch.autograd.Function` stand in a text."""

from __future__ import annotations

import ast
import inspect
import linecache
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gradninja.check.given.backwards import is_function_of
from gradninja.check.tell.findings import CheckError
from gradninja.lines.modules.wrappers import unwrapped


class Unreadable(CheckError):
    """A Function that is no lines: it is judged as a whole, and the report says why."""


@dataclass(frozen=True, eq=False)
class Text:
    """A Function's methods in the text of their file; `setup` where it has a `setup_context`."""

    function: Any
    file: str
    text: str
    tree: ast.Module
    forward: ast.FunctionDef
    backward: ast.FunctionDef
    setup: ast.FunctionDef | None
    namespace: Mapping[str, Any]  # the names around the backward
    known: frozenset[str]  # the names of plain helpers, in the same file

    @property
    def inputs(self) -> list[str]:
        """The names of what it is called with."""
        arguments = self.forward.args
        every = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
        return every if self.setup is not None else every[1:]

    @property
    def helpers(self) -> dict[str, ast.FunctionDef]:
        """The plain helpers of the file, by the names that they are called by."""
        found = dict(_helpers(self.tree))
        return {name: node for name, node in found.items() if name in self.known}

    def helpers_of(self, *methods: ast.FunctionDef) -> list[ast.FunctionDef]:
        """The plain helpers that methods name, and those that these name."""
        found, todo, helpers = dict[str, ast.FunctionDef](), list(methods), self.helpers
        while todo:
            parts = [n for n in ast.walk(todo.pop()) if isinstance(n, ast.Name | ast.Attribute)]
            fresh = {ast.unparse(part) for part in parts} & set(helpers) - set(found)
            found |= {name: helpers[name] for name in sorted(fresh)}
            todo += [helpers[name] for name in fresh]
        return list(found.values())

    def again(self, text: str) -> Text:
        """The same Function in a text of which lines have been mended."""
        tree = ast.parse(text)
        methods = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
        mine = [n for n in ast.walk(self.tree) if isinstance(n, ast.FunctionDef)]

        def same(node: ast.FunctionDef | None) -> Any:
            if node not in mine:
                return node
            found = methods[mine.index(node)]
            return _without_class(found) if hasattr(node, "of_class") else found

        return Text(
            self.function,
            self.file,
            text,
            tree,
            same(self.forward),
            same(self.backward),
            same(self.setup),
            self.namespace,
            self.known,
        )


def text_of(function: Any) -> Text:
    """Find the methods of a Function.

    Raises:
        Unreadable: its text cannot be found.
    """
    forward, backward = _plain(function, "forward"), _plain(function, "backward")
    file = inspect.getsourcefile(backward) or "<unknown>"
    if inspect.getsourcefile(forward) != file:
        raise Unreadable("its forward and its backward stand in different files")
    linecache.checkcache(file)
    text = "".join(linecache.getlines(file))
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        raise Unreadable("its text cannot be read") from None
    closed = inspect.getclosurevars(backward).nonlocals
    around = {**backward.__globals__, **closed}

    def method(name: str) -> ast.FunctionDef:
        node = _node(tree, _plain(function, name))
        if not inspect.ismethod(inspect.unwrap(getattr(function, name))):
            return node
        around[node.args.args[0].arg] = function  # `cls`
        return _without_class(node)

    setup = None
    if function.setup_context is not torch.autograd.Function.setup_context:
        setup = method("setup_context")
    return Text(
        function,
        file,
        text,
        tree,
        method("forward"),
        method("backward"),
        setup,
        around,
        frozenset(n for n, node in _helpers(tree) if is_function_of(_live(around, n), node, file)),
    )


def _helpers(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The functions of a file and the static methods of its classes, by how they are called."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        if isinstance(node, ast.ClassDef):
            for one in node.body:
                if isinstance(one, ast.FunctionDef):
                    yield f"{node.name}.{one.name}", one


def _live(namespace: Mapping[str, Any], name: str) -> Any:
    owner, _, method = name.partition(".")
    found = namespace.get(owner)
    if not method:
        return unwrapped(found)  # `@torch.jit.script`
    static = isinstance(found, type) and isinstance(vars(found).get(method), staticmethod)
    return getattr(found, method) if static else None


def _plain(function: Any, name: str) -> types.FunctionType:
    """A method as the `def` that it is, whatever wraps it (`once_differentiable`, `custom_fwd`)."""
    method = inspect.unwrap(getattr(function, name))
    method = getattr(method, "__func__", method)  # of a class method
    if not isinstance(method, types.FunctionType):
        raise Unreadable(f"its {name} is no plain method")
    return method


def _without_class(node: ast.FunctionDef) -> ast.FunctionDef:
    """A class method's `def` without the class that it is given first."""
    node.args.args.pop(0)
    node.of_class = True  # type: ignore[attr-defined]
    return node


def _node(tree: ast.Module, method: types.FunctionType) -> ast.FunctionDef:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == method.__name__:
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            if first == method.__code__.co_firstlineno:
                return node
    raise Unreadable(f"the text of its {method.__name__} cannot be found")
