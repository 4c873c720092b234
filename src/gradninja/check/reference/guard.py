"""Whether what a verdict rests on is what it was: a checked file may replace parts of torch.

A second process that knows the truth and never sees the file would read the forward by its text
alone, which leaves out every forward with a helper or a library around it, and would run it again.
Instead the process that calls the backward does not know the truth (`wholes.calls`), the truth is
held by its digest (`walks.trials.held`), and here what computes and compares is held by identity.
"""

from __future__ import annotations

import functools
import operator
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch

from gradninja.check.tell.findings import CheckError

MODULES = (
    "builtins",
    "math",
    "numpy",
    "numpy.linalg",
    "torch",
    "torch._C",
    "torch._C._VariableFunctions",
    "torch._tensor",
    "torch.autograd",
    "torch.autograd.function",
    "torch.autograd.graph",
    "torch.fft",
    "torch.functional",
    "torch.linalg",
    "torch.nn.functional",
    "torch.overrides",
    "torch.special",
)
CLASSES = (torch.Tensor, torch.nn.Parameter, torch.autograd.Function)
PARTS = ("__code__", "__defaults__", "__kwdefaults__")
CONSTANTS = (bool, int, float, str, tuple, frozenset, torch.dtype)
FREE = frozenset({"print", "open", "input", "help", "display", "breakpoint", "_"})
BEHAVES = (staticmethod, classmethod, property, functools.cached_property, types.FunctionType)


@dataclass(frozen=True, eq=False)
class Names:
    """What an owner's names stood for, and what of them is held: what behaves, and constants."""

    all: dict[str, Any]
    held: dict[str, Any]
    functions: list[Any]  # of those held: what they consist of is held as well

    def still(self, owner: Any) -> bool:
        now = vars(owner)
        return (
            len(now) == len(self.all)
            and all(map(operator.is_, now.values(), self.all.values()))
            and [*now] == [*self.all]
        )


@dataclass(frozen=True, eq=False)
class Kept:
    """An owner's names, and what the functions among them consisted of."""

    names: Names
    parts: list[tuple[Any, ...]]

    def still(self, owner: Any) -> bool:
        functions = self.names.functions
        return self.names.still(owner) and list(map(_parts, functions)) == self.parts


# What is held at the moment, by its owner. Within, and in a fork, no second record is taken of it:
# it is to be as it was before the outermost began.
_HELD: ContextVar[dict[Any, Kept]] = ContextVar("held")
_NAMES: dict[Any, Names] = {}  # of the last check: of nearly all owners they are what they were


@contextmanager
def untouched() -> Iterator[None]:
    """Hold that functions of torch, NumPy and gradninja are not replaced by the person's code.

    What was replaced is put back.

    Raises:
        CheckError: one was, and so nothing that was computed since then is known to be true.
    """
    outer = _HELD.get({})
    held = {owner: outer[owner] if owner in outer else _kept(owner) for owner in _owners()}
    modes = _modes()
    token = _HELD.set(held)
    try:
        yield
    finally:
        _HELD.reset(token)
        replaced = [name for owner, kept in held.items() for name in _put_back(owner, kept)]
        if replaced:
            raise CheckError(
                f"the file replaces {_told(replaced)}, which the verdict rests on",
                hint="take the replacement out of what is checked",
            ) from None
        if _modes() != modes:
            raise CheckError(
                "the file leaves a mode on that changes what torch computes",
                hint="enter it by a `with` that ends",
            ) from None


def _told(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _owners() -> Iterator[Any]:
    """The modules and classes whose functions are held."""
    yield from CLASSES
    for name, module in list(sys.modules.items()):
        if name in MODULES or name.partition(".")[0] == "gradninja":
            yield module
            if name not in MODULES:
                own = (value for value in vars(module).values() if isinstance(value, type))
                yield from (value for value in own if value.__module__ == name)


def _kept(owner: Any) -> Kept:
    """What an owner's own names behave like: the objects, and what Python functions consist of."""
    names = _NAMES.get(owner)
    if names is None or not names.still(owner):
        names = _NAMES[owner] = _names(owner)
    return Kept(names, list(map(_parts, names.functions)))


def _names(owner: Any) -> Names:
    own = dict(vars(owner))
    held = {
        name: value
        for name, value in own.items()
        if (callable(value) or isinstance(value, BEHAVES) or _is_constant(name, value))
        and name not in FREE
    }
    functions = [value for value in held.values() if type(value) is types.FunctionType]
    return Names(own, held, functions)


def _is_constant(name: str, value: Any) -> bool:
    return isinstance(value, CONSTANTS) and not name.startswith("__")


def _parts(function: Any) -> tuple[Any, ...]:
    """The code and the defaults of a Python function."""
    keywords = function.__kwdefaults__
    return function.__code__, function.__defaults__, None if keywords is None else dict(keywords)


def _put_back(owner: Any, kept: Kept) -> Iterator[str]:
    """Undo what was changed, and name it."""
    if kept.still(owner):  # as nearly all are: thousands of names are held, three times a check
        return
    own, held = vars(owner), kept.names.held
    consisted = dict(zip(map(id, kept.names.functions), kept.parts, strict=True))
    for name, value in held.items():
        now = own.get(name)
        if now is value:
            parts = consisted.get(id(value))
            if parts is not None and _parts(value) != parts:
                for part, was in zip(PARTS, parts, strict=True):
                    setattr(value, part, was)
                yield _name(owner, name)
        elif not _wrapped_by_torch(now, value):
            setattr(owner, name, value)
            yield _name(owner, name)
    if isinstance(owner, type) and len(owner.__mro__) > 2:
        inherited = set().union(*(vars(base) for base in owner.__mro__[1:-1]))
        for name in [name for name in own if name not in held and name in inherited]:
            if callable(own[name]) or isinstance(own[name], BEHAVES):
                delattr(owner, name)  # `torch.Tensor.sub = ...` stands before the base's own
                yield _name(owner, name)


def _wrapped_by_torch(now: Any, value: Any) -> bool:
    """What compiles wraps some of torch's own functions when it is loaded."""
    code = getattr(now, "__code__", None)
    file = "" if code is None else code.co_filename
    return getattr(now, "__wrapped__", None) is value and file.startswith(torch.__path__[0])


def _name(owner: Any, name: str) -> str:
    where = owner.__name__
    if isinstance(owner, type):
        where = f"{owner.__module__.removesuffix('._tensor')}.{owner.__qualname__}"
    return name if where == "builtins" else f"{where}.{name}"


def _modes() -> list[Any]:
    from torch.overrides import _get_current_function_mode_stack
    from torch.utils._device import DeviceContext
    from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

    modes = [
        *_get_current_function_mode_stack(),  # type: ignore[no-untyped-call]
        *_get_current_dispatch_mode_stack(),
    ]
    return [id(mode) for mode in modes if not isinstance(mode, DeviceContext)]
