"""Lines that write in place, read by what they mean: each write makes a new version of the name.

`x += y` becomes `x_1 = x + y`, `y[:, t] = h` becomes `y_1 = y.select_scatter(h, 1, t)`. That is the
same for who reads the name later. Other names of the very same tensor become the new version too;
what shares memory with it in another shape (a view) is noted, and refused where it is read later.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence

import torch

from gradninja.lines import fence
from gradninja.lines.program import NAME, TUPLE, Expr
from gradninja.lines.reading.calls.arguments import (
    apply,
    like,
    method_on,
    read_arguments,
    refuse_outside,
)
from gradninja.lines.reading.containers import write_item
from gradninja.lines.reading.in_place.overlaps import is_view, overlap, same_place
from gradninja.lines.reading.in_place.parts import fitted, listed, parts_of, put_part
from gradninja.lines.reading.in_place.through import beneath, seen_again
from gradninja.lines.reading.naming import name_version
from gradninja.lines.reading.state import Reading
from gradninja.lines.reading.values import elements_of, placed, read_elements

# In-place methods that draw, and what draws the same.
DRAWS = {"normal": "randn_like", "uniform": "rand_like"}


# In-place methods that change a shape and no value.
MOVES = {"unsqueeze", "squeeze", "transpose", "t", "swapaxes", "swapdims", "detach"}


def write_operator(reading: Reading, node: ast.AugAssign, held: Expr) -> None:
    """`x += y`, of a name, an attribute or a part."""
    syntax = ast.copy_location(ast.BinOp(node.target, node.op, node.value), node)
    value = reading.read(syntax)
    write_to(reading, node.target, held, fitted(reading, node, held, value))


def write_part(reading: Reading, target: ast.Subscript, value: Expr) -> None:
    """`x[index] = value`."""
    owner = reading.read(target.value)
    if isinstance(owner.value, list | dict):
        write_item(reading, target, owner, value)
        return
    if not owner.is_tensor:
        reading.fail(target, "only tensors, lists, dictionaries and attributes are written to")
    write_to(reading, target, reading.read(target), value)


def asked_for(owner: Expr, given: Sequence[Expr]) -> bool:
    """Whether `requires_grad_(...)` changes nothing: no gradient that there is is turned off."""
    return not owner.differentiable or all(bool(one.value) for one in given)


def in_place(op: str) -> bool:
    """Whether a method or function of torch's writes to its operand: `relu_`."""
    name = op.rpartition(".")[2]
    return name.endswith("_") and not name.endswith("__") and op not in fence.REFUSED


def write_method(reading: Reading, node: ast.Call, func: ast.Attribute, owner: Expr) -> Expr:
    """`x.mul_(y)`; what it gives is the new version."""
    name = func.attr.rstrip("_")
    args, kwargs = read_arguments(reading, node)
    written = _written(reading, node, name, owner, args, kwargs)
    if written is None:
        refuse_outside(reading, node, f"Tensor.{func.attr}")
    assert written is not None
    if name in MOVES:
        return write_to(reading, func.value, owner, written, moved=True)
    return write_to(reading, func.value, owner, fitted(reading, node, owner, written))


def _written(
    reading: Reading,
    node: ast.AST,
    name: str,
    owner: Expr,
    args: list[Expr],
    kwargs: Mapping[str, Expr],
) -> Expr | None:
    """What an in-place method leaves, by a method that leaves its operand alone."""
    if name == "copy" and args:
        return args[0]
    if name == "zero":
        return like(reading, node, "zeros_like", owner)
    if name == "fill" and len(args) == 1:
        return args[0]
    if name == "fill_diagonal" and len(args) == 1 and not kwargs and owner.value.ndim == 2:
        diagonal = method_on(reading, node, "diagonal", owner)
        return beneath(reading, node, diagonal, fitted(reading, node, diagonal, args[0]))
    if name in DRAWS and not args and not kwargs:
        return like(reading, node, DRAWS[name], owner)
    if reading.book.random(f"Tensor.{name}_"):  # the same draw, into memory that nobody else has
        fresh = like(reading, node, "empty_like", owner)
        attribute = ast.Attribute(fresh.syntax, f"{name}_", ast.Load())
        run = getattr(torch.Tensor, f"{name}_")
        return apply(reading, node, f"Tensor.{name}_", attribute, run, args, kwargs, fresh)
    op = f"Tensor.{name}"
    function = getattr(torch.Tensor, name, None)
    if function is None or not reading.book.knows(op):
        return None
    attribute = ast.Attribute(owner.syntax, name, ast.Load())
    return apply(reading, node, op, attribute, function, args, kwargs, owner)


