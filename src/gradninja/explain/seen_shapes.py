"""The shapes inside a line, and the sentence that shows what was broadcast and what was summed.

A line is run once more on the values that the forward was read with, and the shape of every part
of it is noted on the way. So the sentences are facts about the line as it stands, whoever wrote it.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

import torch

from gradninja.lines.scope import run_tree
from gradninja.rules import BOOK, OVER_AXES, Book

SEEN = (
    ast.Attribute,
    ast.BinOp,
    ast.Call,
    ast.Compare,
    ast.Constant,
    ast.IfExp,
    ast.List,
    ast.Name,
    ast.Subscript,
    ast.Tuple,
    ast.UnaryOp,
)
SCATTERS = {"index_put_": 1, "scatter_add_": 2, "index_add_": 2}  # where the added values stand
LIBRARIES = frozenset({"torch", "F", "math", "np"})

Namer = Callable[[tuple[int, ...]], tuple[str, ...]]


def is_library(node: ast.expr) -> bool:
    """Whether an expression is `torch`, `F`, `torch.linalg`: a module and no value."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in LIBRARIES


def call_parts(node: ast.Call) -> tuple[str, list[ast.expr]]:
    """The function's name and its operands: `x.sum(0)` and `torch.sum(x, 0)` are the same."""
    func = node.func
    if isinstance(func, ast.Attribute):
        owner = [] if is_library(func.value) else [func.value]
        return func.attr, [*owner, *node.args]
    return ast.unparse(func), list(node.args)


def keyword(node: ast.Call, *names: str) -> ast.expr | None:
    """The value of a keyword argument under any of these names."""
    for given in node.keywords:
        if given.arg in names:
            return given.value
    return None


class Shape(tuple[int, ...]):
    """The shape of a part that is a tensor, which a tuple of ints is not."""


class _Watched(ast.NodeTransformer):
    """A copy of a line in which every part is handed to `_see` before it is used."""

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.JoinedStr):
            return node
        listed = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple)
        new: Any = self.generic_visit(node)
        # What is called is no value, and an index may hold slices, which stand in no call.
        if isinstance(node, ast.Call):
            new.func = new.func.args[1]
        if listed:
            new.slice = new.slice.args[1]
        loads = isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
        if not (isinstance(node, SEEN) and loads):
            return new
        mark = ast.Constant(getattr(node, "mark"))  # noqa: B009 - an attribute of our own
        return ast.Call(ast.Name("_see", ast.Load()), [mark, new], [])


