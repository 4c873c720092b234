"""Lines that write in place, as functional ones: `d += e` is the making of a new `d`.

That is the same only for who reads `d` by that name, so the other names that share the memory are
noted, and refused where they are read later.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gradninja.lines import TUPLE, Expr
from gradninja.lines.operators import OUTPUT_ATTRIBUTES
from gradninja.lines.reader import SYNTAX
from gradninja.lines.reading.calls.arguments import read_arguments
from gradninja.lines.reading.naming import bind
from gradninja.lines.reading.state import Reading, Syntax
from gradninja.lines.reading.values import dotted
from gradninja.native.reading.functional import FRESH, FUNCTIONAL, PARTS

# Views that can be written through: what takes a value of theirs back to the shape beneath.
_SWAPS = {"transpose", "swapaxes", "swapdims", "T", "mT", "t"}
_SHAPES = {"view", "reshape", "flatten", "unsqueeze", "squeeze", "unflatten", "view_as", "ravel"}


_UNKNOWN = ast.Constant(None)  # syntax that nobody prints


@dataclass(frozen=True)
class Stale:
    """What a name holds, whose memory a later line changed: `by` is that line's number."""

    by: int
    through: str
    held: Expr


class Writes:
    """What a text of plain lines may write to; `given`: its inputs that are tensors."""

    def __init__(self, given: Mapping[str, torch.Tensor]) -> None:
        self.given = given
        self.stale: dict[str, Stale] = {}

    def syntax(self) -> Syntax:
        """All that a forward may be written in, with these writes."""
        return Syntax(
            reads={
                **SYNTAX.reads,
                ast.Name: self._name,
                ast.Call: self._call,
                ast.Attribute: self._attribute,
            },
            runs={**SYNTAX.runs, ast.AugAssign: self._augmented, ast.Expr: self._expression},
            call=SYNTAX.call,
            assign=self._assign,
            values_decide=False,  # a branch stays as it is compiled
        )

    def _name(self, reading: Reading, node: ast.Name) -> Expr:
        stale = self.stale.get(node.id)
        if stale is not None and stale.held is reading.scope.get(node.id):
            reading.fail(
                node,
                f"`{node.id}` shares memory with `{stale.through}`, which line {stale.by} changed "
                "in place",
                f"take a copy where the two become one: `{node.id}.clone()`",
            )
        return SYNTAX.reads[ast.Name](reading, node)

    def _call(self, reading: Reading, node: ast.Call) -> Expr:
        """Also `torch.zeros_like(x).scatter_add_(...)`: what is made there is nobody else's."""
        func = node.func
        if isinstance(func, ast.Attribute) and func.attr in FRESH and _is_made(func.value):
            return _functional(reading, node, func, reading.read(func.value))
        return SYNTAX.reads[ast.Call](reading, node)

    def _attribute(self, reading: Reading, node: ast.Attribute) -> Expr:
        """Also `both.indices`, of the several outputs that a name holds."""
        index = OUTPUT_ATTRIBUTES.get(node.attr)
        if index is not None and isinstance(node.value, ast.Name):
            held = reading.scope.get(node.value.id)
            if held is not None and held.op == TUPLE and len(held.args) == 2:
                return held.args[index]
        return SYNTAX.reads[ast.Attribute](reading, node)

    def _augmented(self, reading: Reading, node: ast.AugAssign) -> None:
        held = reading.read(node.target)
        if not held.is_tensor:
            SYNTAX.runs[ast.AugAssign](reading, node)
            return
        value = reading.read(ast.copy_location(ast.BinOp(node.target, node.op, node.value), node))
        value = _fitted(reading, node, held, value)
        if isinstance(node.target, ast.Subscript):  # a copy may be taken, as it is put back
            self._write_part(reading, node.target, reading.read(node.target.value), value)
        else:
            self._write(reading, node.target, value)

    def _assign(self, reading: Reading, target: ast.expr, expr: Expr) -> Expr:
        if not isinstance(target, ast.Subscript):
            return SYNTAX.assign(reading, target, expr)
        owner = reading.read(target.value)
        if isinstance(owner.value, list | dict):
            return SYNTAX.assign(reading, target, expr)
        if not owner.is_tensor:
            reading.fail(target, "only tensors are written to in place")
        self._write_part(reading, target, owner, expr)
        return expr

    def _expression(self, reading: Reading, node: ast.Expr) -> None:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            name = call.func.attr
            if (
                name.endswith("_")
                and not name.endswith("__")
                and dotted(reading, call.func) is None
            ):
                self._write_call(reading, call, call.func)
                return
        SYNTAX.runs[ast.Expr](reading, node)

    def _write_call(self, reading: Reading, call: ast.Call, func: ast.Attribute) -> None:
        """`d.add_(e)`: what `d.add(e)` gives becomes d."""
        owner = reading.read(func.value)
        if not owner.is_tensor:
            reading.fail(call, f"`{func.attr}` is not a function that can be read")
        self._write(reading, func.value, _functional(reading, call, func, owner))

    def _write_part(
        self, reading: Reading, target: ast.Subscript, owner: Expr, value: Expr
    ) -> None:
        """`owner[index] = value`."""
        index = reading.read(target.slice)
        whole = reading.operation(target, "[]=", (owner, index, value), target, FUNCTIONAL["set"])
        self._write(reading, target.value, whole)

    def _write(self, reading: Reading, target: ast.expr, value: Expr) -> None:
        """Make `value` what the target holds: a name, a part of one, or a view of one."""
        if isinstance(target, ast.Name):
            self._rebind(reading, target, value)
            return
        if isinstance(target, ast.Subscript):
            self._write_part(reading, target, _memory_of(reading, target.value, target), value)
            return
        func = target.func if isinstance(target, ast.Call) else target
        if not isinstance(func, ast.Attribute):
            reading.fail(target, "this is written to and has no name")
        owner = _memory_of(reading, func.value, target)
        if isinstance(target, ast.Call) and func.attr in PARTS:
            args, kwargs = read_arguments(reading, target)
            run, name = PARTS[func.attr], f"{func.attr}_written"
            back = reading.operation(target, name, (owner, value, *args), _UNKNOWN, run, kwargs)
        else:
            back = _undone(reading, target, func.attr, owner, value)
        self._write(reading, func.value, back)

    def _rebind(self, reading: Reading, target: ast.Name, value: Expr) -> None:
        held = reading.scope[target.id]
        number = getattr(reading.statement, "lineno", 0)
        if reading.depth:
            reading.fail(
                target,
                f"`{target.id}` is changed in place within a function that is called",
                "return a new value from it",
            )
        for name, memory in self.given.items():
            if name == target.id or _any_shares(held.value, memory):
                reading.fail(target, f"this line changes the input `{name}` in place")
        sharing = [
            name
            for name, other in reading.scope.items()
            if name != target.id and _any_shares(other.value, held.value)
        ]
        self.stale |= {name: Stale(number, target.id, reading.scope[name]) for name in sharing}
        bind(reading, target.id, value)


