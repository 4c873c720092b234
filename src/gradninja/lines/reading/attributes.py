"""Names and attributes: what a scope, a library or a tensor holds."""

from __future__ import annotations

import ast

import torch

from gradninja.lines import fence
from gradninja.lines.operators import STATIC_ATTRIBUTES, TENSOR_ATTRIBUTES, output_named
from gradninja.lines.plain import is_object, literal
from gradninja.lines.program import STATIC, TUPLE, Expr, Record
from gradninja.lines.reading.inlining import find_function
from gradninja.lines.reading.members import member
from gradninja.lines.reading.state import Reading, Reads
from gradninja.lines.reading.values import dotted, value_at, value_of

# Python's own types as values: what `isinstance` asks for.
TYPES = {kind.__name__: kind for kind in (bool, int, float, str, tuple, list, dict)}


def read_name(reading: Reading, node: ast.Name) -> Expr:
    if node.id in reading.scope:
        return reading.scope[node.id]
    if node.id not in reading.source.constants:
        function = find_function(reading, node.id)
        if function is not None:
            return reading.static(node, function, node)
    else:
        value = reading.source.constants[node.id]
        return reading.static(node, value, literal(value))
    path = reading.source.aliases.get(node.id)
    if path is not None:
        return value_at(reading, node, fence.callee_of(path))
    if node.id in TYPES:
        return reading.static(node, TYPES[node.id], node)
    if node.id == "Ellipsis":
        return reading.static(node, ..., ast.Constant(...))
    outside = reading.source.outside
    if node.id in outside:
        value = outside[node.id]
        named = isinstance(value, torch.device | torch.dtype)
        return value_of(reading, node, value, literal(value) if named else node)
    reading.fail(
        node, f"`{node.id}` is not defined", "every name must be an input or an earlier line"
    )


def read_attribute(reading: Reading, node: ast.Attribute) -> Expr:
    path = dotted(reading, node)
    if path is not None:
        return value_at(reading, node, path)
    owner = reading.read(node.value)
    syntax = ast.Attribute(owner.syntax, node.attr, ast.Load())
    if owner.is_tensor and node.attr == "real" and not owner.value.is_complex():
        return owner
    if owner.is_tensor and node.attr in TENSOR_ATTRIBUTES:
        return reading.operation(
            node, f".{node.attr}", (owner,), syntax, lambda t: getattr(t, node.attr)
        )
    if owner.is_tensor and node.attr in STATIC_ATTRIBUTES:
        value = getattr(owner.value, node.attr)
        found = reading.static(node, tuple(value) if node.attr == "shape" else value, syntax)
        return _sized(found) if node.attr == "shape" else found
    if isinstance(owner.value, tuple) and not owner.is_tensor:
        index = output_named(owner.value, node.attr)
        if index is not None and owner.op not in (TUPLE, STATIC):
            return reading.item(node, owner, index)
    if isinstance(owner.value, Record) and node.attr in owner.value:
        return owner.args[list(owner.value).index(node.attr)]
    if owner.is_tensor and node.attr == "requires_grad":
        return reading.static(node, owner.differentiable, ast.Constant(owner.differentiable))
    if owner.is_tensor and node.attr == "data":  # read, it is the values without a gradient
        detached = ast.Call(ast.Attribute(owner.syntax, "detach", ast.Load()), [], [])
        return reading.operation(node, "Tensor.detach", (owner,), detached, torch.Tensor.detach)
    if owner.is_tensor and node.attr == "grad":
        reading.fail(
            node, f"`.{node.attr}` goes around the gradient", "use `.detach()` if you mean it"
        )
    if owner.op == STATIC and isinstance(owner.value, torch.finfo | torch.iinfo | slice | range):
        return reading.static(node, getattr(owner.value, node.attr, None), syntax, (owner,))
    if owner.op == STATIC and is_object(owner.value):
        return member(reading, node, owner, node.attr)
    reading.hold_single(node, (owner,))
    reading.fail(node, f"`.{node.attr}` is outside of what is read")


def _sized(expr: Expr) -> Expr:
    return Expr(expr.op, expr.args, expr.syntax, expr.value, expr.spot, sized=True)


READS: dict[type, Reads] = {
    ast.Name: read_name,
    ast.Attribute: read_attribute,
}
