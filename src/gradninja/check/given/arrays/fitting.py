"""A NumPy forward and its backward, fitted to each other: arrays around, caches, cotangents."""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from gradninja.lines.ndarray import as_tensors, beside_of, is_array
from gradninja.lines.scope import LIBRARY
from gradninja.lines.source import Source


def in_torch(
    names: Mapping[str, Any], functions: list[ast.FunctionDef], file: str
) -> dict[str, Any]:
    """The names of a module, its arrays as tensors and these functions of it in torch's words."""
    memo: dict[int, Any] = {}
    found: dict[str, Any] = {
        name: as_tensors(value, memo)
        if is_array(value) or (isinstance(value, list | tuple | dict) and name[:2] != "__")
        else value
        for name, value in names.items()
    }
    found.update(LIBRARY)
    for node in functions:
        bare = copy.deepcopy(node)
        bare.decorator_list, bare.returns = [], None
        for part in ast.walk(bare.args):
            if isinstance(part, ast.arg):
                part.annotation = None
        exec(compile(ast.Module([bare], []), file, "exec"), found)
    return found


def counterpart(name: str, functions: Mapping[str, Any]) -> str | None:
    """The function that answers a forward: `affine_backward` of `affine_forward`."""
    wanted = [name.replace("forward", word) for word in ("backward", "backprop")]
    wanted += [f"{name}_backward", f"backward_{name}", f"{name}_grad", "backward", "backprop"]
    return next((w for w in wanted if w in functions and w != name), None)


def with_arrays_around(
    source: Source, names: Mapping[str, Any]
) -> tuple[Source, dict[str, torch.Tensor]]:
    """The forward with the arrays that it reads from around it as inputs, and those."""
    nodes = [n for n in ast.walk(source.function) if isinstance(n, ast.Name)]
    stored = {n.id for n in nodes if isinstance(n.ctx, ast.Store)}
    own = {a.arg for a in ast.walk(source.function.args) if isinstance(a, ast.arg)}
    read = dict.fromkeys(n.id for n in nodes if n.id not in stored | own)
    around = {n: names[n] for n in read if isinstance(names.get(n), torch.Tensor)}
    function = copy.deepcopy(source.function)
    for name in around:
        function.args.kwonlyargs.append(ast.copy_location(ast.arg(name), function))
        function.args.kw_defaults.append(None)
    return replace(source, function=function), around


def with_cache(source: Source, whole: ast.FunctionDef, backward: ast.FunctionDef) -> Source:
    """The forward with what it hands to its backward under the name that it has there."""
    beside = beside_of(whole)
    known = names_of(source.function)
    unknown = [a.arg for a in backward.args.args if a.arg not in known and a.arg[:1] != "d"]
    if len(beside) != 1 or len(unknown) != 1 or len(backward.args.args) < 2:
        return source
    if isinstance(beside[0], ast.Name) and beside[0].id in {a.arg for a in backward.args.args}:
        return source  # it has it by its own name
    last = source.function.body[-1]
    target = ast.copy_location(ast.Name(unknown[0], ast.Store()), last)
    kept = ast.copy_location(ast.Assign([target], beside[0]), last)
    function = copy.deepcopy(source.function)
    function.body.insert(-1, kept)
    return replace(source, function=function)


def with_cotangent(source: Source, backward: ast.FunctionDef) -> ast.FunctionDef:
    """The backward with the output's gradient by the name that goes with the output's."""
    last = source.function.body[-1]
    value = last.value if isinstance(last, ast.Return) else None
    if value is None or isinstance(value, ast.Tuple):
        return backward
    wanted = f"d{value.id}" if isinstance(value, ast.Name) else "dout"
    known = {
        *names_of(source.function),
        *(f"d{name}" for name in names_of(source.function)),
        wanted,
    }
    defaults = len(backward.args.defaults)
    free = backward.args.args[: len(backward.args.args) - defaults]
    unknown = [a.arg for a in free if a.arg not in known]
    names = {n.id for n in ast.walk(backward) if isinstance(n, ast.Name)}
    if len(unknown) != 1 or wanted in names:
        return backward
    found = copy.deepcopy(backward)
    for part in ast.walk(found):
        if isinstance(part, ast.Name) and part.id == unknown[0]:
            part.id = wanted
        elif isinstance(part, ast.arg) and part.arg == unknown[0]:
            part.arg = wanted
    return found


def names_of(function: ast.FunctionDef) -> set[str]:
    names = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
    return names | {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}
