"""Lines -> graph: each operation is found in the rule book and lowered by the row of its name.

The rows are in `native/ops/`, a file a family, gathered in `ops/table.py`. A row for an operation
that is plain PyTorch of simpler ones is its text.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gradninja.lines import ITEM, NAME, STATIC, TUPLE, Expr, Line, Program
from gradninja.lines.meaning import written_out
from gradninja.native.maps.compiled_text import plain_name
from gradninja.native.maps.graph import Graph, Leaf, Node
from gradninja.native.maps.scalars import Buffer
from gradninja.native.reading.read import step_reading
from gradninja.native.reading.refusal import NativeError
from gradninja.rules import Book, Rule, Site
from gradninja.rules.rule import Formal, Spelling

DTYPES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.int64: "int64",
    torch.bool: "bool",
}
MOST_CONSTANTS = 1000  # ints in a list that a text holds

Lowered = Node | tuple[Node, ...]
Row = Callable[["At"], Lowered]


@dataclass(frozen=True, eq=False)
class At:
    """An operation at its place: what a row is given."""

    lowering: Lowering
    site: Site
    read: set[str] = field(default_factory=set)  # the arguments whose elements are asked for

    @property
    def graph(self) -> Graph:
        return self.lowering.graph

    @property
    def expr(self) -> Expr:
        return self.site.expr

    @property
    def shape(self) -> tuple[int, ...]:
        return self.site.expr.shape

    @property
    def dtype(self) -> str:
        return self.lowering.dtype_of(self.site.expr)

    def has(self, formal: str) -> bool:
        """Whether this spelling has the argument, and it is not None."""
        return formal in self.site.bound and self.site.bound[formal].value is not None

    def value(self, formal: str, default: Any = None) -> Any:
        """A plain argument's value."""
        self.hold(formal)
        return self.site.value_or(formal, default)

    def hold(self, formal: str) -> None:
        """Refuse an argument that is, or holds, a tensor: its value is another the next time."""
        operand = self.site.bound.get(formal)
        if operand is not None and any(part.is_tensor for part in operand.walk()):
            raise self.refuse(
                f"`{operand}` is a tensor: what is compiled would hold for the value that it has "
                "now",
                "give a plain number",
            )

    def node(self, formal: str, dtype: str | None = None) -> Node:
        """A tensor argument, or a number made one, as a type."""
        return self.lowering.node(self.operand(formal), dtype)

    def operand(self, formal: str) -> Expr:
        """An argument whose elements are asked for."""
        self.read.add(formal)
        return self.site.bound[formal]

    @property
    def told(self) -> Expr:
        """What the person wrote."""
        return self.lowering.told or self.expr

    def refuse(self, message: str, hint: str | None = None) -> NativeError:
        """The error to raise."""
        return refusal(self.told, message, hint)


def refusal(expr: Expr, message: str, hint: str | None = None) -> NativeError:
    return NativeError(message, spot=expr.spot, hint=hint or "the torch engine takes it")