def _functional(reading: Reading, call: ast.Call, func: ast.Attribute, owner: Expr) -> Expr:
    """What a method that writes in place leaves in its owner."""
    name = func.attr.rstrip("_")
    args, kwargs = read_arguments(reading, call)
    run = FUNCTIONAL.get(name) or getattr(torch.Tensor, name, None)
    if run is None:
        reading.fail(call, f"`{func.attr}` is outside of what is read")
    value = reading.operation(call, f"Tensor.{name}", (owner, *args), call, run, kwargs)
    return _fitted(reading, call, owner, value)


def _fitted(reading: Reading, node: ast.AST, held: Expr, value: Expr) -> Expr:
    """The new value, of the shape and type that are there."""
    if not value.is_tensor or value.shape != held.shape:
        shape = value.shape if value.is_tensor else ()
        reading.fail(node, f"this line does not run: {shape} does not fit into {held.shape}")
    if value.value.dtype != held.value.dtype:
        value = _copied(reading, node, held, value)
    return value


def _copied(reading: Reading, node: ast.AST, into: Expr, value: Expr) -> Expr:
    run = FUNCTIONAL["copy"]
    return reading.operation(node, "Tensor.copy", (into, value), _UNKNOWN, run)


def _memory_of(reading: Reading, node: ast.expr, view: ast.expr) -> Expr:
    """What a view is of; refused where it is a copy, which nobody would see changed."""
    owner, seen = reading.read(node), reading.read(view)
    shared = owner.is_tensor and seen.is_tensor and _shares(owner.value, seen.value)
    if not shared:
        reading.fail(view, "this is a copy: what is written to it is lost")
    return owner


def _undone(reading: Reading, node: ast.expr, view: str, owner: Expr, value: Expr) -> Expr:
    """A value of a view's shape in the order of what the view is of."""
    if view in _SHAPES:
        shape = reading.static(node, owner.shape, _UNKNOWN)
        return reading.operation(
            node, "Tensor.reshape", (value, shape), _UNKNOWN, torch.Tensor.reshape
        )
    places = reading.static(node, _order(reading, node, view, owner), _UNKNOWN)
    return reading.operation(
        node, "Tensor.permute", (value, places), _UNKNOWN, torch.Tensor.permute
    )


def _order(reading: Reading, node: ast.expr, view: str, owner: Expr) -> tuple[int, ...]:
    """The permutation that undoes a view's: found from what it makes of strides."""
    if view not in _SWAPS | {"movedim", "moveaxis", "permute"}:
        reading.fail(node, f"`{view}` cannot be written through", "write to the name itself")
    sizes = tuple(range(2, 2 + owner.value.ndim))
    probe = torch.empty(sizes, device="meta")
    func = node.func if isinstance(node, ast.Call) else node
    assert isinstance(func, ast.Attribute)
    if isinstance(node, ast.Call):
        args, kwargs = read_arguments(reading, node)
        values = {key: e.value for key, e in kwargs.items()}
        seen = getattr(probe, view)(*(e.value for e in args), **values)
    else:
        seen = getattr(probe, view)
    return tuple(seen.shape.index(size) for size in sizes)


def _is_made(node: ast.expr) -> bool:
    """Whether an expression makes a tensor that nothing else holds."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    return name in {"zeros_like", "new_zeros", "zeros", "clone", "ones_like", "full_like"}


def _shares(one: torch.Tensor, other: torch.Tensor) -> bool:
    mine, others = one.untyped_storage(), other.untyped_storage()
    return mine.data_ptr() == others.data_ptr() and mine.nbytes() > 0


def _any_shares(value: Any, tensor: torch.Tensor) -> bool:
    if isinstance(value, torch.Tensor):
        return _shares(value, tensor)
    return isinstance(value, tuple | list) and any(_any_shares(v, tensor) for v in value)
