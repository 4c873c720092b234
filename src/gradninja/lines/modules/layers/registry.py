"""The table of layers: each row a short text that the reader puts in a layer's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Text = Callable[..., Any]

LAYERS: dict[type, Text] = {}
FUNCTIONS: dict[str, Text] = {}  # functions that are read the same way, by their callee
NAMED: dict[str, Text] = {}  # layers of einops, which need not be there
STANDING: dict[type, type] = {}  # classes of torch's that are made in a forward -> ours
ASKED: dict[str, str] = {}  # of those that are only read so where a keyword is true, that keyword
PREPARED: dict[type, Text] = {}  # hooks before a call -> what they compute, to be kept as `name`
COMPUTED: set[Text] = set()  # functions on plain values that a text calls: run, and not read


def means(*layers: type) -> Callable[[Text], Text]:
    """The function below is what calling these layers means."""

    def enter(text: Text) -> Text:
        LAYERS.update(dict.fromkeys(layers, text))
        return text

    return enter


def reads(callee: str, asked: str | None = None) -> Callable[[Text], Text]:
    """The function below is what calling this one means; `asked`: where this keyword is true."""

    def enter(text: Text) -> Text:
        FUNCTIONS[callee] = text
        if asked is not None:
            ASKED[callee] = asked
        return text

    return enter


def stands_for(kind: type) -> Callable[[type], type]:
    """The class below is what an object of torch's class is, where a forward makes one."""

    def enter(own: type) -> type:
        STANDING[kind] = own
        return own

    return enter


def prepares(kind: type) -> Callable[[Text], Text]:
    """The function below is what a hook of this class puts in its module's weight, `self.name`."""

    def enter(text: Text) -> Text:
        PREPARED[kind] = text
        return text

    return enter


def computed(function: Text) -> Text:
    """A function on plain values that texts call."""
    COMPUTED.add(function)
    return function


# What layers hand to a function that has it by default: by place, from the second argument on;
# "kernel" is what the second is.
DEFAULTS: dict[str, tuple[Any, ...]] = {
    **{f"F.conv{n}d": (..., None, 1, 0, 1, 1) for n in (1, 2, 3)},
    **{f"F.conv_transpose{n}d": (..., None, 1, 0, 0, 1, 1) for n in (1, 2, 3)},
    **{f"F.max_pool{n}d": (..., "kernel", 0, 1, False) for n in (1, 2, 3)},
    **{f"F.avg_pool{n}d": (..., "kernel", 0, False, True) for n in (1, 2, 3)},
}


def trimmed(callee: str, values: list[Any]) -> int:
    """How many arguments say something that the function does not have by default."""
    defaults = DEFAULTS.get(callee, ())
    count = len(values)
    while 2 < count <= len(defaults) + 1:
        default = values[1] if defaults[count - 2] == "kernel" else defaults[count - 2]
        value = values[count - 1]
        several = isinstance(value, tuple) and value and all(part == default for part in value)
        if not (several or (type(value) is type(default) and value == default)):
            break
        count -= 1
    return count


def meaning(layer: type) -> Text | None:
    """The text of a layer of torch.nn's own, or of einops; None where the table has no row."""
    if layer.__module__ == "einops.layers.torch":
        return NAMED.get(layer.__name__)
    for base in layer.__mro__:
        if "forward" in vars(base) or base in LAYERS:
            return LAYERS.get(base)
    return None
