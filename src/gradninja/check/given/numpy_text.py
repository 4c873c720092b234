"""A NumPy text to be judged, in torch's words: the forms in which people write a backward there.

`x_forward(...)` -> `(out, cache)` beside `x_backward(dout, cache)`; a loss and its gradients in one
function; a class whose `forward` keeps what its `backward` reads. Each becomes a forward and the
lines that answer it, which are judged as all others are. Every node keeps its place in the text.
"""

from __future__ import annotations

import ast
import copy
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gradninja.check.given.backwards import loose_from, written_of
from gradninja.check.given.layer import Layer, functional, layer_of
from gradninja.check.given.module import call_inputs, run_module
from gradninja.check.given.statements import EMPTY, Written
from gradninja.check.given.subject import Subject
from gradninja.check.given.texts import text_at
from gradninja.check.tell.types import CheckError
from gradninja.errors import ReadError
from gradninja.lines.ndarray import (
    NUMPY,
    as_tensors,
    backward_within,
    beside_of,
    dialect_of,
    holds_arrays,
    is_array,
    lines_translated,
    translated,
)
from gradninja.lines.scope import LIBRARY
from gradninja.lines.source import USUAL_ALIASES, Source, aliases, constants, load, parse


@dataclass(frozen=True, eq=False)
class NumpySubject(Subject):
    """A subject that speaks NumPy. `called`: what NumPy itself calls, and the same with tensors."""

    called: tuple[Callable[..., Any], Callable[..., Any]] | None = None
    names: Mapping[str, str] | None = None  # plain names -> as the person writes them


class SeveralForwards(CheckError):
    """Raised for a file of several forwards that have a backward: which one is meant?"""

    def __init__(self, file: str, names: list[str]) -> None:
        super().__init__(
            f"{file} has several forwards with a backward: {', '.join(names)}",
            hint=f"say which: {file}:{names[0]}",
        )
        self.file, self.names = file, names


def numpy_subject(
    forward: Any, backward: Any, inputs: Mapping[str, Any] | None
) -> NumpySubject | None:
    """What is judged of a NumPy forward; None where it is none, or has no backward that is found.

    Raises:
        ReadError, CheckError: a file or function is missing, is no Python, or does not run.
    """
    if isinstance(forward, types.FunctionType) and isinstance(backward, types.FunctionType):
        return _live(forward, backward, inputs)
    if not isinstance(forward, str | Path):
        return None
    here = text_at(forward, "<text>")
    if dialect_of(here.tree, {**USUAL_ALIASES, **aliases(here.tree)}) != NUMPY:
        return None
    text_of, name = _Text(here.file, here.text, here.tree), here.name
    if name is not None and "backward" in name and backward is None:
        name, backward = name.replace("backward", "forward"), name
    name = name or text_of.forward_named()
    if name in text_of.classes:
        return text_of.layer(name, inputs)
    if name is None or name not in text_of.functions:
        return None
    return text_of.pair(name, backward, inputs)


