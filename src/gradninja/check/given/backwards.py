"""The backward that is meant: beside its forward, by a name, in another file, or as lines alone."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from gradninja.check.given.backward_text import EMPTY, Written
from gradninja.check.given.module import run_module
from gradninja.check.given.texts import Text, text_at
from gradninja.check.tell.findings import CheckError
from gradninja.errors import ReadError
from gradninja.lines.given.source import Source, load
from gradninja.lines.scope import value_of

Names = Mapping[str, Any]


def pair_of(here: Text) -> tuple[str, str] | None:
    """A JAX-style pair: `fwd` and `bwd`, or `name_fwd` and `name_bwd`."""
    for name in here.functions:
        if name == "fwd" or name.endswith("_fwd"):
            other = name.removesuffix("fwd") + "bwd"
            if other in here.functions:
                return name, other
    return None


def pasted(here: Text, source: Source | None) -> list[ast.stmt]:
    """The statements of a body pasted below the forward, where they are the backward."""
    if source is None or here.classes or pair_of(here) or _function_beside(here, source):
        return []
    return loose_from(here.tree, (source.function.end_lineno or 0) + 1)


def loose_from(tree: ast.Module, first: int) -> list[ast.stmt]:
    """The statements from a line on that are no definitions, imports or docstrings."""
    defined = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
    return [
        node
        for node in tree.body
        if node.lineno >= first
        and not beside_the_point(node)
        and not isinstance(node, defined)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]


def beside_the_point(node: ast.stmt) -> bool:
    """What a notebook's cell has around a backward, to compare it with autograd's."""
    if isinstance(node, ast.For):
        return all(beside_the_point(inner) for inner in node.body)
    if isinstance(node, ast.Assign):
        targets = node.targets
        return all(isinstance(t, ast.Attribute) and t.attr == "grad" for t in targets)
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call):
        return False
    if isinstance(call.func, ast.Attribute):
        return call.func.attr in {"retain_grad", "backward", "zero_grad"}
    return isinstance(call.func, ast.Name) and call.func.id in {"cmp", "print"}


def definitions(tree: ast.Module, loose: list[ast.stmt]) -> ast.Module:
    """A file without the statements of a backward pasted into it."""
    kept = [node for node in tree.body if node not in loose and not beside_the_point(node)]
    return ast.Module(kept, [])


def beside(here: Text, source: Source | None, namespace: Names) -> Any:
    """The backward that stands beside a forward: a function, a pair, the only autograd Function."""
    functions = [v for v in namespace.values() if is_autograd_function(v) or is_custom_op(v)]
    name = _function_beside(here, source)
    if name is not None and not (source is None and functions):  # one that an op registers
        return named(name, here, namespace)
    if functions:  # which may call helpers `x_fwd` and `x_bwd`
        return functions[0] if len(functions) == 1 else Several(functions)
    pair = pair_of(here)
    if pair is not None:
        return namespace[pair[0]], namespace[pair[1]]
    raise CheckError(
        f"{here.file} has no function named backward",
        hint="write `def backward(...)`, or the lines of one below the forward; "
        "gradninja derive FILE.py shows one",
    )


def _function_beside(here: Text, source: Source | None) -> str | None:
    name = source.function.name if source is not None else "forward"
    usual = [f"{name}_backward", f"backward_{name}", "backward"]
    return next((n for n in usual if n in here.functions and n != name), None)


class Several(tuple[Any, ...]):
    """The autograd Functions of a file, which are judged one after the other."""


def is_custom_op(value: Any) -> bool:
    """Whether this is what `torch.library.custom_op` makes of a function."""
    return type(value).__name__ == "CustomOpDef"


def is_autograd_function(value: Any) -> bool:
    """Whether this is a person's `torch.autograd.Function` class."""
    return (
        isinstance(value, type)
        and issubclass(value, torch.autograd.Function)
        and not value.__module__.startswith("torch")
    )


