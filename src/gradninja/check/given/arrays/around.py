"""What a person's file holds around a NumPy forward: its imports, its objects, its `inputs()`."""

from __future__ import annotations

import ast
import copy
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from gradninja.check.given.arrays.layer import Layer
from gradninja.check.given.arrays.people import guessed_object, output_of
from gradninja.check.given.execution import precision
from gradninja.check.given.module import call_inputs
from gradninja.check.tell.findings import CheckError
from gradninja.lines.given.source import Source
from gradninja.lines.ndarray import as_float64, as_tensors, forward_of, holds_arrays


def imports_of(tree: ast.Module) -> list[ast.stmt]:
    return [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]


def read_in(lines: Sequence[ast.AST]) -> set[str]:
    """All names that stand in these."""
    return {n.id for line in lines for n in ast.walk(line) if isinstance(n, ast.Name)}


def is_loaded(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)


def each_of(values: Iterable[Any]) -> Iterator[Any]:
    """The values, and those in their lists and dictionaries."""
    for value in values:
        yield value
        if isinstance(value, list | tuple):
            yield from each_of(value)
        elif isinstance(value, dict):
            yield from value.values()


def as_function(method: ast.FunctionDef, lines: tuple[ast.stmt, ...]) -> ast.FunctionDef:
    """A method's lines as a function without `self`."""
    found = copy.deepcopy(method)
    found.args.args = found.args.args[1:]
    found.body = list(lines)
    return found


def as_numpy(made: Any, layer: Layer, written: Mapping[str, str]) -> Callable[..., Any]:
    """The object's own forward, called with what it holds by plain names."""
    kept = None if layer.whole is None else forward_of(layer.whole)[1]

    def call(**given: Any) -> Any:
        thing = copy.deepcopy(made)
        formals = [a.arg for a in layer.forward.args.args[1:]]
        for name, value in given.items():
            if name not in formals:
                setattr(thing, written[name].rpartition(".")[2], value)
        method = getattr(thing, layer.forward.name)
        returned = method(**{name: value for name, value in given.items() if name in formals})
        return output_of(returned, thing, layer, kept)

    return call


def given_to(
    given: Mapping[str, Any] | None, names: Mapping[str, Any], source: Source
) -> Mapping[str, Any] | None:
    """The inputs that are given, or made beside the forward."""
    beside = names.get("inputs")
    if given is None and isinstance(beside, types.FunctionType):
        given = call_inputs(beside, source)
        # One function may make the values of all forwards of the file.
        takes = {one.arg for one in ast.walk(source.function.args) if isinstance(one, ast.arg)}
        given = {name: value for name, value in given.items() if name in takes} or given
    return given


def with_tensors(
    given: Mapping[str, Any] | None, around: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """The same as tensors, with the arrays around the forward."""
    if given is None and not around:
        return None
    plain = {
        name: tuple(value) if isinstance(value, list) and not holds_arrays(value) else value
        for name, value in as_tensors(dict(given or {})).items()
    }
    return {**plain, **around}


def instance_of(
    name: str, names: Mapping[str, Any], layer: Layer, dialect: str
) -> tuple[Any, tuple[str, ...]]:
    """An object of a class: one that the file makes, one of its defaults, or of a guess.

    Raises:
        CheckError: it cannot be made without arguments.
    """
    kind = names[name]
    for value in each_of([v for n, v in names.items() if n[:2] != "__"]):
        if type(value) is kind:
            return as_float64(value), ()
    maker = names.get("module")
    try:
        with precision(torch.float64):
            return as_float64(maker() if callable(maker) else kind()), ()
    except Exception as error:  # the person's own code: their error, told as such
        found = None if callable(maker) else guessed_object(layer, kind, dialect)
        if found is not None:
            return as_float64(found[0]), found[1]
        raise CheckError(
            f"`{name}()` does not run: {error}",
            hint="make one in the file, with its sizes, or add a function `module()` that does",
        ) from None
