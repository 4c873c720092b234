"""A NumPy forward and its backward, fitted to each other: arrays around, caches, cotangents."""

from __future__ import annotations

import ast
import copy
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from gradninja.check.given.arrays.layer import plain_functions
from gradninja.check.given.arrays.speech import in_torch_words
from gradninja.check.given.arrays.spelling import respelt, with_names
from gradninja.check.given.backward_text import Written
from gradninja.check.given.backwards import written_of
from gradninja.lines.given.source import USUAL_ALIASES, Source, plain_of
from gradninja.lines.guess import learned
from gradninja.lines.ndarray import (
    GRADIENTS,
    as_tensors,
    backward_within,
    beside_of,
    gradients_beside,
    is_array,
    names_of,
)
from gradninja.lines.ndarray.forms import is_cache
from gradninja.lines.scope import LIBRARY, function_of, run_tree


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
        function_of(node, found, file)
    return found


def counterpart(name: str, functions: Mapping[str, Any]) -> str | None:
    """The function that answers a forward: `affine_backward` of `affine_forward`."""
    wanted = [name.replace("forward", word) for word in ("backward", "backprop")]
    wanted += [f"{name}_backward", f"backward_{name}", f"{name}_grad", "backward", "backprop"]
    return next((w for w in wanted if w in functions and w != name), None)


def with_arrays_around(
    source: Source, names: Mapping[str, Any]
) -> tuple[Source, dict[str, torch.Tensor]]:
    """The forward with the arrays that it reads from around it as inputs, and those.

    Plain values that the file works out, `vocab_size = len(chars)`, are its constants.
    """
    nodes = [n for n in ast.walk(source.function) if isinstance(n, ast.Name)]
    stored = {n.id for n in nodes if isinstance(n.ctx, ast.Store)}
    own = {a.arg for a in ast.walk(source.function.args) if isinstance(a, ast.arg)}
    read = dict.fromkeys(n.id for n in nodes if n.id not in stored | own)
    around = {n: names[n] for n in read if isinstance(names.get(n), torch.Tensor)}
    function = copy.deepcopy(source.function)
    for name in around:
        function.args.kwonlyargs.append(ast.copy_location(ast.arg(name), function))
        function.args.kw_defaults.append(None)
    constants = {**plain_of(names), **source.constants}
    return replace(source, function=function, constants=constants), around


def with_cache(source: Source, whole: ast.FunctionDef, backward: ast.FunctionDef) -> Source:
    """The forward with what it hands to its backward under the name that it has there."""
    beside = beside_of(whole)
    known = names_of(source.function)
    unknown = [a.arg for a in backward.args.args if a.arg not in known and a.arg[:1] != "d"]
    caches = [name for name in unknown if is_cache(name)]
    unknown = caches if len(caches) == 1 else unknown
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


SOME = 0.1  # a setting that nobody gives
LABELS = re.compile(r"[XYxyt]\d?|labels?|targets?|y_\w+|Y_\w+")
RATES = re.compile(r"lr|learning_?rate|eta|alpha|step(_?size)?|rate|epsilon|reg|lam(bda)?_?")


def with_cotangent(
    source: Source, backward: ast.FunctionDef
) -> tuple[ast.FunctionDef, dict[str, str], list[str]]:
    """The backward with the output's gradient by the name that goes with the output's.

    Returns:
        it, that name and the person's own, and its parameters that are settings of a step: they
        are no parameters any more.
    """
    last = source.function.body[-1]
    value = last.value if isinstance(last, ast.Return) else None
    if value is None or isinstance(value, ast.Tuple):
        return backward, {}, []
    forward = names_of(source.function)
    wanted = f"d{value.id}" if isinstance(value, ast.Name) else "dout"
    known = {*forward, *(f"d{name}" for name in forward), wanted}
    free = backward.args.args[: len(backward.args.args) - len(backward.args.defaults)]
    unknown = [a.arg for a in free if a.arg not in known]
    settings = [name for name in unknown[1:] if RATES.fullmatch(name)]
    unknown = [name for name in unknown if name not in settings]
    names = {n.id for n in ast.walk(backward) if isinstance(n, ast.Name)}
    found = copy.deepcopy(backward)
    found.args.args = [a for a in found.args.args if a.arg not in settings]
    # What stands for no gradient is asked for in vain, and told.
    labels = len(unknown) == 1 and bool(LABELS.fullmatch(unknown[0]))
    if len(unknown) != 1 or wanted in names or labels:
        return found, {}, settings
    (renamed,) = (with_names(one, {unknown[0]: wanted}) for one in (found,))
    assert isinstance(renamed, ast.FunctionDef)
    return renamed, {wanted: unknown[0]}, settings


