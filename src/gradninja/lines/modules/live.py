"""A person's own object that is read: a module, an instance of a class with `__call__`, or a
function with the tensors around it."""

from __future__ import annotations

import copy
import inspect
import keyword
import math
import re
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import distributions, nn
from torch.utils import checkpoint

from gradninja.errors import ReadError
from gradninja.lines.modules.layers import meaning
from gradninja.lines.modules.surroundings import Place, Surrounded, beside
from gradninja.lines.modules.wrappers import unwrapped
from gradninja.lines.ndarray import as_tensors, holds_arrays
from gradninja.lines.plain import continuous
from gradninja.lines.scope import with_text

DEEPEST_OBJECT = 60  # attributes within attributes
RESERVED = {"torch", "F", "nn", "math", "np", "len", "float", "int", "range", "backward", "forward"}


@dataclass(frozen=True, eq=False)
class Live:
    """An object, the method that is its forward, and the tensors that it holds.

    `tensors`: by readable names that are bound once (`fc1_weight`); `paths`: the object's own
    names (`fc1.weight`) -> readable ones, where a tied weight's names all lead to one.
    """

    instance: Any
    method: types.FunctionType
    tensors: Mapping[str, torch.Tensor]
    paths: Mapping[str, str]
    wanted: frozenset[str]  # readable names of what has a gradient
    places: Mapping[str, Place] = field(default_factory=dict)  # of those that stand in a file
    closures: tuple[types.FunctionType, ...] = ()  # that it holds: `self.f = lambda x: ...`
    original: Any = None  # the person's own object, where that holds arrays and this one tensors
    twins: Mapping[int, Any] = field(default_factory=dict)  # id of what that holds -> this one's
    notes: tuple[str, ...] = ()  # what its reader should know: that its sizes were guessed
    beside: Callable[[], Any] | None = None  # `inputs()` of the file that made it

    @property
    def name(self) -> str:
        return type(self.instance).__name__ if self.takes_self else self.method.__name__

    @property
    def takes_self(self) -> bool:
        """Whether the object is the first argument of the method."""
        return not isinstance(self.instance, Surrounded)

    @property
    def now(self) -> Mapping[str, torch.Tensor]:
        """The tensors as they are now."""
        return self.tensors if self.original is None else live(self.original).tensors

    @cached_property
    def own_names(self) -> dict[str, str]:
        """Readable names -> the object's own."""
        found: dict[str, str] = {}
        for path, name in self.paths.items():
            found.setdefault(name, path)
        return found

    def copied(self, held: Mapping[str, torch.Tensor]) -> Any:
        """A copy of the object with other tensors in place of its own; the rest as it is.

        Raises:
            ReadError: something that it holds cannot be copied.
        """
        memo: dict[int, Any] = {id(self.tensors[name]): value for name, value in held.items()}
        # A function is not copied of itself; what it closes over must be the copy's.
        cells = []
        for function in self.closures:
            made = tuple(types.CellType() for _ in function.__closure__ or ())
            twin = types.FunctionType(
                function.__code__, function.__globals__, function.__name__, None, made
            )
            memo[id(function)] = twin
            cells.append((function, twin, made))
        try:
            found = copy.deepcopy(self.instance, memo)
            for function, twin, made in cells:
                twin.__defaults__ = copy.deepcopy(function.__defaults__, memo)
                twin.__kwdefaults__ = copy.deepcopy(function.__kwdefaults__, memo)
                for old, new in zip(function.__closure__ or (), made, strict=True):
                    new.cell_contents = copy.deepcopy(old.cell_contents, memo)
            return found
        except Exception as error:  # whatever the person's own classes raise
            raise ReadError(
                f"the {self.name} cannot be copied, so nothing can be held to it: {error}"
            ) from None


