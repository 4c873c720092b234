"""Values that nobody gives to a NumPy forward: guessed by running it as its text stands."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from gradninja.lines.given.signature import Parameter
from gradninja.lines.given.source import Source
from gradninja.lines.guess import Guess, Guesser, guesses, hints_of, reached
from gradninja.lines.modules.live import Live
from gradninja.lines.ndarray import as_float64, is_array
from gradninja.lines.original import original

FEW = 12  # guesses that are looked at


def guessed(source: Source, held: Live | None, formals: tuple[Parameter, ...]) -> list[Guess]:
    """Values on which a forward runs as NumPy runs it, the likeliest first.

    Args:
        held: the object whose method it is.
    """
    missing = [f.name for f in formals if f.kind is None and f.default is None]
    tree = reached(source.function, source.functions)
    call, around = _as_numpy(source, held)
    arrays = {name: value for name, value in around.items() if is_array(value)}
    aside = contextlib.redirect_stdout(io.StringIO())
    with aside, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = guesses(Guesser(call, missing, hints_of(tree), around=arrays))
        few = list(itertools.islice(found, FEW))
    return sorted(few, key=lambda guess: guess.doubt)


def _as_numpy(source: Source, held: Live | None) -> tuple[Callable[..., Any], Mapping[str, Any]]:
    """A forward as NumPy runs it, and the names around it: of its module, or of its object."""
    function = original(source)
    if held is None or not held.takes_self:
        return function, getattr(function, "__globals__", {})
    thing = as_float64(held.original or held.instance)

    def call(**values: Any) -> Any:
        return function(copy.deepcopy(thing), **values)

    return call, getattr(thing, "__dict__", {})
