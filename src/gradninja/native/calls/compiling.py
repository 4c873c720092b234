"""`gradninja.compile`: a forward and its backward as one compiled function."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from gradninja.algebra import fuse
from gradninja.derive import Backward, derive
from gradninja.errors import GradninjaError
from gradninja.lines import Program
from gradninja.lines.given.signature import parameters
from gradninja.lines.given.source import Source, load
from gradninja.lines.modules.finding import found_live
from gradninja.lines.modules.live import Live
from gradninja.memory import within_what_is_there
from gradninja.native.cache import Say
from gradninja.native.calls.given_arrays import Array, arrays_of, kind_of, tensor_of
from gradninja.native.calls.gradients import Kept, lines_of
from gradninja.native.calls.stepping import Specialised
from gradninja.native.ops.table import lowered
from gradninja.native.reading.blame import Places
from gradninja.native.reading.read import read_step
from gradninja.native.reading.refusal import OTHER_COUNT, NativeError
from gradninja.rules import BOOK, Book

Forward = str | Path | Callable[..., Any]


def compile(  # the verb's name
    forward: Forward,
    backward: Forward | None = None,
    wrt: Iterable[str] | None = None,
    say: Say | None = None,
    book: Book = BOOK,
) -> Compiled:
    """A forward and its backward as one compiled function: no autograd, no PyTorch, one thread.

    `step = gradninja.compile(forward)`, then `step(x=x, W=W)` gives `{"loss": ..., "dW": ...}`. It
    is compiled when it is first called with arrays of these shapes, strides and types, and the
    machine code is kept on disk. How many elements a mask picks (`x[x > 0]`) is a shape, too.

    Args:
        forward: a function, `FILE.py`, `FILE.py:name`, or the text of a function, that ends in
            `return loss`, a number; or a module that gives one, whose parameters are read anew
            in every call.
        backward: the same of its backward, which asks by name for what it wants of the forward
            and leaves gradients in names `d<input>`; None: it is derived and fused (`gn.fuse`), or
            derived alone where the fused lines cannot be compiled; `Specialised.gradients` tells.
        wrt: the inputs that gradients are wanted for; all float inputs by default (of a given
            backward, all that it has a gradient of).
        say: told what takes its time, before it does, and where the fused lines are not taken.
        book: the rules, gradninja's own by default.

    Raises:
        ReadError: a text is missing, or is outside of what is read.
    """
    held = found_live(forward)
    source = load(forward if held is None else held.method)
    wanted = None if wrt is None else ((wrt,) if isinstance(wrt, str) else tuple(wrt))
    if held is not None and backward is not None:
        raise NativeError(
            f"{held.name} is a module, and its backward is derived",
            hint="write the forward as a function to give a backward of your own",
        )
    return Compiled(source, forward, backward, wanted, say, held, book)


class Compiled:
    """A forward with its backward, compiled anew for each set of shapes, strides and types."""

    def __init__(
        self,
        source: Source,
        forward: Forward,
        backward: Forward | None,
        wrt: tuple[str, ...] | None,
        say: Say | None,
        held: Live | None = None,
        book: Book = BOOK,
    ) -> None:
        self._book = book
        self._source, self._forward, self._say = source, forward, say
        self._held = held
        if held is not None:
            self._forward = held.instance
        self._backward = None if backward is None else load(backward, "backward")
        self._wrt = wrt
        self._made: dict[object, Specialised] = {}
        formals = parameters(source, source.function, stars=held is not None)
        formals = formals[held is not None and held.takes_self :]  # without `self`
        self.__signature__ = inspect.Signature(
            [
                inspect.Parameter(formal.name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
                for formal in formals
            ]
        )
        self._needed = [f.name for f in formals if f.default is None]

    @overload  # of plain numbers alone nothing is known: they may come with either
    def __call__(  # type: ignore[overload-overlap]
        self, /, *given: torch.Tensor | float, **inputs: torch.Tensor | float
    ) -> dict[str, torch.Tensor]: ...

    @overload
    def __call__(self, /, *given: Array | float, **inputs: Array | float) -> dict[str, Array]: ...

    def __call__(self, /, *given: Any, **inputs: Any) -> Any:
        """The loss and the gradients.

        Args:
            given, inputs: NumPy arrays or tensors on the CPU, float32, float64, int64 or bool, of
                any strides; they are read where they lie. Plain numbers are compiled in.

        Returns:
            `{"loss": ..., "d<name>": ...}`: fresh arrays, tensors where tensors were given.

        Raises:
            ReadError, NativeError: a line is not compiled, or an input is missing or unknown, or
                an int lies outside of what it indexes.
        """
        inputs = self._named(given, inputs)
        tensors = any(isinstance(value, torch.Tensor) for value in inputs.values())
        found = self._run(arrays_of({**inputs, **self._own()}))
        return {n: torch.from_numpy(v) for n, v in found.items()} if tensors else found

    def _run(self, arrays: Mapping[str, Any]) -> dict[str, Array]:
        """Run what is compiled for these; once more where masks pick another number of elements."""
        try:
            return self._specialised(arrays)(arrays)
        except NativeError as error:
            if OTHER_COUNT not in error.message:
                raise
        made = self._specialise(arrays)
        found = made(arrays)
        self._made[_key(arrays)] = made
        return found

    def specialised(self, /, *given: Any, **inputs: Any) -> Specialised:
        """What is compiled for inputs like these; its `source` is the text."""
        return self._specialised(arrays_of({**self._named(given, inputs), **self._own()}))

    def _own(self) -> dict[str, Any]:
        """A module's tensors as they are now."""
        return {} if self._held is None else dict(self._held.tensors)

    def _named(self, given: tuple[Any, ...], inputs: dict[str, Any]) -> dict[str, Any]:
        """All inputs by name."""
        known = list(self.__signature__.parameters)
        twice = set(known[: len(given)]) & set(inputs)
        if len(given) > len(known) or twice:
            told = f"`{min(twice)}` is given twice" if twice else f"{len(given)} inputs are given"
            raise NativeError(told, hint=f"the forward's inputs are: {', '.join(known)}")
        found = {**dict(zip(known, given, strict=False)), **inputs}
        for name in [*(set(found) - set(known)), *(n for n in self._needed if n not in found)]:
            told = "the forward has no input" if name in found else "there is no value for"
            raise NativeError(f"{told} `{name}`", hint=f"its inputs are: {', '.join(known)}")
        return found

    def _specialised(self, arrays: Mapping[str, Any]) -> Specialised:
        key = _key(arrays)
        if key not in self._made:
            self._made[key] = self._specialise(arrays)
        return self._made[key]

    @within_what_is_there()
    def _specialise(self, arrays: Mapping[str, Any]) -> Specialised:
        values = {n: tensor_of(v) if isinstance(v, np.ndarray) else v for n, v in arrays.items()}
        if self._backward is not None:
            keep = None if self._wrt is None else [f"d{name}" for name in self._wrt]
            program, wanted = read_step(self._source, values, keep, self._backward)
            return self._made_of(program, values, ["loss", *wanted], "given")
        own = self._own()
        given = {name: value for name, value in values.items() if name not in own}
        quick = None if own else self._quick(given, values)
        if quick is not None:
            return quick
        try:
            return self._with(
                fuse(self._forward, given, self._wrt, book=self._book), values, "fused"
            )
        except Exception as error:  # whatever stands in the way of fusing, deriving may do
            made = self._with(
                derive(self._forward, given, self._wrt, book=self._book), values, "derived"
            )
            if self._say is not None:
                told = error.message if isinstance(error, GradninjaError) else repr(error)
                self._say(f"the fused lines are not compiled, the derived are: {told}")
            return made

    def _quick(self, given: Mapping[str, Any], values: Mapping[str, Any]) -> Specialised | None:
        """By lines found before or at smaller sizes, where they are right here; else None."""
        try:
            kept = Kept(self._forward, given, self._wrt, self._book)
            for lines in kept.candidates():
                with contextlib.suppress(Exception):  # what stands in their way is told without
                    program = lines.step(values)
                    kept.hold(lines, program)
                    made = self._made_of(program, values, lines.names, lines.how)
                    kept.keep(lines)
                    return made
        except Exception:  # the forward is not read, or not fused: said where it is in full
            return None
        return None

    def _with(self, back: Backward, values: Mapping[str, Any], how: str) -> Specialised:
        """The forward with a backward that is derived from it."""
        lines = lines_of(back, how)
        with Places(back) as places:
            forward, backward = places.forward, places.backward
            program, _ = read_step(forward, values, lines.keep, backward, lines.own)
            return self._made_of(program, values, lines.names, how)

    def _made_of(
        self, program: Program, values: Mapping[str, Any], names: list[str], how: str
    ) -> Specialised:
        lowering = lowered(program, self._book, counts=True)
        return Specialised(lowering, program, values, names, self._say, how)


def _key(arrays: Mapping[str, Any]) -> object:
    return tuple(sorted((name, kind_of(value)) for name, value in arrays.items()))