def live(instance: Any) -> Live:
    """The object with its tensors by name.

    Raises:
        ReadError: it has no forward that is written in Python.
    """
    wrapper, instance = instance, unwrapped(instance)
    wrapped = wrapper is not instance
    method = forward_of(instance)
    if isinstance(instance, nn.Module) and meaning(type(instance)) and method is not None:
        method = _by_its_name(type(instance), method)
    if method is None:
        raise ReadError(
            f"{type(instance).__name__} has no `forward` that is written in Python",
            hint="give a torch.nn.Module, an object with `__call__`, or a plain function",
        )
    original, twins = None, dict[int, Any]()
    if not isinstance(instance, nn.Module) and holds_arrays(instance):
        instance, original = as_tensors(instance, twins), instance
    taken = set(method.__code__.co_varnames) | RESERVED
    tensors: dict[str, torch.Tensor] = {}
    paths: dict[str, str] = {}
    names: dict[int, str] = {}
    seen: dict[int, Any] = {}
    held = list(_held(instance, "", seen, 0))
    found = [(path, t) for path, t in held if isinstance(t, torch.Tensor)]
    own = {id(t) for _, t in found}
    around = {id(p.tensor): p for p in beside(type(v) for v in seen.values())}
    around = {key: place for key, place in around.items() if key not in own}
    found += [(place.name, place.tensor) for place in around.values()]
    found.sort(key=lambda pair: not isinstance(pair[1], nn.Parameter))
    for path, tensor in found:
        if id(tensor) not in names:
            name = _readable(path, taken)
            taken.add(name)
            names[id(tensor)], tensors[name] = name, tensor
        paths[path] = names[id(tensor)]
    if wrapped and isinstance(wrapper, nn.Module):  # as it names them, too: `module.fc1.weight`
        found_paths = {id(t): path for path, t in wrapper.named_parameters()}
        paths.update({found_paths[i]: name for i, name in names.items() if i in found_paths})
    closures = tuple(f for _, f in held if isinstance(f, types.FunctionType))
    places = {names[key]: place for key, place in around.items()}
    wanted = _wanted(instance, {n: t for n, t in tensors.items() if n not in places})
    wanted |= _asked({name: place.tensor for name, place in places.items()})
    if original is not None:  # an array does not ask for a gradient: all that could have one, do
        wanted = frozenset(name for name, t in tensors.items() if t.is_floating_point())
    return Live(instance, method, tensors, paths, wanted, places, closures, original, twins)


def _by_its_name(kind: type, method: types.FunctionType) -> types.FunctionType:
    """The forward of a layer of torch's as a call of it: what that means, the table tells."""
    formals = list(inspect.signature(method).parameters.values())[1:]
    given = ", ".join(
        f.name if f.default is f.empty else f"{f.name}={f.default!r}" for f in formals
    )
    handed = ", ".join(f.name for f in formals)
    text = f"def forward(self, {given}):\n    return self({handed})\n"
    return with_text(text, "forward", {"__name__": "layer"}, f"<{kind.__name__}>")


def forward_of(instance: Any) -> types.FunctionType | None:
    """The method that calling the object runs; None where that is not written in Python."""
    if isinstance(instance, Surrounded):
        return instance.unbound()
    kind = type(instance)
    names = ("forward",) if isinstance(instance, nn.Module) else ("__call__", "forward")
    methods = (unwrapped(getattr(kind, name, None)) for name in names)
    return next((m for m in methods if isinstance(m, types.FunctionType)), None)


def surrounded(function: types.FunctionType) -> Live | None:
    """The function with the tensors around it; None where nothing around it learns or is called."""
    made = Surrounded(function)
    if any(_learns(value) or holds_arrays(value) for value in vars(made).values()):
        return live(made)
    return None