def write_to(
    reading: Reading, target: ast.expr, held: Expr, value: Expr, moved: bool = False
) -> Expr:
    """Make `value` what the target holds, for all who hold the same; the new version.

    `moved`: only its shape is another, its memory is as it was.
    """
    if isinstance(target, ast.Subscript):
        owner = reading.read(target.value)
        if owner.is_tensor:
            whole = _with_part(reading, target, owner, value)
            write_to(reading, target.value, owner, whole)
            return value
    if held.op != NAME:
        holder = None if moved else _holder(reading, held.value)
        if holder is None:
            return value  # nobody else has it
        if is_view(held):
            below = beneath(reading, target, held, value)
            if below is not None:
                base = held.args[0]
                name = ast.copy_location(ast.Name(ast.unparse(base.syntax)), target)
                return seen_again(reading, target, held, write_to(reading, name, base, below))
        reading.fail(
            target,
            f"this writes through a view of `{holder}`",
            f"give the result a name of its own, or write to `{holder}[...]`",
        )
    if not moved:
        _hold_writable(reading, target, held)
    if not moved and _holder(reading, value.value) is not None:
        value = method_on(reading, target, "clone", value)  # what is written is a copy
    new = name_version(reading, re.sub(r"_\d+$", "", str(held)), value)
    if not moved:
        _note_views(reading, target, held)
    _replace(reading, held.value, new)
    return new


def _hold_writable(reading: Reading, target: ast.expr, held: Expr) -> None:
    if held.differentiable and not reading.grad_enabled:
        reading.fail(
            target,
            f"`{ast.unparse(target)}` has a gradient and is written to under no_grad",
            "write to a copy: `.detach().clone()`",
        )
    for given in reading.inputs:
        if not isinstance(given.value, torch.Tensor) or not overlap(given.value, held.value):
            continue
        if given.name in reading.own_state and not given.differentiable:
            continue  # a buffer is the object's own
        told = ast.unparse(target)
        of = "" if told == given.name else f", of which `{told}` is a part,"
        reading.fail(
            target,
            f"this line changes the input `{given.name}`{of} in place",
            f"take a copy first: `{given.name} = {given.name}.clone()`",
        )


def _note_views(reading: Reading, target: ast.expr, held: Expr) -> None:
    told = (getattr(reading.statement, "lineno", 0), ast.unparse(target))
    for name, value in _tensors(reading):
        if not same_place(value, held.value) and overlap(value, held.value):
            reading.overwritten[name] = told


def _tensors(reading: Reading) -> Iterable[tuple[str, torch.Tensor]]:
    """All that lines and inputs hold, by name."""
    for given in reading.inputs:
        if isinstance(given.value, torch.Tensor):
            yield given.name, given.value
    for line in reading.lines:
        for name, value in zip(line.targets, line.outputs, strict=True):
            if isinstance(value, torch.Tensor):
                yield name, value


def _holder(reading: Reading, value: torch.Tensor) -> str | None:
    return next((name for name, held in _tensors(reading) if overlap(held, value)), None)


def _replace(reading: Reading, old: torch.Tensor, new: Expr) -> None:
    """Let all that holds a tensor hold its new version."""
    for scope in (reading.scope, *reading.frames):
        for name, expr in scope.items():
            scope[name] = _with(reading, expr, old, new)
    for key, expr in reading.state.items():
        reading.state[key] = _with(reading, expr, old, new)
    for identity, expr in list(reading.tensors.items()):
        if expr.is_tensor and same_place(expr.value, old):
            reading.tensors[identity] = new


def _with(reading: Reading, expr: Expr, old: torch.Tensor, new: Expr) -> Expr:
    if expr.op == TUPLE:
        parts = [_with(reading, part, old, new) for part in expr.args]
        return reading.rebuilt(reading.statement, expr, parts)
    if expr.op == NAME and expr.is_tensor and same_place(expr.value, old):
        return new
    return expr


def _with_part(reading: Reading, target: ast.Subscript, owner: Expr, value: Expr) -> Expr:
    """`owner` with `value` at an index."""
    if isinstance(target.slice, ast.Tuple):
        several = read_elements(reading, target.slice.elts)
    else:
        index = reading.read(target.slice)
        together = isinstance(index.value, tuple)
        several = elements_of(reading, target, index) if together else [index]
    parts = parts_of(owner, [listed(reading, target, placed(reading, one)) for one in several])
    if parts is None:
        reading.fail(
            target,
            "this index is outside of what is written to",
            "write to one axis at a time, or use torch.where",
        )
    return put_part(reading, target, owner, parts, value)
