"""A forward's text and a backward's text -> one straight-line Program in which nothing is changed.

A statement that writes in place (`d += e`, `d[ix] = e`, `d.index_add_(...)`) becomes the making of
a new value under a new name: `d_1 = d + e`. That is the same only for who reads `d` by that name,
so the other names that share the memory are noted, and refused where they are read later.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch

from gradninja.errors import Spot
from gradninja.lines import NAME, STATIC, TUPLE, Expr, Input, Program
from gradninja.lines.given.signature import parameters
from gradninja.lines.given.source import Source, load
from gradninja.lines.operators import OUTPUT_ATTRIBUTES
from gradninja.lines.reader import Reader
from gradninja.lines.reading.inlining import Function
from gradninja.native.reading.functional import FRESH, FUNCTIONAL, PARTS
from gradninja.native.reading.refusal import NativeError
from gradninja.rules import BOOK, Open

Keep = Sequence[str] | None

# Views that can be written through: what takes a value of theirs back to the shape beneath.
_SWAPS = {"transpose", "swapaxes", "swapdims", "T", "mT", "t"}
_SHAPES = {"view", "reshape", "flatten", "unsqueeze", "squeeze", "unflatten", "view_as", "ravel"}


@dataclass(frozen=True)
class Stale:
    """A name whose memory a later line changed: `by` is that line's number."""

    by: int
    through: str