def named(name: str, here: Text, namespace: Names) -> Any:
    """The backward that a name of the file is bound to where the file ends."""
    if name not in here.functions:
        return namespace[name]
    function, live = here.functions[name], namespace.get(name)
    if is_custom_op(live):
        return live
    if not callable(live):
        raise CheckError(
            f"`{name}` is bound to {live!r} where the file ends",
            spot=Written(name, here.file, here.text, (), {}, True).spot(function),
            hint="bind that to another name: a caller gets what the name holds",
        )
    for other in here.functions.values():
        if is_function_of(live, other, here.file):
            function = other  # `backward = another`: a caller calls that one
    return written_of(function, here.text, here.file, namespace, live)


def is_function_of(live: Any, function: ast.FunctionDef, file: str) -> bool:
    """Whether an object is the function that a `def` of a file makes, decorated by nothing."""
    code = getattr(live, "__code__", None)
    first = min([function.lineno, *(node.lineno for node in function.decorator_list)])
    return code is not None and (code.co_filename, code.co_firstlineno) == (file, first)


def elsewhere(backward: Any, namespace: Names) -> tuple[Any, Names]:
    """A backward that is given by itself, with the names around it."""
    if isinstance(backward, str | Path):
        return _from_text(backward, namespace)
    if isinstance(backward, types.FunctionType):
        return _from_function(backward, namespace)
    return backward, namespace


def _from_function(function: types.FunctionType, namespace: Names) -> tuple[Any, Names]:
    """A live function's text; the function itself where it has none."""
    inner = inspect.unwrap(function)
    around = {**inner.__globals__, **inspect.getclosurevars(inner).nonlocals}
    try:
        source = load(inner)
    except ReadError:
        return function, namespace
    return written_of(source.function, source.text, source.file, around, function), around


def _from_text(backward: str | Path, namespace: Names) -> tuple[Written, Names]:
    """A backward from another file, or from text: a `def`, or only the lines."""
    there = text_at(backward, "<backward>")
    defs, body = there.functions, there.tree.body
    if there.name is not None and there.name not in defs:
        raise ReadError(f"{there.path} has no function named {there.name}")
    single = there.name or ("backward" if "backward" in defs else None)
    plain = ast.FunctionDef | ast.Import | ast.ImportFrom | ast.Expr
    if single is None and len(defs) == 1 and all(isinstance(n, plain) for n in body):
        single = next(iter(defs))
    if single is None:
        lines = tuple(node for node in body if not beside_the_point(node))
        return Written("backward", there.file, there.text, lines, {}, False), namespace
    around = {**namespace, **run_module(there.tree, there.file)}
    return written_of(defs[single], there.text, there.file, around), around


def written_of(
    function: ast.FunctionDef,
    text: str,
    file: str,
    namespace: Names,
    live: Callable[..., Any] | None = None,
) -> Written:
    parameters = _parameters(function, text, file, namespace)
    body = [
        node
        for node in function.body
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]
    found = live or namespace.get(function.name)
    return Written(function.name, file, text, tuple(body), parameters, True, found)


def _parameters(
    function: ast.FunctionDef, text: str, file: str, namespace: Names
) -> dict[str, Any]:
    """Name -> default, EMPTY where there is none.

    Raises:
        CheckError: it takes any number of values, or a default does not evaluate.
    """
    arguments = function.args
    spot = Written(function.name, file, text, (), {}, True).spot
    for star in (arguments.vararg, arguments.kwarg):
        if star is not None:
            raise CheckError(
                f"`{star.arg}` stands for any number of values",
                spot=spot(star),
                hint="name the forward's values that the backward wants",
            )
    positional = [*arguments.posonlyargs, *arguments.args]
    none: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = [
        *zip(positional, [*none, *arguments.defaults], strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    parameters: dict[str, Any] = {}
    for argument, default in pairs:
        parameters[argument.arg] = EMPTY
        if default is not None:
            try:
                parameters[argument.arg] = value_of(default, dict(namespace))
            except Exception as error:  # the person's own expression
                raise CheckError(
                    f"the default of `{argument.arg}` does not evaluate: {error}",
                    spot=spot(default),
                ) from None
    return parameters
