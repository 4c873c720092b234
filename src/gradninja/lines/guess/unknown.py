"""A value that is not known yet: whatever touches it says that it is needed now, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn


@dataclass(frozen=True)
class Need:
    """`path`: of the value, `params['W1']`; `touch`: how it was used; `key`: by what name.

    `beside`: the shapes of the arrays that were there by then, the last first.
    """

    path: str
    touch: str
    key: Any = None
    beside: tuple[tuple[int, ...], ...] = ()


class Needed(BaseException):
    """Ends a run at the first use of an unknown value: no `except Exception` holds it."""

    def __init__(self, need: Need) -> None:
        super().__init__(need)
        self.need = need


# Products and sums by element, as Python, torch and NumPy call them.
ELEMENTWISE = frozenset("mul multiply add sub subtract div divide truediv true_divide".split())


class Unknown:
    """Stands for a value. `needs` keeps what it was asked for, should somebody hold the error."""

    def __init__(self, path: str, needs: list[Need]) -> None:
        self._path, self._needs = path, needs

    def _need(self, touch: str, key: Any = None) -> NoReturn:
        need = Need(self._path, touch, key)
        self._needs.append(need)
        raise Needed(need)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        parts = [*args, *(kwargs or {}).values()]
        parts += [one for part in parts if isinstance(part, tuple | list) for one in part]
        name = getattr(func, "__name__", "").strip("_").removeprefix("r")
        touch = "elementwise" if name in ELEMENTWISE else "array"
        next(part for part in parts if isinstance(part, Unknown))._need(touch)

    def __array_ufunc__(self, ufunc: Any, *_: Any, **__: Any) -> Any:
        self._need("elementwise" if ufunc.__name__ in ELEMENTWISE else "arithmetic")

    def __getattr__(self, name: str) -> Any:
        self._need("attribute", name)

    def __getitem__(self, key: Any) -> Any:
        self._need("key" if isinstance(key, str) else "item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._need("key" if isinstance(key, str) else "item", key)

    def __contains__(self, key: Any) -> bool:
        self._need("key" if isinstance(key, str) else "item", key)

    def __eq__(self, other: object) -> bool:
        self._need("text" if isinstance(other, str) else "arithmetic", other)

    def __hash__(self) -> int:
        return id(self)


def _asks(touch: str) -> Callable[..., Any]:
    def method(self: Unknown, *_: Any, **__: Any) -> Any:
        self._need(touch)

    return method


TOUCHES = {
    "len": "len",
    "iter": "len",
    "index": "index",
    "int": "int",
    "float": "float",
    "bool": "bool",
    "call": "call",
    "array": "array",
    "array_function": "array",
}
OPERATORS = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift"
COMPARISONS = "lt le gt ge ne neg pos abs invert round"
for _name, _touch in TOUCHES.items():
    setattr(Unknown, f"__{_name}__", _asks(_touch))
for _name in OPERATORS.split():
    for _form in (_name, f"r{_name}", f"i{_name}"):
        _touch = "elementwise" if _name in ELEMENTWISE else "arithmetic"
        setattr(Unknown, f"__{_form}__", _asks(_touch))
for _name in COMPARISONS.split():
    setattr(Unknown, f"__{_name}__", _asks("arithmetic"))


class Keyed(dict[str, Any]):
    """A dictionary whose entries are made when they are first read."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: Any) -> Any:
        if not isinstance(key, str):
            raise KeyError(key)
        self[key] = made = self._make(key)
        return made
