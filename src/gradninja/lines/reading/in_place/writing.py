"""Lines that write in place, read by what they mean: each write makes a new version of the name.

`x += y` becomes `x_1 = x + y`, `y[:, t] = h` becomes `y_1 = y.select_scatter(h, 1, t)`. That is the
same for who reads the name later. Other names of the very same tensor become the new version too;
what shares memory with it in another shape (a view) is noted, and refused where it is read later.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from gradninja.lines import fence
from gradninja.lines.plain import literal
from gradninja.lines.program import NAME, TUPLE, Expr, Input
from gradninja.lines.reading.in_place.through import (
    Part,
    Through,
    is_view,
    overlap,
    parts_of,
    same_place,
)


class Writing(Through):
    """In-place operators, methods and assignments of tensors."""

    inputs: tuple[Input, ...]
    own_state: frozenset[str]  # the inputs that an object holds
    overwritten: dict[str, tuple[int, str]]  # a line's name -> the line that wrote, and to what

    def operation(
        self,
        node: ast.AST,
        op: str,
        args: tuple[Expr, ...],
        syntax: ast.expr,
        run: Callable[..., Any],
        kwargs: Mapping[str, Expr] | None = None,
    ) -> Expr:
        for operand in (*args, *(kwargs or {}).values()):
            self.hold_fresh(node, operand)
        return super().operation(node, op, args, syntax, run, kwargs)

    def named(self, name: str, expr: Expr) -> Expr:
        self.hold_fresh(self.statement, expr)
        return super().named(name, expr)

    def hold_fresh(self, node: ast.AST, expr: Expr) -> None:
        """Refuse what shares memory with something that was written to since."""
        for part in expr.walk() if self.overwritten else ():
            if part.op == NAME and str(part) in self.overwritten:
                line, through = self.overwritten[str(part)]
                self.fail(
                    node,
                    f"`{part}` shares memory with `{through}`, which line {line} changed in place",
                    "take a copy where the two become one, with `.clone()`",
                )

    # -- what writes ------------------------------------------------------------------------

    def write_operator(self, node: ast.AugAssign, held: Expr) -> None:
        """`x += y`, of a name, an attribute or a part."""
        syntax = ast.copy_location(ast.BinOp(node.target, node.op, node.value), node)
        value = self.read(syntax)
        self.write_to(node.target, held, self.fitted(node, held, value))

    def write_part(self, target: ast.Subscript, value: Expr) -> None:
        """`x[index] = value`."""
        owner = self.read(target.value)
        if isinstance(owner.value, list | dict):
            self.write_item(target, owner, value)
            return
        if not owner.is_tensor:
            self.fail(target, "only tensors, lists, dictionaries and attributes are written to")
        self.write_to(target, self.read(target), value)

    def in_place(self, op: str) -> bool:
        """Whether a method or function of torch's writes to its operand: `relu_`."""
        name = op.rpartition(".")[2]
        return name.endswith("_") and not name.endswith("__") and op not in fence.REFUSED

    def write_method(self, node: ast.Call, func: ast.Attribute, owner: Expr) -> Expr:
        """`x.mul_(y)`; what it gives is the new version."""
        name = func.attr.rstrip("_")
        args, kwargs = self._arguments(node)
        written = self._written(node, name, owner, args, kwargs)
        if written is None:
            self._refuse_outside(node, f"Tensor.{func.attr}")
        assert written is not None
        if name in MOVES:
            return self.write_to(func.value, owner, written, moved=True)
        return self.write_to(func.value, owner, self.fitted(node, owner, written))

    def module_call(
        self,
        node: ast.Call,
        path: str,
        args: list[Expr] | None = None,
        kwargs: Mapping[str, Expr] | None = None,
    ) -> Expr:
        """Also `F.relu(x, inplace=True)` and `F.relu_(x)`."""
        if args is None or kwargs is None:
            args, kwargs = self._arguments(node)
        writes = kwargs.get("inplace")
        if writes is None and not self.in_place(path):
            return super().module_call(node, path, args, kwargs)
        rest = {name: value for name, value in kwargs.items() if name != "inplace"}
        if writes is None:
            path = path.removesuffix("_")
        found = super().module_call(node, path, args, rest)
        if not args or not args[0].is_tensor or (writes is not None and not writes.value):
            return found
        held = args[0]
        target = node.args[0] if node.args else node
        return self.write_to(target, held, self.fitted(node, held, found))

    def _written(
        self,
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
            return self._like(node, "zeros_like", owner)
        if name == "fill" and len(args) == 1:
            return args[0]
        if name == "fill_diagonal" and len(args) == 1 and not kwargs and owner.value.ndim == 2:
            diagonal = self.method_on(node, "diagonal", owner)
            return self.beneath(node, diagonal, self.fitted(node, diagonal, args[0]))
        if name in DRAWS and not args and not kwargs:
            return self._like(node, DRAWS[name], owner)
        op = f"Tensor.{name}"
        function = getattr(torch.Tensor, name, None)
        if function is None or not self.book.knows(op):
            return None
        attribute = ast.Attribute(owner.syntax, name, ast.Load())
        return self._apply(node, op, attribute, function, args, kwargs, owner)

    def _like(self, node: ast.AST, function: str, owner: Expr, *args: Expr) -> Expr:
        path = f"torch.{function}"
        run = getattr(torch, function)
        return self._apply(node, path, fence.callee_syntax(path), run, [owner, *args], {})

    def fitted(self, node: ast.AST, held: Expr, value: Expr) -> Expr:
        """The value in the shape and type that is there."""
        if value.op == TUPLE:
            self.fail(node, "a list is written into a tensor", "write a tensor: torch.stack(...)")
        if not value.is_tensor:
            return self._like(node, "full_like", held, value)
        if value.value.dtype != held.value.dtype:
            kind = self.static(node, held.value.dtype, literal(held.value.dtype))
            value = self.method_on(node, "to", value, kind)
        if value.shape != held.shape:
            value = self.method_on(node, "expand_as", value, held)
        return value

    # -- what is written to -----------------------------------------------------------------

    def write_to(self, target: ast.expr, held: Expr, value: Expr, moved: bool = False) -> Expr:
        """Make `value` what the target holds, for all who hold the same; the new version.

        `moved`: only its shape is another, its memory is as it was.
        """
        if isinstance(target, ast.Subscript):
            owner = self.read(target.value)
            if owner.is_tensor:
                whole = self._with_part(target, owner, value)
                self.write_to(target.value, owner, whole)
                return value
        if held.op != NAME:
            holder = None if moved else self._holder(held.value)
            if holder is None:
                return value  # nobody else has it
            if is_view(held):
                below = self.beneath(target, held, value)
                if below is not None:
                    base = held.args[0]
                    name = ast.copy_location(ast.Name(ast.unparse(base.syntax)), target)
                    return self.seen_again(target, held, self.write_to(name, base, below))
            self.fail(
                target,
                f"this writes through a view of `{holder}`",
                f"give the result a name of its own, or write to `{holder}[...]`",
            )
        if not moved:
            self._hold_writable(target, held)
        if not moved and self._holder(value.value) is not None:
            value = self.method_on(target, "clone", value)  # what is written is a copy
        new = super().named(re.sub(r"_\d+$", "", str(held)), value)
        if not moved:
            self._note_views(target, held)
        self._replace(held.value, new)
        return new

    def _hold_writable(self, target: ast.expr, held: Expr) -> None:
        if held.differentiable and not self.grad_enabled:
            self.fail(
                target,
                f"`{ast.unparse(target)}` has a gradient and is written to under no_grad",
                "write to a copy: `.detach().clone()`",
            )
        for given in self.inputs:
            if not isinstance(given.value, torch.Tensor) or not overlap(given.value, held.value):
                continue
            if given.name in self.own_state and not given.differentiable:
                continue  # a buffer is the object's own
            told = ast.unparse(target)
            of = "" if told == given.name else f", of which `{told}` is a part,"
            self.fail(
                target,
                f"this line changes the input `{given.name}`{of} in place",
                f"take a copy first: `{given.name} = {given.name}.clone()`",
            )

    def _note_views(self, target: ast.expr, held: Expr) -> None:
        told = (getattr(self.statement, "lineno", 0), ast.unparse(target))
        for name, value in self._tensors():
            if not same_place(value, held.value) and overlap(value, held.value):
                self.overwritten[name] = told

    def _tensors(self) -> Iterable[tuple[str, torch.Tensor]]:
        """All that lines and inputs hold, by name."""
        for given in self.inputs:
            if isinstance(given.value, torch.Tensor):
                yield given.name, given.value
        for line in self.lines:
            for name, value in zip(line.targets, line.outputs, strict=True):
                if isinstance(value, torch.Tensor):
                    yield name, value

    def _holder(self, value: torch.Tensor) -> str | None:
        return next((name for name, held in self._tensors() if overlap(held, value)), None)

    def _replace(self, old: torch.Tensor, new: Expr) -> None:
        """Let all that holds a tensor hold its new version."""
        for scope in (self.scope, *self.frames):
            for name, expr in scope.items():
                scope[name] = self._with(expr, old, new)
        for key, expr in self.state.items():
            self.state[key] = self._with(expr, old, new)
        for identity, expr in list(self.tensors.items()):
            if expr.is_tensor and same_place(expr.value, old):
                self.tensors[identity] = new

    def _with(self, expr: Expr, old: torch.Tensor, new: Expr) -> Expr:
        if expr.op == TUPLE:
            parts = [self._with(part, old, new) for part in expr.args]
            return self.rebuilt(self.statement, expr, parts)
        if expr.op == NAME and expr.is_tensor and same_place(expr.value, old):
            return new
        return expr

    # -- parts ------------------------------------------------------------------------------

    def _with_part(self, target: ast.Subscript, owner: Expr, value: Expr) -> Expr:
        """`owner` with `value` at an index."""
        several = target.slice.elts if isinstance(target.slice, ast.Tuple) else [target.slice]
        indices = self._elements(several)
        parts = parts_of(owner, indices)
        if parts is None:
            self.fail(
                target,
                "this index is outside of what is written to",
                "write to one axis at a time, or use torch.where",
            )
        return self.put_part(target, owner, parts, value)

    def put_part(self, node: ast.AST, owner: Expr, parts: list[Part], value: Expr) -> Expr:
        if not parts:
            return self.fitted(node, owner, value)
        tensors = [part for part in parts if part.index.is_tensor and part.index.value.ndim]
        if tensors:
            return self._put_at(node, owner, parts, tensors, value)
        first, rest = parts[0], parts[1:]
        dim = self.static(node, first.dim, ast.Constant(first.dim))
        if isinstance(first.index.value, slice):
            cut = first.index.value
            bounds = cut.indices(owner.shape[first.dim])
            if bounds[2] < 1:
                self.fail(node, "a slice with a negative step is not written to")
            syntax = first.index.syntax
            assert isinstance(syntax, ast.Slice)
            settings = {
                name: self.static(node, bound, at)
                for name, bound, at in (
                    ("start", cut.start, syntax.lower),
                    ("end", cut.stop, syntax.upper),
                    ("step", cut.step, syntax.step),
                )
                if at is not None and bound is not None
            }
            piece = self.operation(
                node,
                "[]",
                (owner, first.at(self)),
                ast.Subscript(owner.syntax, first.at(self).syntax, ast.Load()),
                lambda t, i: t[i],
            )
            inner = self.put_part(node, piece, rest, value)
            if owner.value.is_complex() and bounds[2] == 1:
                return self._joined(node, owner, inner, dim, bounds[0])
            return self._scattered(node, "slice_scatter", owner, inner, dim, settings)
        piece = self.method_on(node, "select", owner, dim, first.index)
        inner = self.put_part(node, piece, [part.lowered(first.dim) for part in rest], value)
        if owner.value.is_complex():
            at = first.index.value % owner.shape[first.dim]
            return self._joined(node, owner, self.method_on(node, "unsqueeze", inner, dim), dim, at)
        return self.method_on(node, "select_scatter", owner, inner, dim, first.index)

    def _joined(self, node: ast.AST, owner: Expr, inner: Expr, dim: Expr, start: int) -> Expr:
        """What stands before, what is new, what stands behind: complex parts have no scatter."""
        parts, end = [inner], start + inner.shape[dim.value]
        for place, begin, stop in ((0, 0, start), (2, end, owner.shape[dim.value])):
            if stop > begin:
                bounds = [self.static(node, n, ast.Constant(n)) for n in (begin, stop - begin)]
                parts.insert(place, self.method_on(node, "narrow", owner, dim, *bounds))
        several = self.container(node, parts, list)
        call = ast.Call(fence.callee_syntax("torch.cat"), [several.syntax, dim.syntax], [])
        return self.operation(node, "torch.cat", (several, dim), call, torch.cat)

    def _scattered(
        self,
        node: ast.AST,
        name: str,
        owner: Expr,
        inner: Expr,
        dim: Expr,
        settings: Mapping[str, Expr],
    ) -> Expr:
        attribute = ast.Attribute(owner.syntax, name, ast.Load())
        run = getattr(torch.Tensor, name)
        return self._apply(node, f"Tensor.{name}", attribute, run, [inner, dim], settings, owner)

    def _put_at(
        self,
        node: ast.AST,
        owner: Expr,
        parts: list[Part],
        tensors: list[Part],
        value: Expr,
    ) -> Expr:
        """By a mask, or by positions."""
        first = tensors[0]
        mask = first.index.value.dtype == torch.bool
        if len(parts) > 1 and len(tensors) != len(parts):
            self.fail(
                node,
                "positions beside a slice or an int are not written to",
                "write to one axis at a time, or use torch.where",
            )
        if mask and len(parts) == 1 and first.dim == 0 and _single(value):
            wide = first.index
            for _ in range(owner.value.ndim - wide.value.ndim):
                last = self.static(node, -1, ast.Constant(-1))
                wide = self.method_on(node, "unsqueeze", wide, last)
            return self.method_on(node, "masked_fill", owner, wide, value)
        if len(parts) == 1 and not mask and first.dim:
            dim = self.static(node, first.dim, ast.Constant(first.dim))
            piece = self.method_on(node, "index_select", owner, dim, first.index)
            fitted = self.fitted(node, piece, value)
            return self.method_on(node, "index_copy", owner, dim, first.index, fitted)
        if [part.dim for part in parts] != list(range(len(parts))):
            self.fail(node, "positions on these axes are not written to", "use torch.where")
        indices = self.container(node, [part.index for part in parts])
        piece = self.operation(
            node,
            "[]",
            (owner, indices),
            ast.Subscript(owner.syntax, indices.syntax, ast.Load()),
            lambda t, i: t[i],
        )
        fitted = self.fitted(node, piece, value)
        return self.method_on(node, "index_put", owner, indices, fitted)


# In-place methods that draw, and what draws the same.
DRAWS = {"normal": "randn_like", "uniform": "rand_like"}
# In-place methods that change a shape and no value.
MOVES = {"unsqueeze", "squeeze", "transpose", "t", "swapaxes", "swapdims", "detach"}


def _single(value: Expr) -> bool:
    return not value.is_tensor or value.value.ndim == 0
