"""A person's forward and backward as NumPy itself runs them, and the values that they lack."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gradninja.check.given.arrays.drawn_values import Person, guessed
from gradninja.check.given.arrays.fitting import SOME
from gradninja.check.given.arrays.layer import Layer
from gradninja.check.given.arrays.speech import with_arrays
from gradninja.errors import ReadError
from gradninja.lines.given.signature import parameters
from gradninja.lines.given.source import Source
from gradninja.lines.guess import (
    Guess,
    asked_by,
    hints_of,
    made_of,
    ranks_of,
    reached,
    told,
)
from gradninja.lines.ndarray import as_arrays, is_array


def lacking(source: Source, given: Mapping[str, Any]) -> list[str]:
    """The parameters that have no value: no annotation, no default but None, and none given."""
    try:
        formals = parameters(source, source.function)
    except ReadError:
        return []
    around = {a.arg for a in source.function.args.kwonlyargs}
    return [
        f.name
        for f in formals
        if f.name not in {*given, *around}
        and f.kind is None
        and (f.default is None or (isinstance(f.default, ast.Constant) and f.default.value is None))
    ]


def _shown(source: Source, given: Mapping[str, Any]) -> dict[str, float]:
    """Settings whose default of 0.0 would hide their part in the gradients."""
    formals = [f for f in parameters(source, source.function) if f.name not in given]
    zeros = [f for f in formals if isinstance(f.default, ast.Constant)]
    return {
        f.name: SOME
        for f in zeros
        if type(f.default.value) is float and not f.default.value  # type: ignore[union-attr]
    }


def with_guesses(
    source: Source,
    tree: ast.AST,
    given: Mapping[str, Any] | None,
    names: Mapping[str, Any],
    forward: Callable[..., Any],
    backward: Callable[[Mapping[str, Any], Any, Sequence[Any]], Any] | None,
    watched: Sequence[Any],
    kept: tuple[int, ...] | None = None,
    answer: ast.AST | None = None,
) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
    """The values that are given, with guesses for those that are not, and what is said of these.

    Args:
        given: in NumPy's arrays.
        forward, backward: see `Person`.
        watched: the functions whose names are looked at where they end: the person's own.
        kept: the places of the outputs in what `forward` returns; those of the source by default.
        answer: the backward's lines, where `tree` has not both.
    """
    known = dict(as_arrays(dict(given or {})))
    missing = lacking(source, known)
    if not missing or "inputs" in source.functions:
        return given, ()
    shown = _shown(source, known)
    codes = tuple(one.__code__ for one in watched if hasattr(one, "__code__"))
    around = dict(_arrays(names))
    forward = with_arrays(source.dialect, forward)
    backward = None if backward is None else with_arrays(source.dialect, backward)
    ranks = {**ranks_of(tree), **(ranks_of(answer) if answer is not None else {})}
    hints = replace(hints_of(reached(tree, source.functions)), ranks=ranks)
    person = Person(forward, _outputs(kept or source.kept), backward, codes, missing, hints, around)
    found = guessed(person, {**known, **shown})
    if found is None:
        return given, ()
    return {**known, **shown, **found.values}, (said(found, shown),)


def _arrays(names: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The arrays of these names, and those of their dictionaries: `params['W1']`."""
    for name, value in names.items():
        if is_array(value) or torch.is_tensor(value):
            yield name, as_arrays(value)
        elif isinstance(value, dict) and not name.startswith("__"):
            yield from _arrays({f"{name}[{key!r}]": part for key, part in value.items()})


def said(guess: Guess, shown: Mapping[str, Any]) -> str:
    """What was guessed, in words."""
    return told({**guess.parts, **shown})


def _outputs(kept: tuple[int, ...] | None) -> Callable[[Any, Mapping[str, Any]], Sequence[Any]]:
    def of(returned: Any, names: Mapping[str, Any]) -> Sequence[Any]:
        several = returned if isinstance(returned, tuple) else (returned,)
        wanted = several if kept is None else [several[at] for at in kept]
        return [np.asarray(one, dtype=float) for one in wanted if one is not None]

    return of