class Lowering:
    """Lowers a program. `outputs` are the nodes of its outputs, `leaves` those of its inputs."""

    def __init__(
        self,
        program: Program,
        row_of: Callable[[Rule], Row | None],
        book: Book,
        counts: bool = False,
    ) -> None:
        """`counts`: how many elements a mask picks is taken as a fact, and held to."""
        self.book = book
        self.counts = counts
        self.program = program
        self.row_of = row_of
        self.graph = Graph()
        self.names: dict[str, Node] = {}
        self.leaves: dict[str, Leaf] = {}
        self.constants: dict[tuple[int, ...], Leaf] = {}
        self.masks: dict[Node, list[Node]] = {}  # the places that a mask picks
        self.known: dict[object, Lowered] = {}  # by what was done to which nodes
        self.told: Expr | None = None  # whose text is being lowered
        self.done: dict[int, tuple[Expr, Lowered]] = {}
        for given in program.inputs:
            if isinstance(given.value, torch.Tensor):
                self.leaves[given.name] = self._leaf(given.name, given.value)
        self.names.update(self.leaves)
        for line in program.lines:
            self._line(line)
        self.outputs = tuple(self.names[name] for name in program.outputs)

    def _leaf(self, name: str, value: torch.Tensor) -> Leaf:
        if not value.numel():
            raise NativeError(f"`{name}` is empty: there is nothing to compile for it")
        if value.dtype not in DTYPES:
            raise NativeError(
                f"`{name}` is {value.dtype}, which is not compiled",
                hint="there are float32, float64, int64 and bool",
            )
        dtype = DTYPES[value.dtype]
        extent = 1 + sum((s - 1) * t for s, t in zip(value.shape, value.stride(), strict=True))
        buffer = Buffer(plain_name(name), dtype, extent if value.numel() else 0)
        leaf = Leaf(tuple(value.shape), dtype, label=name, buffer=buffer, strides=value.stride())
        self.graph.add(leaf)
        return leaf

    def _line(self, line: Line) -> None:
        if line.expr.op == STATIC:
            return
        before = len(self.graph.nodes)
        found = self.lower(line.expr)
        several = found if isinstance(found, tuple) else (found,)
        for name, node in zip(line.targets, several, strict=True):
            if not node.label:
                node.label = name
            self.names[name] = node
        for node in self.graph.nodes[before:]:
            node.near, node.said = line.name, line.source

    def dtype_of(self, expr: Expr) -> str:
        dtype = DTYPES.get(expr.value.dtype)
        if dtype is None:
            raise refusal(self.told or expr, f"{expr.value.dtype} is not compiled")
        return dtype

    def node(self, expr: Expr, dtype: str | None = None) -> Node:
        """The node of an operand: a tensor, or a number as one of no axes."""
        if expr.op in (STATIC, TUPLE) and not expr.is_tensor:
            if isinstance(expr.value, bool | int | float):
                kind = dtype or {bool: "bool", int: "int64"}.get(type(expr.value), "float64")
                return self.graph.number(expr.value, kind)
            raise refusal(self.told or expr, f"`{expr}` is not compiled here")
        found = self.lower(expr)
        assert isinstance(found, Node)
        return found if dtype is None else self.graph.cast(found, dtype)

    def lower(self, expr: Expr) -> Lowered:
        """The node of an expression; several where it has several outputs."""
        held = self.done.get(id(expr))
        if held is None:
            held = (expr, self._lower(expr))  # the expression is held, so that its id stays its own
            self.done[id(expr)] = held
        return held[1]

    def _lower(self, expr: Expr) -> Lowered:
        if expr.op == NAME:
            assert isinstance(expr.syntax, ast.Name)
            return self.names[expr.syntax.id]
        if expr.op == ITEM:
            several = self.lower(expr.args[0])
            assert isinstance(several, tuple)
            index: int = expr.args[1].value
            return several[index]
        site = OWN.find(expr) or self.book.find(expr)
        if site is None:
            name = expr.op.removeprefix("Tensor.")
            raise refusal(self.told or expr, f"`{name}` is not compiled")
        key = self._key(site)
        if key not in self.known:
            self.known[key] = self._apply(site)
        found = self.known[key]
        self._hold(expr, found)
        return found

    def _key(self, site: Site) -> object:
        """Equal for operations that give the same: then it is done once."""
        parts: list[object] = [site.rule.name]
        for formal, operand in sorted(site.bound.items()):
            parts.append((formal, self._operand_key(operand)))
        return tuple(parts)

    def _operand_key(self, operand: Expr) -> object:
        if operand.is_tensor:
            return id(self.lower(operand))
        if operand.op == TUPLE:
            return tuple(self._operand_key(part) for part in operand.args)
        return repr((type(operand.value), operand.value))

    def _apply(self, site: Site) -> Lowered:
        at = At(self, site)
        row = self.row_of(site.rule)
        if row is None:
            name = site.expr.op.removeprefix("Tensor.")
            raise at.refuse(f"`{name}` is not compiled")
        found = row(at)
        for formal in set(site.bound) - at.read - set(site.rule.shape_only):
            at.hold(formal)
        return found

    def written_out(self, at: At, text: str) -> Lowered:
        """An operation as the text of simpler ones, in which its arguments' names stand."""
        at.read.update(at.site.bound)  # each operation of the text is held to what it reads
        outer, self.told = self.told, at.told
        found = self.lower(written_out(text, at.site.rule.name, at.site.bound, step_reading))
        self.told = outer
        assert isinstance(found, Node)
        return self.graph.cast(found, at.dtype)

    def _hold(self, expr: Expr, found: Lowered) -> None:
        """Shapes and types are facts: they are those of PyTorch's result, or this is our bug."""
        several = found if isinstance(found, tuple) else (found,)
        values = expr.value if isinstance(expr.value, tuple) else (expr.value,)
        for node, value in zip(several, values, strict=True):
            if not value.numel():
                raise refusal(self.told or expr, "this is empty, and what is empty is not compiled")
            if node.shape != tuple(value.shape) or node.dtype != DTYPES.get(value.dtype):
                raise refusal(
                    self.told or expr,
                    f"`{expr}` was lowered to {node.dtype} {node.shape}, which is not its",
                )

    def constant(self, values: list[int]) -> Leaf:
        """A list of ints of the text."""
        key = tuple(values)
        if key not in self.constants:
            name = f"places{len(self.constants)}"
            buffer = Buffer(name, "int64", len(key))
            bounds = (min(key), max(key)) if key else (0, 0)
            leaf = Leaf(
                (len(key),), "int64", label=name, buffer=buffer, strides=(1,),
                data=np.array(key, np.int64), range=bounds,
            )  # fmt: skip
            self.graph.add(leaf)
            self.constants[key] = leaf
        return self.constants[key]


