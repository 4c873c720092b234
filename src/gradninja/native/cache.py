"""Machine code, kept on disk under a key of all that it depends on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def compiled(text: str, name: str) -> Callable[..., Any]:
    """The function `name` of a text, compiled."""
    scope: dict[str, Any] = {}
    exec(compile(text.replace("cache=True, ", ""), "<native>", "exec"), scope)
    found: Callable[..., Any] = scope[name]
    return found