def answering(
    real: Callable[..., Any], node: ast.FunctionDef, source: Source, whole: ast.FunctionDef
) -> Callable[[Mapping[str, Any], Any, Sequence[Any]], Any]:
    """A person's backward, called with what it asks for by name: values, caches, cotangents.

    Args:
        node: its `def`.
        source, whole: the forward up to its outputs, and as it stands.
    """
    last = source.function.body[-1]
    value = last.value if isinstance(last, ast.Return) else None
    outs = value.elts if isinstance(value, ast.Tuple) else [value]
    wanted = [f"d{ast.unparse(out)}" if out is not None else "" for out in outs]
    free = node.args.args[: len(node.args.args) - len(node.args.defaults)]
    asked = [argument.arg for argument in free]

    def call(names: Mapping[str, Any], returned: Any, cotangents: Sequence[Any]) -> Any:
        several = returned if isinstance(returned, tuple) else (returned,)
        kept = source.kept
        beside = [] if kept is None else [p for at, p in enumerate(several) if at not in kept]
        flowing = list(cotangents)
        found: dict[str, Any] = {}
        for name in asked:
            if name in wanted and len(flowing) == len(cotangents):
                found[name] = cotangents[wanted.index(name)]
            elif name in names and not name.startswith("d"):
                found[name] = names[name]
        for name in asked:
            if name in found:
                continue
            cotangent = name.startswith(("d", "grad", "g_")) or "grad" in name or not beside
            taken = flowing if cotangent and flowing else beside
            found[name] = taken.pop(0)
        return real(**found)

    return call


def of_layer(layer: Layer, made: Any, kind: type | None) -> tuple[Any, Any]:
    """The forward and the backward of a class, of its object or of one that is made for each call.

    Args:
        made: the object; None where `kind` is given, whose arguments are guessed as well.
    """
    held: dict[str, Any] = {}
    formals = [a.arg for a in layer.forward.args.args[1:]]

    def forward(**values: Any) -> Any:
        own = {name: value for name, value in values.items() if name not in formals}
        held["it"] = copy.deepcopy(made) if kind is None else kind(**own)
        method = getattr(held["it"], layer.forward.name)
        returned = method(**{name: value for name, value in values.items() if name in formals})
        return output_of(returned, held["it"], layer, None)

    def backward(names: Mapping[str, Any], returned: Any, cotangents: Sequence[Any]) -> Any:
        method = getattr(held["it"], layer.backward.name)
        asked = layer.backward.args.args[2:]
        free = asked[: len(asked) - len(layer.backward.args.defaults)]
        return method(cotangents[0], *(SOME for _ in free))

    return forward, None if layer.whole is not None else backward


def output_of(returned: Any, thing: Any, layer: Layer, kept: tuple[int, ...] | None) -> Any:
    """What a method returns of outputs, or what it keeps in its object instead."""
    last = layer.forward.body[-1]
    value = last.value if isinstance(last, ast.Return) else None
    if returned is None and isinstance(value, ast.Attribute):
        return getattr(thing, value.attr)
    if kept is None or not isinstance(returned, tuple):
        return returned
    outputs = tuple(returned[at] for at in kept)
    return outputs[0] if len(outputs) == 1 else outputs


def guessed_object(layer: Layer, kind: type, dialect: str) -> tuple[Any, tuple[str, ...]] | None:
    """An object of a class whose arguments are guessed, and what is said of them."""
    asked = asked_by(layer.node, layer.forward)
    if asked is None:
        return None
    own, taken = asked
    forward, backward = of_layer(layer, None, kind)
    codes = (
        getattr(kind, layer.forward.name).__code__,
        getattr(kind, layer.backward.name).__code__,
    )
    person = Person(
        with_arrays(dialect, forward),
        _outputs(None),
        backward if backward is None else with_arrays(dialect, backward),
        codes,
        [*own, *taken],
        hints_of(layer.node),
        made=len(own),
    )
    found = guessed(person, {})
    if found is None:
        return None
    made, note = made_of(found, own, kind)
    return made, (note,)