class StepReader(Reader):
    """Reads two functions as one, and in-place lines as functional ones."""

    def __init__(self, source: Source) -> None:
        super().__init__(source, Open(BOOK, own={}))
        self.stale: dict[str, Stale] = {}
        self.given: dict[str, torch.Tensor] = {}  # the inputs that are tensors

    def operation(
        self,
        node: ast.AST,
        op: str,
        args: tuple[Expr, ...],
        syntax: ast.expr,
        run: Callable[..., Any],
        kwargs: Mapping[str, Expr] | None = None,
    ) -> Expr:
        found = super().operation(node, op, args, syntax, run, kwargs)
        operands = (*args, *(kwargs or {}).values())
        asked = any(part.is_tensor for operand in operands for part in operand.walk())
        if found.op == STATIC and asked and op.rpartition(".")[2] not in _OF_SHAPES:
            self.fail(node, "this asks for a value; the lines would hold for this one value alone")
        return found

    # -- in place -----------------------------------------------------------------------------

    def read_Name(self, node: ast.Name) -> Expr:
        stale = self.stale.get(node.id)
        if stale is not None and node.id in self.scope:
            self.fail(
                node,
                f"`{node.id}` shares memory with `{stale.through}`, which line {stale.by} changed "
                "in place",
                f"take a copy where the two become one: `{node.id}.clone()`",
            )
        return super().read_Name(node)

    def read_Call(self, node: ast.Call) -> Expr:
        """Also `torch.zeros_like(x).scatter_add_(...)`: what is made there is nobody else's."""
        func = node.func
        if isinstance(func, ast.Attribute) and func.attr in FRESH and _is_made(func.value):
            return self._functional(node, func, self.read(func.value))
        return super().read_Call(node)

    def read_Attribute(self, node: ast.Attribute) -> Expr:
        """Also `both.indices`, of the several outputs that a name holds."""
        index = OUTPUT_ATTRIBUTES.get(node.attr)
        if index is not None and isinstance(node.value, ast.Name):
            held = self.scope.get(node.value.id)
            if held is not None and held.op == TUPLE and len(held.args) == 2:
                return held.args[index]
        return super().read_Attribute(node)

    def bind(self, name: str, expr: Expr) -> Expr:
        self.stale.pop(name, None)
        return super().bind(name, expr)

    def run_AugAssign(self, node: ast.AugAssign) -> None:
        held = self.read(node.target)
        if not held.is_tensor:
            super().run_AugAssign(node)
            return
        value = self.read(ast.copy_location(ast.BinOp(node.target, node.op, node.value), node))
        value = self._fitted(node, held, value)
        if isinstance(node.target, ast.Subscript):  # a copy may be taken, as it is put back
            self._write_part(node.target, self.read(node.target.value), value)
        else:
            self._write(node.target, value)

    def assign(self, target: ast.expr, expr: Expr) -> Expr:
        if not isinstance(target, ast.Subscript):
            return super().assign(target, expr)
        owner = self.read(target.value)
        if isinstance(owner.value, list | dict):
            return super().assign(target, expr)
        if not owner.is_tensor:
            self.fail(target, "only tensors are written to in place")
        self._write_part(target, owner, expr)
        return expr

    def asked(self, expr: Expr) -> Expr:
        """A branch stays as it is compiled, so that no tensor's value decides it."""
        return expr

    def taken_out(self, spot: Spot, tensor: Expr, name: str, syntax: ast.expr) -> Expr:
        """As if a gradient led to the tensor: the number may be logged, and not reckoned with."""
        return super().taken_out(spot, replace(tensor, differentiable=True), name, syntax)

    def run_Expr(self, node: ast.Expr) -> None:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            name = call.func.attr
            if name.endswith("_") and not name.endswith("__") and self.dotted(call.func) is None:
                self._write_call(call, call.func)
                return
        super().run_Expr(node)

    def _write_call(self, call: ast.Call, func: ast.Attribute) -> None:
        """`d.add_(e)`: what `d.add(e)` gives becomes d."""
        owner = self.read(func.value)
        if not owner.is_tensor:
            self.fail(call, f"`{func.attr}` is not a function that can be read")
        self._write(func.value, self._functional(call, func, owner))

    def _functional(self, call: ast.Call, func: ast.Attribute, owner: Expr) -> Expr:
        """What a method that writes in place leaves in its owner."""
        name = func.attr.rstrip("_")
        args, kwargs = self._arguments(call)
        run = FUNCTIONAL.get(name) or getattr(torch.Tensor, name, None)
        if run is None:
            self.fail(call, f"`{func.attr}` is outside of what is read")
        value = self.operation(call, f"Tensor.{name}", (owner, *args), call, run, kwargs)
        return self._fitted(call, owner, value)

    def _fitted(self, node: ast.AST, held: Expr, value: Expr) -> Expr:
        """The new value, of the shape and type that are there."""
        if not value.is_tensor or value.shape != held.shape:
            shape = value.shape if value.is_tensor else ()
            self.fail(node, f"this line does not run: {shape} does not fit into {held.shape}")
        if value.value.dtype != held.value.dtype:
            value = self._copied(node, held, value)
        return value

    def _copied(self, node: ast.AST, into: Expr, value: Expr) -> Expr:
        run = FUNCTIONAL["copy"]
        return self.operation(node, "Tensor.copy", (into, value), _UNKNOWN, run)

    def _write_part(self, target: ast.Subscript, owner: Expr, value: Expr) -> None:
        """`owner[index] = value`."""
        index = self.read(target.slice)
        whole = self.operation(target, "[]=", (owner, index, value), target, FUNCTIONAL["set"])
        self._write(target.value, whole)

    def _write(self, target: ast.expr, value: Expr) -> None:
        """Make `value` what the target holds: a name, a part of one, or a view of one."""
        if isinstance(target, ast.Name):
            self._rebind(target, value)
            return
        if isinstance(target, ast.Subscript):
            self._write_part(target, self._memory_of(target.value, target), value)
            return
        func = target.func if isinstance(target, ast.Call) else target
        if not isinstance(func, ast.Attribute):
            self.fail(target, "this is written to and has no name")
        owner = self._memory_of(func.value, target)
        if isinstance(target, ast.Call) and func.attr in PARTS:
            args, kwargs = self._arguments(target)
            run, name = PARTS[func.attr], f"{func.attr}_written"
            back = self.operation(target, name, (owner, value, *args), _UNKNOWN, run, kwargs)
        else:
            back = self._undone(target, func.attr, owner, value)
        self._write(func.value, back)

    def _memory_of(self, node: ast.expr, view: ast.expr) -> Expr:
        """What a view is of; refused where it is a copy, which nobody would see changed."""
        owner, seen = self.read(node), self.read(view)
        shared = owner.is_tensor and seen.is_tensor and _shares(owner.value, seen.value)
        if not shared:
            self.fail(view, "this is a copy: what is written to it is lost")
        return owner

    def _undone(self, node: ast.expr, view: str, owner: Expr, value: Expr) -> Expr:
        """A value of a view's shape in the order of what the view is of."""
        if view in _SHAPES:
            shape = self.static(node, owner.shape, _UNKNOWN)
            return self.operation(
                node, "Tensor.reshape", (value, shape), _UNKNOWN, torch.Tensor.reshape
            )
        places = self.static(node, self._order(node, view, owner), _UNKNOWN)
        return self.operation(
            node, "Tensor.permute", (value, places), _UNKNOWN, torch.Tensor.permute
        )

    def _order(self, node: ast.expr, view: str, owner: Expr) -> tuple[int, ...]:
        """The permutation that undoes a view's: found from what it makes of strides."""
        if view not in _SWAPS | {"movedim", "moveaxis", "permute"}:
            self.fail(node, f"`{view}` cannot be written through", "write to the name itself")
        sizes = tuple(range(2, 2 + owner.value.ndim))
        probe = torch.empty(sizes, device="meta")
        func = node.func if isinstance(node, ast.Call) else node
        assert isinstance(func, ast.Attribute)
        if isinstance(node, ast.Call):
            args, kwargs = self._arguments(node)
            values = {key: e.value for key, e in kwargs.items()}
            seen = getattr(probe, view)(*(e.value for e in args), **values)
        else:
            seen = getattr(probe, view)
        return tuple(seen.shape.index(size) for size in sizes)

    def _rebind(self, target: ast.Name, value: Expr) -> None:
        held = self.scope[target.id]
        number = getattr(self.statement, "lineno", 0)
        if self.depth:
            self.fail(
                target,
                f"`{target.id}` is changed in place within a function that is called",
                "return a new value from it",
            )
        for name, memory in self.given.items():
            if name == target.id or _any_shares(held.value, memory):
                self.fail(target, f"this line changes the input `{name}` in place")
        sharing = [
            name
            for name, other in self.scope.items()
            if name != target.id and _any_shares(other.value, held.value)
        ]
        self.stale |= {name: Stale(number, target.id) for name in sharing}
        self.bind(target.id, value)

    # -- two functions ------------------------------------------------------------------------

    def step(
        self, later: Source | None, inputs: tuple[Input, ...], keep: Keep
    ) -> tuple[Program, tuple[str, ...]]:
        """The lines of a step; its outputs are the loss and the gradients, whose names are told.

        `later`: a function of its own that the lines of the first are followed by, which sees of
        their names those that it asks for.
        """
        self.given = _tensors(inputs)
        for given in inputs:
            self.taken.add(given.name)
            syntax = ast.Name(given.name, ast.Load())
            kind = NAME if isinstance(given.value, torch.Tensor) else STATIC
            spot = self.source.spot(self.source.function)
            self.scope[given.name] = Expr(kind, (), syntax, given.value, spot)
        loss = self._body(self.source)
        if not loss.is_tensor or not loss.value.is_floating_point():
            self.fail(self.statement, "the forward returns no float tensor", "return the loss")
        if later is not None:
            self._follow(later)
        if keep is None:
            keep = [f"d{given.name}" for given in inputs if f"d{given.name}" in self.scope]
        outputs = [loss]
        for name in keep:
            if name not in self.scope:
                function = self.source.function
                self.fail(function, f"`{function.name}` makes no `{name}`")
            at = ast.copy_location(ast.Name(name, ast.Load()), self.statement)
            outputs.append(self.read(at))
        names = [self._output(expr) for expr in outputs]
        program = Program("step", self.source.file, inputs, tuple(self.lines), tuple(names))
        return program, tuple(keep)

    def _follow(self, later: Source) -> None:
        scope, self.source = self.scope, later
        self.reserved |= {
            n.id
            for n in ast.walk(later.function)
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        self.scope = {}
        for formal in parameters(later, later.function):
            if formal.name in scope:
                self.scope[formal.name] = scope[formal.name]
            elif formal.default is not None:
                self.scope[formal.name] = self.read(formal.default)
            else:
                self.fail(formal.node, f"the forward has no `{formal.name}`")
        body = later.function.body
        self.run(body[:-1] if isinstance(body[-1], ast.Return) else body)

    def _output(self, expr: Expr) -> str:
        if not expr.is_tensor:
            self.fail(self.statement, "a gradient is no tensor")
        if expr.op == NAME:
            assert isinstance(expr.syntax, ast.Name)
            return expr.syntax.id
        name = self.fresh("loss")
        self.add_line((name,), expr)
        return name

    def _body(self, source: Source) -> Expr:
        """Read a function's statements, up to what it returns; of all its locals the `loss`."""
        *body, last = source.function.body
        if not isinstance(last, ast.Return) or last.value is None:
            self.fail(source.function, f"`{source.function.name}` does not end in `return`")
        self.run(body)
        self.statement = last
        if ast.unparse(last.value) == "locals()":
            return self.read(ast.copy_location(ast.Name("loss", ast.Load()), last))
        return self.read(last.value)


def read_step(
    source: Source,
    values: Mapping[str, Any],
    keep: Keep = None,
    later: Source | None = None,
    own: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
) -> tuple[Program, tuple[str, ...]]:
    """A training step, forward then backward, as one Program whose lines change nothing.

    Returns the Program, and the names of its outputs after the loss as the text has them.

    Args:
        source: the forward with the backward's lines below, or the forward alone.
        values: for each input a tensor, or a plain value that is taken as fixed.
        keep: the names of the gradients that are wanted, `dW1` say; the Program's outputs are the
            loss and these. None: `d<name>` for each input that has one.
        later: the backward as a function of its own, which takes by name what it wants.
        own: functions that the text calls by these names.

    Raises:
        ReadError: a line is outside of what is read, with line and caret; among them one that
            reads a name whose memory another line changed in place.
        NativeError: an input has no value.
    """
    reader = StepReader(source)
    for name, function in own.items():
        text = load(function)
        reader.local_functions[name] = Function(name, text, text.function)
    inputs = []
    for formal in parameters(source, source.function):
        if formal.name in values:
            value = values[formal.name]
        elif formal.default is not None:
            value = ast.literal_eval(formal.default)
        else:
            spot = source.spot(formal.node)
            raise NativeError(f"no value for `{formal.name}` is given", spot=spot)
        if isinstance(value, torch.Tensor):
            value = value.detach()
        inputs.append(Input(formal.name, value, axes=formal.axes))
    with torch.no_grad():
        return reader.step(later, tuple(inputs), keep)


_UNKNOWN = ast.Constant(None)  # syntax that nobody prints


def _is_made(node: ast.expr) -> bool:
    """Whether an expression makes a tensor that nothing else holds."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    return name in {"zeros_like", "new_zeros", "zeros", "clone", "ones_like", "full_like"}


def _tensors(inputs: Sequence[Input]) -> dict[str, torch.Tensor]:
    return {g.name: g.value for g in inputs if isinstance(g.value, torch.Tensor)}


def _shares(one: torch.Tensor, other: torch.Tensor) -> bool:
    mine, others = one.untyped_storage(), other.untyped_storage()
    return mine.data_ptr() == others.data_ptr() and mine.nbytes() > 0


def _any_shares(value: Any, tensor: torch.Tensor) -> bool:
    if isinstance(value, torch.Tensor):
        return _shares(value, tensor)
    return isinstance(value, tuple | list) and any(_any_shares(v, tensor) for v in value)


# What gives a plain Python value that the values of a tensor do not change.
_OF_SHAPES = {
    "size", "numel", "nelement", "dim", "ndimension", "is_floating_point", "element_size",
    "is_tensor", "stride", "is_contiguous", "broadcast_shapes",
}  # fmt: skip