def _own(name: str, *spellings: str) -> Rule:
    return Rule(name, spellings, {}, "", "", (), shape_only=("a",) if name in _LIKE else ())


# What takes the shape or the type of a tensor alone.
_LIKE = {"zeroed", "filled", "copy_into"}
_PARTS = {"input": "size, weight, grad_output", "weight": "a, size, grad_output"}


def _convolution(rank: int, of: str) -> str:
    geometry = "stride=1, padding=0, dilation=1, groups=1"
    return f"torch.nn.grad.conv{rank}d_{of}({_PARTS[of]}, {geometry})"


# Where the functions are by which a text has ranks work together.
COLLECTIVES = "torch.distributed._functional_collectives"

# What the lines of a backward say that no forward does: what in-place lines became, the gradients
# that PyTorch has functions for, and what ranks make together.
OWN = Book(
    (
        _own("zeroed", "a.zero()"),
        _own("filled", "a.fill(value)"),
        _own("copy_into", "a.copy(b)"),
        _own("diagonal_written", "diagonal_written(a, src, offset=0, dim1=0, dim2=1)"),
        _own("narrow_written", "narrow_written(a, src, dim, start, length)"),
        _own("select_written", "select_written(a, src, dim, index)"),
        _own("put", "a.put(index, src, accumulate=False)"),
        *(_own(f"conv{n}d_{of}", _convolution(n, of)) for n in (1, 2, 3) for of in _PARTS),
        _own("all_reduce", f"{COLLECTIVES}.all_reduce(a, op, group)"),
        _own("all_reduce_coalesced", f"{COLLECTIVES}.all_reduce_coalesced(tensors, op, group)"),
        _own("all_gather_tensor", f"{COLLECTIVES}.all_gather_tensor(a, dim, group)"),
        _own("reduce_scatter_tensor", f"{COLLECTIVES}.reduce_scatter_tensor(a, op, dim, group)"),
    )
)
OWN.add(_own("set"))
_FORMALS = (Formal("a", True), Formal("index", True), Formal("src", True))
OWN.by_callee["[]="] = [(Spelling("[]=", _FORMALS), OWN["set"])]
