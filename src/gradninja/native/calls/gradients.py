"""The lines of a forward and of its gradients, as they are compiled; kept on disk where found.

What is kept is found again under all that it was made of: the lines of the forward as they were
read, its inputs' shapes and types, the rows of the rule book, our code, PyTorch's version. And it
is held to autograd's gradients again before it is compiled.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import CodeType, FunctionType
from typing import Any

import torch

from gradninja.algebra import fuse
from gradninja.derive import Backward
from gradninja.derive.holding.against_autograd import cotangents_of, truth
from gradninja.lines import Program, read
from gradninja.lines.given.source import parse
from gradninja.native import cache as disk
from gradninja.native.calls.smaller import HUGE, LARGE, alike, smaller
from gradninja.native.reading.read import read_step
from gradninja.native.reading.refusal import NativeError
from gradninja.rules import Book

# Of a gradient's length, and of the longest one's: both sides are single precision. That the lines
# are right is seen in double precision where they are derived; here, that they are right here, too.
_TOLERANCE, _ROUNDING = 1e-3, 1e-5


@dataclass(frozen=True)
class Lines:
    """Texts of a forward and its backward; what to keep of them, by name; and how they were found.

    `own`: functions that they call by these names.
    """

    forward: str
    backward: str
    keep: tuple[str, ...]
    inputs: tuple[str, ...]
    how: str
    own: Mapping[str, Callable[..., Any]]

    @property
    def names(self) -> list[str]:
        return ["loss", *(f"d{name}" for name in self.inputs)]

    def step(self, values: Mapping[str, Any]) -> Program:
        """The program of both, read with these values."""
        forward = parse(self.forward, "<forward>", "forward")
        backward = parse(self.backward, "<backward>", "backward")
        return read_step(forward, values, self.keep, backward, self.own)[0]


def lines_of(back: Backward, how: str) -> Lines:
    """Those of a backward pass.

    Raises:
        NativeError: its forward returns no loss.
    """
    if not back.scalar:
        raise NativeError("the forward returns no single number", hint="return a loss")
    inputs = back.program.differentiable
    keep = tuple(back.gradient_names[name] for name in inputs)
    own = _called(f"{back.whole_forward}\n{back.source}", back.program.namespace)
    return Lines(back.whole_forward, back.source, keep, inputs, how, own)


def _called(text: str, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The functions of one's own that a text calls."""
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    return {name: function for name, function in namespace.items() if name in names}


class Kept:
    """The lines for one set of inputs: found at small sizes, or before, and held to autograd."""

    def __init__(
        self, forward: Any, given: Mapping[str, Any], wrt: Iterable[str] | None, book: Book
    ) -> None:
        """Raises what reading raises."""
        self.forward, self.given, self.wrt, self.book = forward, given, wrt, book
        self.program = self._read(given)
        self.key = key_of(self.program, book)

    def _read(self, given: Mapping[str, Any]) -> Program:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return read(self.forward, given, self.wrt, book=self.book)

    def candidates(self) -> Iterator[Lines]:
        """What may be compiled once it was held to autograd: the quickest to find first."""
        found = None if self.key is None else disk.recalled(self.key)
        if found is not None:
            texts = json.loads(found)
            yield Lines(
                texts["forward"],
                texts["backward"],
                tuple(texts["keep"]),
                tuple(texts["inputs"]),
                "fused",
                {},
            )
        small = smaller(self.given, self.program, self._read, LARGE)
        if small is not None:
            yield lines_of(fuse(self.forward, small, self.wrt, book=self.book), "fused")

    def hold(self, lines: Lines, step: Program) -> None:
        """Compare gradients with autograd's: at these inputs, or where those are huge at less.

        Args:
            step: the program of the lines, read with these inputs.

        Raises:
            NativeError: they differ, or at these sizes they are of other shapes.
        """
        shapes = [tuple(self.program.values[name].shape) for name in lines.inputs]
        if shapes != [tuple(step.values[name].shape) for name in step.outputs[1:]]:
            raise NativeError("a gradient is not of its input's shape")
        program, less = self.program, smaller(self.given, self.program, self._read, HUGE)
        if less is not None:
            program, whole = self._read(less), step
            step = lines.step(less)
            if not alike(whole, step):
                raise NativeError("the lines do something else at other sizes")
        cotangents = cotangents_of(program, program.values, seed=0)
        true = truth(program, cotangents)
        values = step.values
        found = dict(zip(lines.inputs, (values[name] for name in step.outputs[1:]), strict=True))
        rounding = _ROUNDING * max(map(_length, true.values()), default=0.0)
        for name, expected in true.items():
            off = _length(found[name] - expected)
            if not off <= _TOLERANCE * _length(expected) + rounding:
                raise NativeError(f"the gradient of `{name}` is not autograd's")

    def keep(self, lines: Lines) -> None:
        """Put on disk what was compiled."""
        if self.key is None or lines.own or lines.how != "fused":
            return
        texts = {
            "forward": lines.forward,
            "backward": lines.backward,
            "keep": lines.keep,
            "inputs": lines.inputs,
        }
        disk.put(self.key, json.dumps(texts).encode())


def key_of(program: Program, book: Book) -> str | None:
    """All that a program's gradients are made of; None where it cannot be told.

    Its lines say all of the forward: what it calls and what it reads from outside stand in them.
    """
    text = "\n".join(line.code for line in program.lines)
    if _called(text, program.namespace) or program.packed or program.live is not None:
        return None
    parts: list[object] = [f"gradients; torch {torch.__version__}", disk.ours(), program.dialect]
    for given in program.inputs:
        value = given.value
        if isinstance(value, torch.Tensor):
            value = ("tensor", tuple(value.shape), str(value.dtype))
        parts.append((given.name, given.axes, given.differentiable, given.optional, repr(value)))
    parts += [(line.targets, line.code) for line in program.lines]
    parts += [program.outputs, str(program.default), str(torch.get_default_dtype())]
    # Rows of functions of one's own are of no other program's lines: one that calls them is above.
    own = {row.name for name in book.own for _, row in book.by_callee[name]}
    try:
        parts += [_told(row) for row in book if row.name not in own]
    except ValueError:  # a row that cannot be told from another
        return None
    return "\n".join(map(repr, parts))


def _told(value: Any) -> object:
    """What a row of the rule book is, with the code of its functions.

    Raises:
        ValueError: something in it cannot be told by its text.
    """
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, tuple | list):
        return tuple(map(_told, value))
    if isinstance(value, frozenset):
        return sorted(map(repr, map(_told, value)))
    if isinstance(value, Mapping):
        return tuple((_told(key), _told(part)) for key, part in value.items())
    if isinstance(value, CodeType):
        return value.co_code.hex(), value.co_names, _told(value.co_consts)
    if isinstance(value, FunctionType) and value.__module__.startswith("gradninja."):
        cells = tuple(_told(cell.cell_contents) for cell in value.__closure__ or ())
        return _told(value.__code__), _told(value.__defaults__), cells
    if is_dataclass(value):
        return tuple(_told(getattr(value, each.name)) for each in fields(value))
    raise ValueError(value)


def _length(value: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(value.double() if value.numel() < 1 << 16 else value))
