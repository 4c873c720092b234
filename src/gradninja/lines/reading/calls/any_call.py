"""Any call, by who is called; and the methods of tensors and of lists."""

from __future__ import annotations

import ast

import torch

from gradninja.lines import fence
from gradninja.lines.ndarray import is_array
from gradninja.lines.plain import is_object
from gradninja.lines.program import STATIC, TUPLE, Expr
from gradninja.lines.reading import numbers
from gradninja.lines.reading.calls.arguments import apply, read_arguments, refuse_outside
from gradninja.lines.reading.calls.library import call_library
from gradninja.lines.reading.calls.numpy_constants import METHODS, as_numbers, computed
from gradninja.lines.reading.calls.python import call_builtin
from gradninja.lines.reading.containers import container_method
from gradninja.lines.reading.in_place.writing import asked_for, in_place, write_method
from gradninja.lines.reading.inlining import enter, find_function
from gradninja.lines.reading.members import member
from gradninja.lines.reading.state import Reading, Reads
from gradninja.lines.reading.values import dotted, static_operation, take_out


def read_call(reading: Reading, node: ast.Call) -> Expr:
    func = node.func
    if isinstance(func, ast.Name) and func.id not in reading.scope:
        own, function = reading.book.own.get(func.id), find_function(reading, func.id)
        if own is not None or function is not None:
            args, kwargs = read_arguments(reading, node)
            if own is not None:
                return apply(reading, node, func.id, func, own, args, kwargs)
            assert function is not None
            return enter(reading, node, function, args, kwargs)
    path = dotted(reading, func)
    if path is not None:
        args, kwargs = read_arguments(reading, node)
        own = reading.book.own.get(path)
        if own is not None:
            return apply(reading, node, path, func, own, args, kwargs)
        found = fence.find(path)
        if isinstance(found, type) and not reading.book.knows(path):
            return reading.call(node, reading.static(node, found, func), args, kwargs)
        return call_library(reading, node, path, args, kwargs)
    if isinstance(func, ast.Name) and func.id not in reading.scope:
        outside = reading.source.outside.get(func.id)
        if outside is None or isinstance(outside, torch.Tensor):
            args, kwargs = read_arguments(reading, node)
            return call_builtin(reading, node, func.id, args, kwargs)
    if isinstance(func, ast.Attribute):
        return _method(reading, node, func, reading.read(func.value))
    callee = reading.read(func)
    if callee.op != STATIC:
        reading.fail(node, f"`{ast.unparse(func)}` is not a function that can be read")
    args, kwargs = read_arguments(reading, node)
    return reading.call(node, callee, args, kwargs)


def _method(reading: Reading, node: ast.Call, func: ast.Attribute, owner: Expr) -> Expr:
    """A call of a method of what was read."""
    if owner.is_tensor:
        return _tensor_method(reading, node, func, owner)
    if owner.op == STATIC and is_array(owner.value):
        args, kwargs = read_arguments(reading, node)
        method = getattr(owner.value, func.attr) if func.attr in METHODS else None
        return computed(reading, node, method, args, kwargs)
    if owner.op in (STATIC, TUPLE) and isinstance(owner.value, list | tuple | dict):
        args, _ = read_arguments(reading, node)
        found = container_method(reading, node, owner, func.attr, args)
        if found is not None:
            return found
    if owner.op in (STATIC, TUPLE) and isinstance(owner.value, list | tuple):
        if func.attr in {"append", "extend", "insert", "clear", "reverse", "remove", "sort"}:
            reading.fail(
                node, f"`{func.attr}` can only stand as a line of its own, on a list's name"
            )
        if func.attr in {"numel", "index", "count"}:
            args, _ = read_arguments(reading, node)
            attribute = ast.Attribute(owner.syntax, func.attr, ast.Load())
            syntax = ast.Call(attribute, [e.syntax for e in args], [])
            method = getattr(owner.value, func.attr, None)
            if method is not None and all(e.op == STATIC for e in args):
                return static_operation(reading, node, method, tuple(args), syntax)
    if owner.op == STATIC and is_object(owner.value):
        callee = member(reading, func, owner, func.attr)
        if callee.op == STATIC:
            args, kwargs = read_arguments(reading, node)
            return reading.call(node, callee, args, kwargs)
    reading.hold_single(node, (owner,), (dict, list, tuple))
    reading.fail(node, f"`.{func.attr}()` is outside of what is read")


def _tensor_method(reading: Reading, node: ast.Call, func: ast.Attribute, owner: Expr) -> Expr:
    op = f"Tensor.{func.attr}"
    attribute = ast.Attribute(owner.syntax, func.attr, ast.Load())
    if func.attr in numbers.METHODS:
        read_arguments(reading, node)
        syntax = ast.Call(attribute, [], [])
        return take_out(reading, reading.source.spot(node), owner, func.attr, syntax)
    if _hands_on(reading, node, func.attr, owner):
        return owner
    if in_place(op):
        return write_method(reading, node, func, owner)
    if func.attr == "new":  # of old: a tensor of these numbers, or of this size, to be filled
        sizes = not node.args or not isinstance(reading.read(node.args[0]).value, list)
        func = ast.Attribute(func.value, "new_empty" if sizes else "new_tensor", ast.Load())
        return _tensor_method(reading, node, func, owner)
    refuse_outside(reading, node, op)
    function = getattr(torch.Tensor, func.attr, None)
    if function is None or not callable(function):
        reading.fail(node, f"a tensor has no method `{func.attr}`")
    if not reading.book.knows(op):
        reading.fail(
            node,
            f"there is no rule for the method `{func.attr}`",
            "write it with operations that have one, or give it a rule with gradninja.rule",
        )
    args, kwargs = read_arguments(reading, node)
    if func.attr == "new_tensor" and args and is_array(args[0].value):
        _, written, _ = as_numbers(reading, node, "torch.tensor", args, kwargs)
        args = [*written, *args[1:]]
    return apply(reading, node, op, attribute, function, args, kwargs, owner)


def _hands_on(reading: Reading, node: ast.Call, name: str, owner: Expr) -> bool:
    """Whether a method gives the tensor itself: what is on the CPU, or asks for a gradient."""
    if name == "cpu":
        return not node.args and owner.value.device.type == "cpu"
    if name != "requires_grad_":
        return False
    given = [reading.read(value) for value in (*node.args, *(k.value for k in node.keywords))]
    return asked_for(owner, given)


READS: dict[type, Reads] = {
    ast.Call: read_call,
}
