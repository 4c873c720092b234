"""Reading one expression: evaluated with real tensors as it is read, kept as a tree."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from gradninja.errors import Spot
from gradninja.lines import fence
from gradninja.lines.ndarray import is_array
from gradninja.lines.operators import (
    BINARY,
    COMPARE,
    OUTPUT_ATTRIBUTES,
    STATIC_ATTRIBUTES,
    TENSOR_ATTRIBUTES,
    UNARY,
)
from gradninja.lines.plain import is_object, is_plain, literal, number
from gradninja.lines.program import NAME, STATIC, TUPLE, Expr, Record
from gradninja.lines.reading.building import Builder
from gradninja.lines.reading.numbers import Logged, hold_reckoned, logged, taken_out

# Python's own types as values: what `isinstance` asks for.
TYPES = {kind.__name__: kind for kind in (bool, int, float, str, tuple, list, dict)}


class Expressions(Builder):
    """Evaluates expressions in a scope of names. The statement reader is built on it."""

    tensors: dict[int, Expr]  # the tensors that a live object holds, by identity
    twins: Mapping[int, Any]  # and what stands for an array, or for what holds arrays

    def read(self, node: ast.expr) -> Expr:
        """The expression that a syntax node stands for."""
        hint = fence.EXPRESSIONS.get(type(node))
        if hint is not None:
            self.fail(node, f"this is outside of what is read: {hint}")
        method: Callable[[Any], Expr] | None = getattr(self, f"read_{type(node).__name__}", None)
        if method is None:
            self.fail(node, f"`{ast.unparse(node)}` is outside of what is read")
        return method(node)

    def read_Constant(self, node: ast.Constant) -> Expr:
        return self.static(node, node.value, node)

    def read_Name(self, node: ast.Name) -> Expr:
        if node.id in self.scope:
            return self.scope[node.id]
        if node.id in self.source.constants:
            value = self.source.constants[node.id]
            return self.static(node, value, literal(value))
        path = self.source.aliases.get(node.id)
        if path is not None:
            return self._path(node, fence.callee_of(path))
        if node.id in TYPES:
            return self.static(node, TYPES[node.id], node)
        outside = self.source.outside
        if node.id in outside:
            value = outside[node.id]
            named = isinstance(value, torch.device | torch.dtype)
            return self.value_of(node, value, literal(value) if named else node)
        self.fail(
            node, f"`{node.id}` is not defined", "every name must be an input or an earlier line"
        )

    def value_of(
        self, node: ast.AST, value: Any, syntax: ast.expr, among: Iterable[Expr] = ()
    ) -> Expr:
        """A live Python value: a tensor that is an input, a sequence of such, or a plain thing."""
        value = self.twins.get(id(value), value)
        if id(value) not in self.tensors:
            value = number(value)
        if isinstance(value, torch.Tensor) or is_array(value):
            if id(value) not in self.tensors:
                self.fail(
                    node,
                    f"`{ast.unparse(node)}` is a tensor from outside of the forward",
                    "make it a parameter, so that its gradient is not lost",
                )
            return self.tensors[id(value)]
        if type(value) in (list, tuple) and _holds_tensors(value):
            return self.container(
                node, [self.value_of(node, v, syntax) for v in value], type(value)
            )
        return self.static(node, value, syntax, among)

    def _path(self, node: ast.expr, path: str) -> Expr:
        """What a module has: `torch.float32`, `math.pi`, or a function as a value, `F.relu`."""
        value = fence.find(path)
        if value is None:
            self.fail(node, f"`{ast.unparse(node)}` is not a value")
        return self.static(node, value, fence.callee_syntax(path))

    def dotted(self, node: ast.expr) -> str | None:
        """`F.gelu`, where the first name is a module's alias: its one name. Else None."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name) and node.id not in self.scope:
            path = self.source.aliases.get(node.id)
            if path is not None and node.id not in self.source.constants:
                return fence.callee_of(".".join([path, *reversed(parts)]))
        return None

    def read_Attribute(self, node: ast.Attribute) -> Expr:
        path = self.dotted(node)
        if path is not None:
            return self._path(node, path)
        owner = self.read(node.value)
        syntax = ast.Attribute(owner.syntax, node.attr, ast.Load())
        if owner.is_tensor and node.attr == "real" and not owner.value.is_complex():
            return owner
        if owner.is_tensor and node.attr in TENSOR_ATTRIBUTES:
            return self.operation(
                node, f".{node.attr}", (owner,), syntax, lambda t: getattr(t, node.attr)
            )
        if owner.is_tensor and node.attr in STATIC_ATTRIBUTES:
            value = getattr(owner.value, node.attr)
            found = self.static(node, tuple(value) if node.attr == "shape" else value, syntax)
            return _sized(found) if node.attr == "shape" else found
        if isinstance(owner.value, tuple) and not owner.is_tensor:
            index = OUTPUT_ATTRIBUTES.get(node.attr)
            if index is not None and owner.op not in (TUPLE, STATIC):
                return self.item(node, owner, index)
        if isinstance(owner.value, Record) and node.attr in owner.value:
            return owner.args[list(owner.value).index(node.attr)]
        if owner.is_tensor and node.attr == "requires_grad":
            return self.static(node, owner.differentiable, ast.Constant(owner.differentiable))
        if owner.is_tensor and node.attr == "data":  # read, it is the values without a gradient
            detached = ast.Call(ast.Attribute(owner.syntax, "detach", ast.Load()), [], [])
            return self.operation(node, "Tensor.detach", (owner,), detached, torch.Tensor.detach)
        if owner.is_tensor and node.attr == "grad":
            self.fail(
                node, f"`.{node.attr}` goes around the gradient", "use `.detach()` if you mean it"
            )
        if owner.op == STATIC and isinstance(
            owner.value, torch.finfo | torch.iinfo | slice | range
        ):
            return self.static(node, getattr(owner.value, node.attr, None), syntax, (owner,))
        if owner.op == STATIC and is_object(owner.value):
            return self.member(node, owner, node.attr)
        self.hold_single(node, (owner,))
        self.fail(node, f"`.{node.attr}` is outside of what is read")

    def member(self, node: ast.expr, owner: Expr, name: str) -> Expr:
        """An attribute of a live object."""
        raise NotImplementedError

    def read_Tuple(self, node: ast.Tuple) -> Expr:
        return self.container(node, self._elements(node.elts))

    def read_List(self, node: ast.List) -> Expr:
        return self.container(node, self._elements(node.elts), list)

    def read_Set(self, node: ast.Set) -> Expr:
        """A set of plain values: what `in` asks."""
        elements = self._elements(node.elts)
        if any(e.op != STATIC for e in elements):
            self.fail(node, "a set of tensors is outside of what is read", "use a list")
        return self.static(node, {e.value for e in elements}, node, elements)

    def _elements(self, nodes: Iterable[ast.expr]) -> list[Expr]:
        found: list[Expr] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                found.extend(self.elements_of(node, self.read(node.value)))
            else:
                found.append(self.read(node))
        return found

    def elements_of(self, node: ast.AST, several: Expr) -> list[Expr]:
        """What a loop, an unpacking or a star takes out of a value, one by one."""
        if several.op == TUPLE:
            if isinstance(several.value, dict) and not isinstance(several.value, Record):
                return [self.static(node, key, literal(key)) for key in several.value]
            return list(several.args)
        if several.is_tensor:
            if several.value.ndim == 0:
                self.fail(node, "a 0-dim tensor has nothing to take out")
            self.assume_length(several)
            return [self._at(node, several, i) for i in range(len(several.value))]
        if isinstance(several.value, tuple) and several.op != STATIC:
            return [self.item(node, several, i) for i in range(len(several.value))]
        try:
            values = list(fence.static_call(list, several.value))
        except (TypeError, ValueError) as error:
            self.fail(node, f"this has no elements: {error}")
        found = []
        for index, value in enumerate(values):
            element: ast.expr = ast.Subscript(several.syntax, ast.Constant(index), ast.Load())
            if is_plain(value) and not (several.sized and isinstance(several.value, tuple)):
                element = literal(value)
            found.append(self.value_of(node, value, element, (several,)))
        return found

    def _at(self, node: ast.AST, tensor: Expr, index: int) -> Expr:
        at = self.static(node, index, ast.Constant(index))
        syntax = ast.Subscript(tensor.syntax, ast.Constant(index), ast.Load())
        return self.operation(node, "[]", (tensor, at), syntax, operator.getitem)

    def read_Slice(self, node: ast.Slice) -> Expr:
        parts = [None if p is None else self.read(p) for p in (node.lower, node.upper, node.step)]
        given = [p for p in parts if p is not None]
        for part in given:
            if part.op != STATIC:
                self.fail(node, "a slice's bounds must be plain ints")
        syntax = ast.Slice(*(None if p is None else p.syntax for p in parts))
        value = slice(*(None if p is None else p.value for p in parts))
        return self.static(node, value, syntax, given)

    def read_Subscript(self, node: ast.Subscript) -> Expr:
        owner, index = self.read(node.value), self.placed(self.read(node.slice))
        syntax = ast.Subscript(owner.syntax, index.syntax, ast.Load())
        if owner.is_tensor:
            return self.operation(node, "[]", (owner, index), syntax, operator.getitem)
        if index.op != STATIC:
            self.fail(node, "an index into a Python sequence must be a plain int")
        if owner.op == STATIC:
            found = self._static_operation(node, operator.getitem, (owner, index), syntax)
            named = isinstance(owner.syntax, ast.Name | ast.Attribute)
            written = isinstance(owner.value, list | tuple | dict) and not named
            if written and found.op == STATIC and is_plain(found.value) and not owner.sized:
                return self.static(node, found.value, literal(found.value))
            return found
        keyed = owner.op == TUPLE and isinstance(owner.value, dict)
        keyed = keyed and not (isinstance(owner.value, Record) and isinstance(index.value, int))
        elements: Any = (
            dict(zip(owner.value, owner.args, strict=True))
            if keyed
            else self.elements_of(node, owner)
        )
        try:
            picked = elements[index.value]
        except (LookupError, TypeError) as error:
            said = f"KeyError: {error}" if isinstance(error, KeyError) else str(error)
            self.fail(node, f"this line does not run: {said}")
        return picked if isinstance(picked, Expr) else self.container(node, picked)

    def placed(self, index: Expr) -> Expr:
        """Positions that are listed, `list(y)` of a tensor of ints, as the tensor that they are."""
        if index.op != TUPLE or isinstance(index.value, dict):
            return index
        if isinstance(index.value, tuple):
            return self.rebuilt(index.syntax, index, [self.placed(part) for part in index.args])
        return _listed(index) or index

    def _static_operation(
        self, node: ast.AST, function: Callable[..., Any], args: tuple[Expr, ...], syntax: ast.expr
    ) -> Expr:
        told = logged([e.value for e in args])
        if told is not None and function is not operator.getitem:
            return self.static(node, told, syntax)  # `round(loss.item(), 3)` is logged as well
        try:
            value = fence.static_call(function, *(e.value for e in args))
        except Exception as error:  # Python's own word on the person's own line
            if isinstance(error, KeyError):
                self.fail(node, f"this line does not run: KeyError: {error}")
            if function is not operator.getitem:
                self.hold_single(node, args)
            self.fail(node, f"this line does not run: {error or type(error).__name__}")
        return self.value_of(node, value, syntax, args)

    def read_BinOp(self, node: ast.BinOp) -> Expr:
        op, function = BINARY[type(node.op)]
        args = (self.read(node.left), self.read(node.right))
        syntax = ast.BinOp(args[0].syntax, node.op, args[1].syntax)
        if any(e.is_tensor for e in args):
            return self.operation(node, op, args, syntax, function)
        if TUPLE in (args[0].op, args[1].op):
            return self._sequence(node, op, args)
        return self._static_operation(node, function, args, syntax)

    def _sequence(self, node: ast.BinOp, op: str, args: tuple[Expr, ...]) -> Expr:
        """`outs + [y]` and `[h] * 3`."""
        kind = list if any(isinstance(e.value, list) for e in args) else tuple
        sequences = not any(type(e.value) is dict for e in args)
        if sequences and op == "+":
            return self.container(node, [x for e in args for x in self.elements_of(node, e)], kind)
        count = next((e.value for e in args if isinstance(e.value, int)), None)
        if sequences and op == "*" and count is not None and count <= fence.MOST_STEPS:
            several = args[0] if args[0].op == TUPLE else args[1]
            return self.container(node, list(several.args) * count, kind)
        self.hold_single(node, args, (dict, list, tuple))
        self.fail(node, "this is outside of what is read")

    def read_UnaryOp(self, node: ast.UnaryOp) -> Expr:
        op, function = UNARY[type(node.op)]
        arg = self.read(node.operand)
        arg = self.asked(arg) if op == "not" else arg
        syntax = ast.UnaryOp(node.op, arg.syntax)
        if arg.is_tensor and op != "not":
            return self.operation(node, op, (arg,), syntax, function)
        if arg.op != STATIC:
            if op != "not":
                self.hold_single(node, (arg,), (dict, list, tuple))
            self.fail(node, "this asks for the truth of a tensor", "branches on data are outside")
        return self._static_operation(node, function, (arg,), syntax)

    def read_Compare(self, node: ast.Compare) -> Expr:
        args = [self.read(node.left), *(self.read(c) for c in node.comparators)]
        syntax = ast.Compare(args[0].syntax, node.ops, [e.syntax for e in args[1:]])
        if any(e.is_tensor for e in args) and not isinstance(node.ops[0], ast.Is | ast.IsNot):
            if len(node.ops) > 1:
                self.fail(node, "a chained comparison of tensors", "write `(a < b) & (b < c)`")
            op, function = COMPARE[type(node.ops[0])]
            return self.operation(node, op, tuple(args), syntax, function)
        value = True
        for op_node, left, right in zip(node.ops, args, args[1:], strict=False):
            step = self._static_operation(node, COMPARE[type(op_node)][1], (left, right), syntax)
            if isinstance(step.value, Logged):
                return step
            value = value and bool(step.value)
        return self.static(node, value, syntax, args)

    def read_BoolOp(self, node: ast.BoolOp) -> Expr:
        args = []
        for value in node.values:  # as Python does: no further than needed, and that one as it is
            args.append(self.asked(self.read(value)))
            last = value is node.values[-1]
            if not last and self.truth(args[-1], node) != isinstance(node.op, ast.And):
                break
        if args[-1].op != STATIC:
            return args[-1]
        syntax = ast.BoolOp(node.op, [e.syntax for e in args]) if len(args) > 1 else args[0].syntax
        return self.static(node, args[-1].value, syntax, args)

    def read_NamedExpr(self, node: ast.NamedExpr) -> Expr:
        return self.bind(node.target.id, self.read(node.value))

    def bind(self, name: str, expr: Expr) -> Expr:
        """Bind a name of the person's to a value."""
        raise NotImplementedError

    def read_IfExp(self, node: ast.IfExp) -> Expr:
        return self.read(node.body if self.decide(node.test) else node.orelse)

    def truth(self, expr: Expr, node: ast.AST) -> bool:
        if expr.op == STATIC:
            hold_reckoned(expr.value)
            return bool(expr.value)
        if expr.op == TUPLE:
            return bool(expr.args)
        self.fail(
            node,
            "this branch depends on data",
            "write both sides with torch.where, or branch on a plain Python value",
        )

    def decide(self, test: ast.expr) -> bool:
        """The truth of a plain Python condition; one on sizes becomes an assumption."""
        expr = self.asked(self.read(test))
        self.assume(expr)
        return self.truth(expr, test)

    def asked(self, expr: Expr) -> Expr:
        """The truth of a tensor that no gradient leads to is a plain value, like a size."""
        data = any(part.differentiable or part.random for part in expr.walk())
        if not expr.is_tensor or data or expr.value.numel() != 1:
            return expr
        syntax = ast.Call(ast.Name("bool", ast.Load()), [expr.syntax], [])
        return self.taken_out(expr.spot, expr, "bool", syntax)

    def taken_out(self, spot: Spot, tensor: Expr, name: str, syntax: ast.expr) -> Expr:
        """A number that is taken out of a tensor."""
        return taken_out(spot, tensor, name, syntax)

    def assume(self, expr: Expr) -> None:
        """Note that what is read from here on holds for this value of a size."""
        raise NotImplementedError

    def assume_length(self, over: Expr) -> None:
        """Note that what is read from here on holds for this many elements of a tensor."""
        raise NotImplementedError

    def read_ListComp(self, node: ast.ListComp) -> Expr:
        return self.container(node, self.comprehension(node), list)

    def read_GeneratorExp(self, node: ast.GeneratorExp) -> Expr:
        return self.container(node, self.comprehension(node), list)

    def comprehension(self, node: ast.ListComp | ast.GeneratorExp) -> list[Expr]:
        raise NotImplementedError

    def read_Call(self, node: ast.Call) -> Expr:
        raise NotImplementedError


def _holds_tensors(value: Any) -> bool:
    if type(value) in (list, tuple):
        return any(_holds_tensors(v) for v in value)
    return isinstance(value, torch.Tensor)


def _listed(several: Expr) -> Expr | None:
    """The tensor whose elements, all of them in order, a list holds."""
    if not several.args:
        return None
    first = several.args[0]
    whole = first.args[0] if first.op == "[]" else first
    if first.op != "[]" or whole.op != NAME or len(several.args) != len(whole.value):
        return None
    in_order = all(
        part.op == "[]" and part.args[0] is whole and part.args[1].value == at
        for at, part in enumerate(several.args)
    )
    return whole if in_order else None


def _sized(expr: Expr) -> Expr:
    return Expr(expr.op, expr.args, expr.syntax, expr.value, expr.spot, sized=True)
