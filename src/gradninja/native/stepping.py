"""`gradninja.compile`: a forward and its backward as one compiled function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradninja.derive import derive
from gradninja.lines import Program
from gradninja.lines.source import Source, load, parse
from gradninja.native.cache import Say, compiled
from gradninja.native.emit import Writer
from gradninja.native.fusing import Plan
from gradninja.native.graph import Leaf, Node
from gradninja.native.lower import Lowering
from gradninja.native.memory import Memory
from gradninja.native.outside import Outside, size_names
from gradninja.native.read import read_step
from gradninja.native.refusal import NativeError
from gradninja.native.rows import lowered
from gradninja.native.text import module

Forward = str | Path | Callable[..., Any]
Array = np.ndarray[Any, Any]


def compile(  # the verb's name
    forward: Forward,
    backward: Forward | None = None,
    wrt: Iterable[str] | None = None,
    say: Say | None = None,
) -> Compiled:
    """A forward and its backward as one compiled function: no autograd, no PyTorch, one thread.

    `step = gradninja.compile(forward)`, then `step(x=x, W=W)` gives `{"loss": ..., "dW": ...}`. It
    is compiled when it is first called with arrays of these shapes, strides and types, and
    the machine code is kept on disk.

    Args:
        forward: a function, `FILE.py`, `FILE.py:name`, or the text of a function, that ends in
            `return loss`, a number.
        backward: the same of its backward, which asks by name for what it wants of the forward
            and leaves gradients in names `d<input>`; None: it is derived.
        wrt: the inputs that gradients are wanted for; all float inputs by default (of a given
            backward, all that it has a gradient of).
        say: told what takes its time, before it does.

    Raises:
        ReadError: a text is missing, or is outside of what is read.
    """
    source = load(forward)
    wanted = None if wrt is None else ((wrt,) if isinstance(wrt, str) else tuple(wrt))
    return Compiled(source, forward, backward, wanted, say)


class Compiled:
    """A forward with its backward, compiled anew for each set of shapes, strides and types."""

    def __init__(
        self,
        source: Source,
        forward: Forward,
        backward: Forward | None,
        wrt: tuple[str, ...] | None,
        say: Say | None,
    ) -> None:
        self._source, self._forward, self._say = source, forward, say
        self._backward = None if backward is None else _backward(backward)
        self._wrt = wrt
        self._made: dict[object, Specialised] = {}
        self.__signature__ = inspect.Signature(
            [
                inspect.Parameter(a.arg, inspect.Parameter.KEYWORD_ONLY)
                for a in (*source.function.args.args, *source.function.args.kwonlyargs)
            ]
        )

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        """The loss and the gradients.

        Args:
            inputs: NumPy arrays or tensors on the CPU, float32, float64, int64 or bool, of any
                strides; they are read where they lie. Plain numbers are compiled in.

        Returns:
            `{"loss": ..., "d<name>": ...}`: fresh arrays, tensors where tensors were given.

        Raises:
            ReadError, NativeError: a line is not compiled, or an input is missing or unknown, or
                an int lies outside of what it indexes.
        """
        tensors = any(isinstance(value, torch.Tensor) for value in inputs.values())
        arrays = {name: _array(value) for name, value in inputs.items()}
        found = self.specialised(**inputs)(arrays)
        return {n: torch.from_numpy(v) for n, v in found.items()} if tensors else found

    def specialised(self, **inputs: Any) -> Specialised:
        """What is compiled for inputs like these; its `source` is the text."""
        arrays = {name: _array(value) for name, value in inputs.items()}
        key = tuple(sorted((name, _kind(value)) for name, value in arrays.items()))
        if key not in self._made:
            self._made[key] = self._specialise(arrays)
        return self._made[key]

    def _specialise(self, arrays: Mapping[str, Any]) -> Specialised:
        values = {n: _tensor(v) if isinstance(v, np.ndarray) else v for n, v in arrays.items()}
        known = self.__signature__.parameters
        unknown = set(values) - set(known)
        if unknown:
            raise NativeError(
                f"the forward has no input `{min(unknown)}`",
                hint=f"its inputs are: {', '.join(known)}",
            )
        if self._backward is not None:
            keep = None if self._wrt is None else [f"d{name}" for name in self._wrt]
            program, wanted = read_step(self._source, values, keep, self._backward)
            names = ["loss", *wanted]
            return Specialised(lowered(program), program, values, names, self._say)
        back = derive(self._forward, values, self._wrt)
        if not back.scalar:
            raise NativeError("the forward returns no single number", hint="return a loss")
        inputs = back.program.differentiable
        keep = [back.gradient_names[name] for name in inputs]
        forward = parse(back.whole_forward, "<forward>", None)
        later = parse(back.source, "<derived backward>", None)
        program, _ = read_step(forward, values, keep, later)
        names = ["loss", *(f"d{name}" for name in inputs)]
        return Specialised(lowered(program), program, values, names, self._say)


class Specialised:
    """A step for one set of shapes, strides and types. `source` is the text that is compiled."""

    def __init__(
        self,
        lowering: Lowering,
        program: Program,
        values: Mapping[str, Any],
        names: Sequence[str],
        say: Say | None,
    ) -> None:
        self.names = tuple(names)
        self._say = say
        self._function: Callable[..., None] | None = None
        outputs = _apart(lowering)
        plan = Plan(lowering.graph, outputs)
        writer = Writer(plan, size_names(values, program))
        body = writer.body()
        self._outside = Outside(Memory(plan, outside=outputs), writer)
        self._inputs = list(lowering.leaves.values())
        self._outputs = [(node.shape, node.dtype) for node in outputs]
        arguments = [leaf.buffer.name for leaf in self._inputs]
        arguments += [plan.buffers[node].name for node in outputs]
        head = f"def step({', '.join([*arguments, *self._outside.arguments])}):"
        self.source = module(head, [*self._outside.lines, *body], lowering.constants.values())

    def __call__(self, arrays: Mapping[str, Any]) -> dict[str, Array]:
        """The outputs by name, for arrays as they were compiled for."""
        outputs = [np.empty(shape, dtype) for shape, dtype in self._outputs]
        given = [_flat(arrays[leaf.label], leaf) for leaf in self._inputs]
        arguments = [*given, *(o.reshape(-1) for o in outputs), *self._outside.values(self._say)]
        if self._function is None:
            self._function = compiled(self.source, "step", arguments, self._say)
        try:
            self._function(*arguments)
        except IndexError as error:
            raise NativeError(str(error)) from None
        return dict(zip(self.names, outputs, strict=True))


def _backward(given: Forward) -> Source:
    if isinstance(given, str) and "\n" in given:
        return parse(given, "<text>", None, "backward")
    return load(given, "backward")


def _apart(lowering: Lowering) -> list[Node]:
    """The outputs, each an array of its own: copies of what is an input, or another output."""
    found: list[Node] = []
    for node in lowering.outputs:
        if isinstance(node, Leaf) or node in found:
            node = lowering.graph.copy(node)
        found.append(node)
    return found


def _array(value: Any) -> Any:
    """A tensor's array, without a copy; a plain value as it is."""
    if isinstance(value, torch.Tensor):
        if value.device.type != "cpu":
            raise NativeError(f"a tensor is on {value.device}; compiled code works on the CPU")
        return value.detach().numpy()
    return value


def _tensor(value: Array) -> torch.Tensor:
    """An array's tensor: of the same memory where it can be."""
    plain = all(s >= 0 and s % value.itemsize == 0 for s in value.strides)
    try:
        return torch.from_numpy(value if plain and value.flags.writeable else value.copy())
    except TypeError as error:
        raise NativeError(f"arrays of {value.dtype} are not compiled") from error


def _kind(value: Any) -> object:
    if isinstance(value, np.ndarray):
        return value.shape, value.strides, value.dtype.str
    return type(value).__name__, repr(value)


def _flat(value: Array, leaf: Leaf) -> Array:
    """All memory of an array, from its first element to its last, in a row."""
    strides = tuple(stride * value.itemsize for stride in leaf.strides)
    if value.strides != strides and value.size:
        value = _tensor(value).numpy()
    return np.lib.stride_tricks.as_strided(value, (leaf.buffer.size,), (value.itemsize,))