class _Text:
    """A file's text, the names that it makes, and both in torch's words."""

    def __init__(self, file: str, text: str, tree: ast.Module) -> None:
        self.file, self.text, self.tree = file, text, tree
        spoken = translated(tree, {**USUAL_ALIASES, **aliases(tree)}, frozenset(constants(tree)))
        self.functions = {n.name: n for n in spoken.body if isinstance(n, ast.FunctionDef)}
        self.classes = {n.name: n for n in spoken.body if isinstance(n, ast.ClassDef)}

    def forward_named(self) -> str | None:
        """The one forward of a file whose name is not given.

        Raises:
            SeveralForwards: there are several.
        """
        if "forward" in self.functions:
            return "forward"
        names = [n for n in self.functions if "forward" in n and counterpart(n, self.functions)]
        names += [n for n, node in self.functions.items() if backward_within(node)]
        names += [n for n, node in self.classes.items() if layer_of(node) is not None]
        if len(names) > 1:
            raise SeveralForwards(self.file, names)
        return names[0] if names else None

    def pair(
        self, name: str, backward: Any, inputs: Mapping[str, Any] | None
    ) -> NumpySubject | None:
        """A function, and the function or the lines that answer it."""
        source = parse(self.text, self.file, name, dialect=NUMPY)
        loose = loose_from(self.tree, (source.function.end_lineno or 0) + 1)
        answer = backward or counterpart(name, self.functions)
        within = backward_within(self.functions[name])
        pasted = loose if answer is None and not within else []
        kept = [node for node in self.tree.body if node not in pasted]
        names = run_module(ast.Module(kept, []), self.file)
        space = in_torch(names, list(self.functions.values()), self.file)
        source, around = with_arrays_around(source, space)
        given = _inputs(inputs, names, source, around)
        if answer is None:
            known = {**USUAL_ALIASES, **aliases(self.tree)}
            lines = within or lines_translated(pasted, known)
            if not lines:
                return None
            written = Written("backward", self.file, self.text, tuple(lines), {}, False)
            called = (names[name], space[name]) if within else None
            return NumpySubject(source, source, written, space, given, self.file, called=called)
        node, text, file, around_it = self._answer(answer, space)
        source = with_cache(source, self.functions[name], node)
        node = with_cotangent(source, node)
        exec(compile(ast.Module([node], []), file, "exec"), space)
        written = written_of(node, text, file, space, space[node.name])
        real = {**names, **around_it}.get(node.name)
        called = (real, space[node.name]) if callable(real) else None
        return NumpySubject(source, source, written, space, given, self.file, called=called)

    def _answer(
        self, backward: Any, space: dict[str, Any]
    ) -> tuple[ast.FunctionDef, str, str, Mapping[str, Any]]:
        """The function that a backward is, its text and file, and the names around it."""
        if isinstance(backward, str) and backward in self.functions:
            return self.functions[backward], self.text, self.file, {}
        if isinstance(backward, str) and backward.isidentifier():
            raise ReadError(
                f"{self.file} has no function named {backward}",
                hint=f"it has: {', '.join(self.functions)}",
            )
        source = load(backward, default="backward", dialect=NUMPY)
        if isinstance(backward, types.FunctionType):
            around: Mapping[str, Any] = backward.__globals__
            others: list[ast.FunctionDef] = []
        else:
            around = run_module(ast.parse(source.text), source.file)
            others = list(source.functions.values())
        space.update(
            {k: v for k, v in in_torch(around, others, source.file).items() if k not in space}
        )
        return source.functions[source.function.name], source.text, source.file, around

    def layer(self, name: str, inputs: Mapping[str, Any] | None) -> NumpySubject:
        """A class, as a function and the lines that answer it."""
        layer = layer_of(self.classes[name])
        if layer is None:
            raise CheckError(
                f"`{name}` has no `forward` and `backward`", hint="write both as its methods"
            )
        names = run_module(self.tree, self.file)
        made = _instance(name, names, layer)
        space = in_torch(names, list(self.functions.values()), self.file)
        plain = functional(layer, as_tensors(made), self.file)
        space.update(plain.held)
        source = Source(
            self.file,
            self.text,
            plain.forward,
            self.functions,
            {**USUAL_ALIASES, **aliases(self.tree)},
            {n: v for n, v in plain.held.items() if not isinstance(v, torch.Tensor)},
            dialect=NUMPY,
            spoken=_as_numpy(made, layer, plain.written),
        )
        own = {a.arg for a in plain.forward.args.kwonlyargs}
        around = {n: v for n, v in plain.held.items() if n in own}
        given = _inputs(inputs, names, source, around)
        node = with_cotangent(source, _function(layer.backward, plain.lines))
        # What it keeps in `self` it has of the forward: it is handed that, and no more.
        known = _names(plain.forward) | set(plain.held)
        asked = [a.arg for a in node.args.args] + sorted(_names(node) & known)
        handed = dict.fromkeys(asked, EMPTY)
        written = Written("backward", self.file, self.text, tuple(node.body), handed, True)
        return NumpySubject(source, source, written, space, given, self.file, names=plain.written)