def answer_of(
    source: Source, node: ast.FunctionDef, text: str, file: str, space: dict[str, Any]
) -> Written:
    """A backward that is a function, in our names: the output's gradient, other spellings."""
    node, called, settings = with_cotangent(source, node)
    space.update(dict.fromkeys(settings, SOME))
    (found,), more = respelt([node], names_of(source.function))
    assert isinstance(found, ast.FunctionDef)
    run_tree([found], space, file)
    written = written_of(found, text, file, space, space[found.name])

    def again(mended: str) -> Written:
        known = {**USUAL_ALIASES, **source.aliases}
        plain = frozenset(source.constants)
        tree = in_torch_words(source.dialect, ast.parse(mended), known, plain)
        new = plain_functions(tree)[node.name]
        return answer_of(source, new, mended, file, dict(space))

    return replace(written, called={**called, **more}, again=again)


def steep_of(
    function: ast.FunctionDef, formals: Sequence[str]
) -> tuple[list[ast.stmt], dict[str, str]]:
    """The lines that go back in a function, and names of ours for those that stand there.

    `return loss, grad`: it is of what is learned, the only one by its name, else of the first.
    """
    lines = backward_within(function)
    steep = [part.id for part in gradients_beside(function) if isinstance(part, ast.Name)]
    plain = [name for name in steep if name in GRADIENTS and not _keys(name, lines)]
    weights = [name for name in formals if learned(name)]
    of = weights[0] if len(weights) == 1 else next(iter(formals), None)
    if len(steep) != 1 or not plain or of is None:
        return lines, {}
    ours = f"d{of}"
    return [with_names(line, {plain[0]: ours}) for line in lines], {ours: plain[0]}


def given_beside(function: ast.FunctionDef, called: Mapping[str, str]) -> frozenset[str]:
    """The gradients that a function lists beside its loss, by our names.

    None of a dictionary that lacks those of weights: it may not be finished.
    """
    parts, lines = gradients_beside(function), backward_within(function)
    theirs = {part.id for part in parts if isinstance(part, ast.Name)}
    keys = {key for name in theirs for key in _keys(name, lines)}
    taken = {n for a in function.args.args for n in _keys(a.arg, function.body) or {a.arg}}
    weights = {name for name in taken if learned(name)}
    if keys:
        whole = bool(weights) and not weights - keys - {key.removeprefix("d") for key in keys}
        return frozenset(f"d{name}" for name in weights) if whole else frozenset()
    if len(theirs) < len(parts):
        return frozenset()
    ours = {there: name for name, there in called.items()}
    return frozenset(ours.get(name, name) for name in theirs)


def _keys(name: str, lines: Sequence[ast.stmt]) -> set[str]:
    """The words by which a dictionary of this name is written; none where it is none."""
    found: set[ast.expr | None] = set()
    for node in (n for line in lines for n in ast.walk(line)):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == name:
            found.add(node.slice)
        elif (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Dict)
            and any(ast.unparse(target) == name for target in node.targets)
        ):
            found.update(node.value.keys)
    keys = (key.value for key in found if isinstance(key, ast.Constant))
    return {key for key in keys if isinstance(key, str)}


def spoken_by(real: Callable[..., Any], kept: tuple[int, ...] | None) -> Callable[..., Any]:
    """A forward as NumPy runs it: its outputs, with arrays around it as arguments too."""
    formals = inspect.signature(real).parameters

    def call(**given: Any) -> Any:
        around = {n: given.pop(n) for n in [*given] if n not in formals}
        space = getattr(real, "__globals__", {})
        before = {n: space[n] for n in around if n in space}
        space.update(around)
        try:
            returned = real(**given)
        finally:
            space.update(before)
        if kept is None or not isinstance(returned, tuple):
            return returned
        outputs = tuple(returned[at] for at in kept)
        return outputs[0] if len(outputs) == 1 else outputs

    return call
