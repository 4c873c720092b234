"""What a forward pass is once it is read: named lines, each a tree of operations.

A `Program` is frozen: a pass takes one and returns another. Every expression carries the value
that it had when it was read with real tensors, so shapes, dtypes and ints are facts and not
guesses, and the syntax that gives that value again, in names that are bound once.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from gradninja.errors import Spot
from gradninja.lines.modules.live import Live
from gradninja.lines.ndarray import NUMPY, TORCH, said
from gradninja.lines.plain import continuous

NAME = "name"  # a reference to an input or to an earlier line
STATIC = "static"  # a Python value: a number, a size, a dtype, a slice
TUPLE = "tuple"  # a Python tuple or list that holds tensors
ITEM = "item"  # one of the outputs of an operation that gives several


class Record(dict[str, Any]):
    """A named tuple's or a dataclass's fields by name."""


@dataclass(frozen=True, eq=False)
class Expr:
    """One operation on its operands, or a leaf.

    `op` is `NAME`, `STATIC`, `TUPLE`, `ITEM`, an operator (`+`, `@`, `[]`), an attribute (`.T`) or
    a callee by its full path (`torch.sum`, `Tensor.sum`, `F.softmax`).
    """

    op: str
    args: tuple[Expr, ...]
    syntax: ast.expr
    value: Any
    spot: Spot
    kwargs: Mapping[str, Expr] = field(default_factory=dict)
    differentiable: bool = False  # a float tensor that depends on a wanted float input
    random: bool = False  # evaluating it again would give another value
    sized: bool = False  # a Python value that was computed from a tensor's sizes
    dtype: torch.dtype | None = None  # when called, of a float that does not follow the inputs

    @property
    def is_tensor(self) -> bool:
        return isinstance(self.value, torch.Tensor)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    @property
    def operands(self) -> tuple[Expr, ...]:
        """Positional, then keyword operands, in the order in which Python evaluates them."""
        return (*self.args, *self.kwargs.values())

    def walk(self) -> Iterator[Expr]:
        """This expression and all below it, in the order in which Python evaluates them."""
        for operand in self.operands:
            yield from operand.walk()
        yield self

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        return ast.unparse(self.syntax)


@dataclass(frozen=True, eq=False)
class Line:
    """`targets = expr`: one target, or several for an operation that gives several outputs."""

    targets: tuple[str, ...]
    expr: Expr
    number: int  # of the line in the person's text, from 1
    source: str  # the statement as the person wrote it
    turns: tuple[tuple[int, int], ...] = ()  # the loops it stands in, outermost first, and when

    @property
    def name(self) -> str:
        return self.targets[0]

    @property
    def outputs(self) -> tuple[Any, ...]:
        """The values of the targets."""
        return tuple(self.expr.value) if self.several else (self.expr.value,)

    @property
    def several(self) -> bool:
        """Whether the operation gives several outputs (of which there may be only one)."""
        return self.expr.op != STATIC and isinstance(self.expr.value, tuple)

    @cached_property
    def code(self) -> str:
        """The statement in names that are bound once."""
        comma = "," if self.several and len(self.targets) == 1 else ""
        return f"{', '.join(self.targets)}{comma} = {self.expr}"


@dataclass(frozen=True, eq=False)
class Input:
    """A parameter of the forward: a tensor that is given or drawn, or a plain default."""

    name: str
    value: Any
    axes: tuple[str, ...] | None = None  # the names in its annotation, one per axis
    differentiable: bool = False
    optional: bool = False  # has a plain default


@dataclass(frozen=True, eq=False)
class Assumption:
    """A choice that reading made from a size (how often a loop ran, say): `syntax == value`."""

    syntax: ast.expr
    value: Any
    spot: Spot


@dataclass(frozen=True, eq=False)
class Loop:
    """A `for` of the person's that was read turn by turn; `over`: what it goes through."""

    over: Expr
    turns: int


@dataclass(frozen=True, eq=False)
class Program:
    """A forward pass: inputs, lines in order of evaluation, and the names that it returns."""

    name: str
    file: str
    inputs: tuple[Input, ...]
    lines: tuple[Line, ...]
    outputs: tuple[str, ...]
    assumptions: tuple[Assumption, ...] = ()
    namespace: Mapping[str, Any] = field(
        default_factory=dict
    )  # what the code needs beside its inputs
    axis_names: Mapping[int, str] = field(
        default_factory=dict
    )  # size -> name, where that is unique

    loops: tuple[Loop, ...] = ()  # by the numbers in `Line.turns`
    packed: Mapping[str, Any] = field(default_factory=dict)  # names in the structure of an input
    live: Live | None = None  # the object whose forward this is
    dialect: str = TORCH  # that the person speaks
    default: torch.dtype = torch.float64  # what new tensors had when it was read
    notes: tuple[str, ...] = ()  # what its reader should know: that values were guessed

    def say(self, code: str) -> str:
        """Statements in the words of the person's dialect.

        Raises:
            Unsayable: NumPy has none for them.
        """
        return said(code) if self.dialect == NUMPY else code

    @property
    def values(self) -> dict[str, Any]:
        """Every name's value when the program was read."""
        found = {given.name: given.value for given in self.inputs}
        for line in self.lines:
            found.update(zip(line.targets, line.outputs, strict=True))
        return found

    @property
    def differentiable(self) -> tuple[str, ...]:
        """The inputs that gradients are wanted for, in the order of the signature."""
        return tuple(given.name for given in self.inputs if given.differentiable)

    @property
    def flowing(self) -> tuple[str, ...]:
        """The outputs that a gradient leads back from: `loss.detach()` beside a loss is none."""
        found = set(self.differentiable)
        for line in self.lines:
            if line.expr.differentiable:
                found.update(line.targets)
        values = self.values
        return tuple(n for n in self.outputs if n in found and continuous(values[n]))

    def of_flowing(self, cotangents: Sequence[Any]) -> tuple[Any, ...]:
        """The cotangents of these outputs, where one for what is detached is given, too."""
        values, flowing = self.values, self.flowing
        floats = [name for name in self.outputs if continuous(values[name])]
        if len(cotangents) == len(floats) > len(flowing):
            pairs = zip(floats, cotangents, strict=True)
            return tuple(given for name, given in pairs if name in flowing)
        return tuple(cotangents)

    def axes_of(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """A name for each axis of a shape: the annotation's where the size tells, else the size."""
        return tuple(self.axis_names.get(size, str(size)) for size in shape)


def names_in(syntax: ast.expr) -> Iterator[str]:
    """The names that an expression reads."""
    return (node.id for node in ast.walk(syntax) if isinstance(node, ast.Name))


def needed(lines: Sequence[Line], outputs: Iterable[str]) -> list[Line]:
    """The lines that these names come of: what only leads to an object's own state is left out."""
    wanted, kept = set(outputs), []
    for line in reversed(lines):
        if wanted.intersection(line.targets):
            wanted.update(names_in(line.expr.syntax))
            kept.append(line)
    return kept[::-1]