class Shapes:
    """The shapes in lines that run one after another, under the axes' names.

    Args:
        values: the names that the lines may read; what the lines bind is added to a copy.
        axes: names for a shape's axes, the size itself where an axis has none.
    """

    def __init__(self, values: Mapping[str, Any], axes: Namer, book: Book = BOOK) -> None:
        self.book = book
        self.scope = dict(values)
        self.axes = axes
        self.seen: dict[ast.AST, Any] = {}

    def run(self, tree: ast.stmt) -> None:
        """Run a line and note the shape of each of its parts."""
        nodes = list(ast.walk(tree))
        for mark, node in enumerate(nodes):
            node.mark = mark  # type: ignore[attr-defined]
        watched = _Watched().visit(copy.deepcopy(tree))

        def see(mark: int, value: Any) -> Any:
            self.seen[nodes[mark]] = Shape(value.shape) if _is_tensor(value) else value
            return value

        self.scope["_see"] = see
        with torch.no_grad():
            run_tree([watched], self.scope, "<line>")

    # -- what was seen ----------------------------------------------------------------------

    def tensor(self, node: ast.AST) -> tuple[int, ...] | None:
        """The shape of a part that is a tensor."""
        shape = self.seen.get(node)
        return shape if isinstance(shape, Shape) else None

    def target(self, node: ast.expr) -> tuple[int, ...] | None:
        """The shape of a name that a line has bound."""
        value = self.scope.get(node.id) if isinstance(node, ast.Name) else None
        return tuple(value.shape) if _is_tensor(value) else None

    def scalar(self, node: ast.AST) -> bool:
        """Whether a part is one number: a Python number or a 0-dim tensor."""
        found = self.seen.get(node)
        return isinstance(found, int | float) or (isinstance(found, Shape) and not found)

    def told(self, shape: tuple[int, ...]) -> str:
        """`(n, hidden)`."""
        return f"({', '.join(self.axes(shape))})"

    def axis(self, shape: tuple[int, ...], axis: int) -> str:
        """An axis' name, or which one it is."""
        name = self.axes(shape)[axis]
        return f"axis {axis % len(shape)}" if name.isdigit() else name

    def reduced(self, node: ast.Call) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """The operand's shape and the axes that a reduction goes over; None for all that is not."""
        name, operands = call_parts(node)
        shape = self.tensor(operands[0]) if operands else None
        if shape is None:
            return None
        at = 2 if name == "norm" else 1  # which norm it is stands before the axis
        given = keyword(node, "dim", "axis")
        if given is None and len(operands) > at:
            given = operands[at]
        dim = None if given is None else self.seen.get(given)
        if isinstance(dim, Shape):
            return None  # `max` of two tensors
        if dim is None or isinstance(dim, bool) or dim == () or dim == []:
            return shape, tuple(range(len(shape)))
        several = dim if isinstance(dim, tuple | list) else (dim,)
        if not all(isinstance(d, int) for d in several):
            return None
        return shape, tuple(d % len(shape) for d in several) if shape else ()

    def broadcast_axes(self, have: tuple[int, ...], want: tuple[int, ...]) -> tuple[int, ...]:
        """The axes of `want` along which a value of shape `have` is repeated."""
        lead = len(want) - len(have)
        return tuple(
            axis
            for axis, size in enumerate(want)
            if size != 1 and (axis < lead or have[axis - lead] == 1)
        )

    # -- sentences --------------------------------------------------------------------------

    def equation(self, tree: ast.stmt) -> str:
        """`dbnvar_inv (1, hidden) = sum over n of (n, hidden)`."""
        if isinstance(tree, ast.Assign):
            target = tree.targets[0]
            if not isinstance(target, ast.Name):
                return self._several(target)
            value = self.scope.get(target.id)
            if not _is_tensor(value):
                return f"{target.id} = {_short(value)}"
            shape = tuple(value.shape)
            told = self._part(tree.value)
            equal = "" if told == self.told(shape) else f" = {told}"
            return f"{target.id} {self.told(shape)}{equal}"
        if isinstance(tree, ast.AugAssign) and isinstance(tree.target, ast.Name):
            shape = tuple(self.scope[tree.target.id].shape)
            have = self.tensor(tree.value)
            told = self._part(tree.value)
            if have is not None and have != shape:
                told = f"{told} {self._over(have, shape)}"
            return f"{tree.target.id} {self.told(shape)} += {told}"
        if isinstance(tree, ast.AugAssign) and isinstance(tree.target, ast.Subscript):
            return self._added(tree.target.value, tree.value)
        if isinstance(tree, ast.Expr) and isinstance(tree.value, ast.Call):
            name, operands = call_parts(tree.value)
            at = SCATTERS.get(name)
            if at is not None and len(operands) > at + 1:
                return self._added(operands[0], operands[at + 1])
        return ""

    def _several(self, targets: ast.expr) -> str:
        names = [n.id for n in ast.walk(targets) if isinstance(n, ast.Name)]
        values = {name: self.scope.get(name) for name in names}
        return ", ".join(
            f"{name} {self.told(tuple(v.shape))}" if _is_tensor(v) else f"{name} = {_short(v)}"
            for name, v in values.items()
        )

    def _added(self, into: ast.expr, value: ast.expr) -> str:
        target = ast.unparse(into)
        shape = tuple(self.scope[target].shape) if target in self.scope else None
        have = self.tensor(value)
        if shape is None or have is None:
            return ""
        return f"{target} {self.told(shape)} += {self.told(have)}, each at its place"

    def _over(self, have: tuple[int, ...], want: tuple[int, ...]) -> str:
        axes = self.broadcast_axes(have, want)
        return f"broadcast over {self._list(want, axes)}" if axes else ""

    def _list(self, shape: tuple[int, ...], axes: tuple[int, ...]) -> str:
        return " and ".join(self.axis(shape, axis) for axis in axes)

    def _part(self, node: ast.expr) -> str:
        """A part's shape, told by the last step that changed it."""
        shape = self.tensor(node)
        plain = self.told(shape) if shape is not None else "a number"
        told: str | None = None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            told = self._product(node.left, node.right)
        elif isinstance(node, ast.BinOp):
            one_number = [
                other
                for number, other in ((node.left, node.right), (node.right, node.left))
                if self.scalar(number) and self.tensor(other) == shape
            ]
            told = self._part(one_number[0]) if one_number and shape is not None else None
        elif isinstance(node, ast.UnaryOp):
            told = self._part(node.operand)
        elif isinstance(node, ast.Attribute) and node.attr in ("values", "indices"):
            told = self._part(node.value)
        elif isinstance(node, ast.Subscript):
            whole = self.tensor(node.value)
            told = (
                f"{plain} picked out of {self.told(whole)}" if whole not in (None, shape) else None
            )
        elif isinstance(node, ast.Call):
            told = self._call(node, shape)
        return plain if told is None else told

    def _product(self, left: ast.expr, right: ast.expr) -> str | None:
        a, b = self.tensor(left), self.tensor(right)
        if not a or not b:
            return None
        return f"sum over {self.axis(a, len(a) - 1)} of {self.told(a)} @ {self.told(b)}"

    def _call(self, node: ast.Call, shape: tuple[int, ...] | None) -> str | None:
        name, operands = call_parts(node)
        have = self.tensor(operands[0]) if operands else None
        if have is None:
            return None
        notation = self.book.notation(name)
        if notation == "same" or (self.book.elementwise(name) and len(operands) == 1):
            return self._part(operands[0])
        if notation in OVER_AXES:
            found = self.reduced(node)
            if found is None or not found[1]:
                return None
            return f"{notation} over {self._list(*found)} of {self._part(operands[0])}"
        if notation == "broadcast" and shape is not None and shape != have:
            return f"{self._part(operands[0])} {self._over(have, shape)}"
        if notation == "reshape" and shape is not None and shape != have:
            return f"{self.told(have)} reshaped to {self.told(shape)}"
        if notation == "product of matrices" and len(operands) > 1:
            return self._product(operands[0], operands[1])
        return None

    def broadcasts(self, tree: ast.stmt) -> Iterator[str]:
        """`bngain (1, hidden) is broadcast over n`, for each operand that an operation repeats."""
        told: dict[str, None] = {}
        for node in ast.walk(tree):
            if not isinstance(node, ast.BinOp) or isinstance(node.op, ast.MatMult):
                continue
            shape = self.tensor(node)
            for operand in (node.left, node.right):
                have = self.tensor(operand)
                if not shape or not have:  # one number is not worth a word
                    continue
                over = self._over(have, shape)
                if over:
                    told.setdefault(f"{ast.unparse(operand)} {self.told(have)} is {over}")
        yield from told


def _is_tensor(value: Any) -> TypeGuard[torch.Tensor]:
    return isinstance(value, torch.Tensor)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
