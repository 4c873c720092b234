"""What a run has where nothing else is said: the model's own settings, else the lecture's."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from gradninja import models
from gradninja.errors import ModelError, RunError
from gradninja.models import Model
from gradninja.training.config import Config, said

# Of a run whose optimiser is none of its model's: the lecture's, and PyTorch's defaults.
_RATES = {"sgd": 0.1, "momentum": 0.01, "adam": 1e-3, "adamw": 1e-3}
_FAMILY = {"sgd": "sgd", "momentum": "momentum", "adam": "adam", "adamw": "adam"}
# What a run finds out by itself.
_FOUND = {"words", "sha256", "vocabulary", "torch", "model"}
_GIVEN = tuple(field.name for field in fields(Config) if field.name not in _FOUND)


def plan(model: str, words: Path | str | None = None, **given: object) -> Config:
    """The recipe of a run of `model` on `words`, to be begun.

    Args:
        model: a built-in name, or a model file's path.
        words: the word list; None for the embedded one.
        given: fields of `Config`; of what is not given, the model's `settings` hold, and then
            the defaults of `Config`.

    Raises:
        ModelError: there is no such model, or its settings are no fields of a Config.
        RunError: what is given is no field of a Config, or of another kind.
    """
    loaded = models.load(model)
    own = _settings(loaded)
    if unknown := sorted(given.keys() - set(_GIVEN)):
        raise RunError(f"a run has no `{unknown[0]}`", hint=f"It has: {', '.join(_GIVEN)}")
    optimizer = given.get("optimizer", own.get("optimizer", "sgd"))
    if _FAMILY.get(str(optimizer)) != _FAMILY.get(str(own.get("optimizer", "sgd"))):
        for name in ("rate", "decay", "schedule", "beta1", "beta2"):
            own.pop(name, None)  # they belong to the optimiser
    if str(optimizer) in _RATES:  # else it is refused below
        own.setdefault("rate", _RATES[str(optimizer)])
    chosen = {**own, **given}
    _refuse_odd(chosen)
    path = None if words is None else str(words)
    empty: tuple[str, ...] = ()
    return Config(model, path, "", empty, **chosen)  # type: ignore[arg-type]


def _settings(model: Model) -> dict[str, object]:
    found = model.settings()
    if unknown := sorted(found.keys() - set(_GIVEN)):
        raise ModelError(
            f"{model.path}: `settings` gives `{unknown[0]}`, which is nothing of a run",
            hint=f"It can give: {', '.join(_GIVEN)}",
        )
    return found


def _refuse_odd(chosen: dict[str, object]) -> None:
    """Raise RunError for a value that no recipe may hold."""
    probe = {"model": "", "words": None, "sha256": "0" * 64, "vocabulary": (".", "a")}
    room = {name: value for name, value in chosen.items() if (name, value) != ("context", 0)}
    try:
        TypeAdapter(Config).validate_json(json.dumps({**probe, "context": 1, **room}, default=repr))
    except ValidationError as error:
        raise RunError(said(error, chosen)) from None