def _function(method: ast.FunctionDef, lines: tuple[ast.stmt, ...]) -> ast.FunctionDef:
    """A method's lines as a function without `self`."""
    found = copy.deepcopy(method)
    found.args.args = found.args.args[1:]
    found.body = list(lines)
    return found


def _instance(name: str, names: Mapping[str, Any], layer: Layer) -> Any:
    """An object of a class: one that the file makes, or one of its defaults.

    Raises:
        CheckError: it cannot be made without arguments.
    """
    kind = names[name]
    for value in names.values():
        if type(value) is kind:
            return value
    maker = names.get("module")
    try:
        return maker() if callable(maker) else kind()
    except Exception as error:  # the person's own code: their error, told as such
        raise CheckError(
            f"`{name}()` does not run: {error}",
            hint="make one in the file, with its sizes, or add a function `module()` that does",
        ) from None


def _as_numpy(made: Any, layer: Layer, written: Mapping[str, str]) -> Callable[..., Any]:
    """The object's own forward, called with what it holds by plain names."""

    def call(**given: Any) -> Any:
        thing = copy.deepcopy(made)
        formals = [a.arg for a in layer.forward.args.args[1:]]
        for name, value in given.items():
            if name not in formals:
                setattr(thing, written[name].rpartition(".")[2], value)
        method = getattr(thing, layer.forward.name)
        return method(**{name: value for name, value in given.items() if name in formals})

    return call


def _inputs(
    given: Mapping[str, Any] | None,
    names: Mapping[str, Any],
    source: Source,
    around: Mapping[str, Any],
) -> Mapping[str, Any] | None:
    """The inputs that are given, or made beside the forward, with the arrays around it."""
    beside = names.get("inputs")
    if given is None and isinstance(beside, types.FunctionType):
        given = call_inputs(beside, source)
        # One function may make the values of all forwards of the file.
        takes = {one.arg for one in ast.walk(source.function.args) if isinstance(one, ast.arg)}
        given = {name: value for name, value in given.items() if name in takes} or given
    if given is None and not around:
        return None
    plain = {
        name: tuple(value) if isinstance(value, list) and not holds_arrays(value) else value
        for name, value in as_tensors(dict(given or {})).items()
    }
    return {**plain, **around}


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
    known = _names(source.function)
    unknown = [a.arg for a in backward.args.args if a.arg not in known and a.arg[:1] != "d"]
    if len(beside) != 1 or len(unknown) != 1 or len(backward.args.args) < 2:
        return source
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
    known = {*_names(source.function), *(f"d{name}" for name in _names(source.function)), wanted}
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


def _names(function: ast.FunctionDef) -> set[str]:
    names = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
    return names | {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}


def _live(
    forward: types.FunctionType, backward: types.FunctionType, inputs: Mapping[str, Any] | None
) -> NumpySubject | None:
    """Two functions, as in a notebook."""
    spoken = NUMPY if holds_arrays(inputs) else None
    try:
        source = load(forward, dialect=spoken)
        answer = load(backward, dialect=source.dialect)
    except ReadError:
        return None
    if source.dialect != NUMPY:
        return None
    names = forward.__globals__
    helpers = []
    for value in names.values():
        if isinstance(value, types.FunctionType) and value.__globals__ is names:
            try:
                helper = load(value, dialect=NUMPY)
            except ReadError:
                continue  # it has no text, and is called as it is
            helpers.append(helper.functions[helper.function.name])
    space = in_torch(names, helpers, source.file)
    whole = source.functions[source.function.name]
    source, around = with_arrays_around(source, space)
    given = _inputs(inputs, names, source, around)
    node = answer.functions[answer.function.name]
    source = with_cache(source, whole, node)
    node = with_cotangent(source, node)
    exec(compile(ast.Module([node], []), answer.file, "exec"), space)
    live = space[node.name]
    written = written_of(node, answer.text, answer.file, space, live)
    return NumpySubject(source, source, written, space, given, source.file, called=(backward, live))
