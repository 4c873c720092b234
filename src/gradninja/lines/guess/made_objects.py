"""An object of a class whose arguments nobody gives."""

from __future__ import annotations

import ast
import contextlib
import io
import warnings
from typing import Any

from gradninja.lines.guess.value_search import Guess, Guesser, guesses, hints_of, told
from gradninja.lines.scope import seeded


def asked_by(node: ast.ClassDef, forward: ast.FunctionDef) -> tuple[list[str], list[str]] | None:
    """What a class and its forward must be given; None where one name is both, or it has no init.

    Args:
        forward: its method.
    """
    methods = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
    making = methods.get("__init__")
    if making is None:
        return None
    own, taken = _without_default(making), _without_default(forward)
    return None if set(own) & set(taken) else (own, taken)


def _without_default(method: ast.FunctionDef) -> list[str]:
    """The arguments behind `self` that have no default."""
    arguments = method.args.args
    return [a.arg for a in arguments[1 : len(arguments) - len(method.args.defaults)]]


def made_of(guess: Guess, own: list[str], kind: type) -> tuple[Any, str]:
    """The object of a guess, and what is said of it."""
    parts = {path: value for path, value in guess.parts.items() if path.partition("[")[0] in own}
    with seeded(0):
        return kind(**{name: guess.values[name] for name in own}), told(parts)


def guessed_object(node: ast.ClassDef, kind: type) -> tuple[Any, str] | None:
    """An object of a NumPy class on which its forward runs, and what is said of its arguments."""
    methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
    forward = next((m for m in methods if m.name in ("forward", "__call__")), None)
    asked = None if forward is None else asked_by(node, forward)
    if forward is None or asked is None:
        return None
    own, taken = asked

    def call(**values: Any) -> Any:
        made = kind(**{name: values[name] for name in own})
        return getattr(made, forward.name)(**{name: values[name] for name in taken})

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = next(guesses(Guesser(call, [*own, *taken], hints_of(node))), None)
    return None if found is None else made_of(found, own, kind)