def _learns(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.requires_grad
    tensors = (t for _, t in _held(value, "", {}, 0) if isinstance(t, torch.Tensor))
    return any(t.requires_grad or forward_of(value) is not None for t in tensors)


def is_live(given: Any) -> bool:
    """Whether this is an object to be read by its method, and no function or text."""
    if isinstance(given, type | types.FunctionType | types.MethodType | str | torch.Tensor):
        return False
    return isinstance(given, nn.Module) or forward_of(given) is not None


def _wanted(instance: Any, tensors: Mapping[str, torch.Tensor]) -> frozenset[str]:
    """What has a gradient: what asks for one; of plain classes that ask for none, all floats."""
    if isinstance(instance, Surrounded):
        return frozenset().union(*(_wanted_of(value, tensors) for value in vars(instance).values()))
    floats = {name for name, t in tensors.items() if continuous(t)}
    asked = _asked(tensors)
    if asked or isinstance(instance, nn.Module):
        return asked
    listed = getattr(instance, "parameters", None)
    if isinstance(listed, types.MethodType):
        try:
            given = {id(t) for t in listed()}
        except Exception:  # a method of that name that gives something else
            return frozenset(floats)
        return frozenset(name for name in floats if id(tensors[name]) in given)
    return frozenset(floats)


def _asked(tensors: Mapping[str, torch.Tensor]) -> frozenset[str]:
    """The leaves that ask for a gradient."""
    return frozenset(name for name, t in tensors.items() if t.requires_grad and t.is_leaf)


def _wanted_of(value: Any, tensors: Mapping[str, torch.Tensor]) -> frozenset[str]:
    """What has a gradient of one value around a function."""
    within = {id(t) for _, t in _held(value, "", {}, 0)}
    own = {name: t for name, t in tensors.items() if id(t) in within}
    if forward_of(value) is not None:
        return _wanted(value, own)
    return _asked(own)


_MODULE = set(vars(nn.Module()))


def _held(value: Any, path: str, seen: dict[int, Any], depth: int) -> Iterator[tuple[str, Any]]:
    """The tensors and closures of an object, with the way to each; a tied one comes by all ways."""
    if isinstance(value, torch.Tensor):
        yield path, value
        return
    if depth > DEEPEST_OBJECT or id(value) in seen:
        return
    seen[id(value)] = value

    def within(parts: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
        for key, part in parts.items():
            yield from _held(part, f"{path}.{key}" if path else str(key), seen, depth + 1)

    if isinstance(value, nn.Module):
        for group in ("_parameters", "_buffers", "_modules"):
            yield from within(vars(value)[group])
        yield from within({k: v for k, v in vars(value).items() if k not in _MODULE})
    elif isinstance(value, dict):
        yield from within({k: v for k, v in value.items() if isinstance(k, str | int)})
    elif isinstance(value, list | tuple):
        yield from within(dict(enumerate(value)))
    elif isinstance(value, types.FunctionType):
        names, cells = value.__code__.co_freevars, value.__closure__ or ()
        closed = {n: c.cell_contents for n, c in zip(names, cells, strict=True) if _filled(c)}
        around = {**closed, **live_defaults(value)}
        if around and len(closed) == len(cells):
            yield path, value
            yield from within(around)
    elif _own(value):
        yield from within(vars(value))


def live_defaults(function: Callable[..., Any] | None) -> dict[str, Any]:
    """The defaults of a live function, as they are."""
    if not isinstance(function, types.FunctionType):
        return {}
    code, defaults = function.__code__, function.__defaults__ or ()
    places = code.co_varnames[: code.co_argcount]
    found = dict(zip(places[len(places) - len(defaults) :], defaults, strict=True))
    return {**found, **(function.__kwdefaults__ or {})}


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _own(value: Any) -> bool:
    """Whether an object is of the person's own making: its attributes are looked through."""
    kinds = (type, types.ModuleType, types.FunctionType, types.MethodType, torch.Generator)
    home = type(value).__module__.partition(".")[0]
    return hasattr(value, "__dict__") and not isinstance(value, kinds) and home != "torch"


def _readable(path: str, taken: set[str]) -> str:
    """`transformer.h.0.attn.weight` -> `transformer_h_0_attn_weight`."""
    name = re.sub(r"\W", "_", path)
    if not name.isidentifier() or keyword.iskeyword(name):
        name = f"_{name}"
    base, count = name, 0
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    return name


def callee_path(function: Callable[..., Any]) -> str | None:
    """The path by which torch's own function is called: `torch.nn.functional.relu`."""
    name = getattr(function, "__name__", "")
    if isinstance(function, type):
        return None
    if getattr(function, "__module__", "") == "einops.einops":
        return f"einops.{name}"
    homes = (("torch.nn.functional", nn.functional), ("torch", torch), ("math", math))
    more = (("torch.linalg", torch.linalg), ("torch.special", torch.special))
    others = (("torch.utils.checkpoint", checkpoint), ("torch.distributions", distributions))
    for path, home in (*homes, *more, *others, ("torch.nn.Transformer", nn.Transformer)):
        if getattr(home, name, None) is function:
            return f"{path}.{name}"
    return None
