"""Two functions of a notebook, a forward and its backward, as a subject."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gradninja.check.given.arrays.around import given_to, with_tensors
from gradninja.check.given.arrays.array_types import ArraySubject
from gradninja.check.given.arrays.fitting import (
    answer_of,
    in_torch,
    with_arrays_around,
    with_cache,
)
from gradninja.check.given.arrays.people import answering, with_guesses
from gradninja.errors import ReadError
from gradninja.lines.given.source import load
from gradninja.lines.ndarray import NUMPY, TORCH, forward_of, holds_arrays


def live_pair(
    forward: types.FunctionType, backward: types.FunctionType, inputs: Mapping[str, Any] | None
) -> ArraySubject | None:
    """See `array_subject`; None of functions in torch's words without a cache."""
    spoken = NUMPY if holds_arrays(inputs) else None
    try:
        source = load(forward, dialect=spoken)
        answer = load(backward, dialect=source.dialect)
    except ReadError:
        return None
    if source.dialect == TORCH:
        function, kept = forward_of(source.function)
        if kept is None:
            return None
        source = replace(source, function=function, kept=kept)
    names = forward.__globals__
    helpers = []
    for value in names.values():
        if isinstance(value, types.FunctionType) and value.__globals__ is names:
            try:
                helper = load(value, dialect=source.dialect)
            except ReadError:
                continue  # it has no text, and is called as it is
            helpers.append(helper.functions[helper.function.name])
    space = in_torch(names, helpers, source.file)
    whole = source.functions[source.function.name]
    source, around = with_arrays_around(source, space)
    node = answer.functions[answer.function.name]
    given, notes = with_guesses(
        source,
        whole,
        given_to(inputs, names, source),
        names,
        forward,
        answering(backward, node, source, whole),
        [forward, backward],
        answer=node,
    )
    given = with_tensors(given, around)
    source = with_cache(source, whole, node)
    written = answer_of(source, node, answer.text, answer.file, space)
    assert written.function is not None
    called = (backward, written.function)
    return ArraySubject(
        source, source, written, space, given, source.file, called=called, notes=notes
    )
