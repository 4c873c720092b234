"""The table of layers: each row a short text that the reader puts in a layer's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Text = Callable[..., Any]

LAYERS: dict[type, Text] = {}
FUNCTIONS: dict[str, Text] = {}  # functions that are read the same way, by their callee


def means(*layers: type) -> Callable[[Text], Text]:
    """The function below is what calling these layers means."""

    def enter(text: Text) -> Text:
        LAYERS.update(dict.fromkeys(layers, text))
        return text

    return enter


def reads(callee: str) -> Callable[[Text], Text]:
    """The function below is what calling this one means."""

    def enter(text: Text) -> Text:
        FUNCTIONS[callee] = text
        return text

    return enter


def meaning(layer: type) -> Text | None:
    """The text of a layer of torch.nn's own; None where the table has no row."""
    for base in layer.__mro__:
        if "forward" in vars(base) or base in LAYERS:
            return LAYERS.get(base)
    return None
