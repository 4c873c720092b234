"""Values, and what is asked of them: their elements, their truth, what a module holds."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch

from gradninja.errors import Spot
from gradninja.lines import fence
from gradninja.lines.ndarray import TORCH, is_array
from gradninja.lines.plain import array_literal, is_plain, literal, number
from gradninja.lines.program import NAME, STATIC, TUPLE, Assumption, Expr, Record
from gradninja.lines.reading.numbers import hold_reckoned, logged, taken_out
from gradninja.lines.reading.state import Reading


def value_of(
    reading: Reading, node: ast.AST, value: Any, syntax: ast.expr, among: Iterable[Expr] = ()
) -> Expr:
    """A live Python value: a tensor that is an input, a sequence of such, or a plain thing."""
    value = reading.twins.get(id(value), value)
    if id(value) not in reading.tensors:
        value = number(value)
    if is_array(value) and id(value) not in reading.tensors and reading.source.dialect == TORCH:
        return reading.static(node, value, array_literal(value), among)
    if isinstance(value, torch.Tensor) or is_array(value):
        if id(value) not in reading.tensors:
            reading.fail(
                node,
                f"`{ast.unparse(node)}` is a tensor from outside of the forward",
                "make it a parameter, so that its gradient is not lost",
            )
        return reading.tensors[id(value)]
    if type(value) in (list, tuple) and _holds_tensors(value):
        return reading.container(
            node, [value_of(reading, node, v, syntax) for v in value], type(value)
        )
    return reading.static(node, value, syntax, among)


def value_at(reading: Reading, node: ast.expr, path: str) -> Expr:
    """What a module has: `torch.float32`, `math.pi`, or a function as a value, `F.relu`."""
    value = fence.find(path)
    if value is None:
        reading.fail(node, f"`{ast.unparse(node)}` is not a value")
    return reading.static(node, value, fence.callee_syntax(path))


def dotted(reading: Reading, node: ast.expr) -> str | None:
    """`F.gelu`, where the first name is a module's alias: its one name. Else None."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name) and node.id not in reading.scope:
        path = reading.source.aliases.get(node.id)
        if path is not None and node.id not in reading.source.constants:
            return fence.callee_of(".".join([path, *reversed(parts)]))
    return None


def read_elements(reading: Reading, nodes: Iterable[ast.expr]) -> list[Expr]:
    found: list[Expr] = []
    for node in nodes:
        if isinstance(node, ast.Starred):
            found.extend(elements_of(reading, node, reading.read(node.value)))
        else:
            found.append(reading.read(node))
    return found


def elements_of(reading: Reading, node: ast.AST, several: Expr) -> list[Expr]:
    """What a loop, an unpacking or a star takes out of a value, one by one."""
    if several.op == TUPLE:
        if isinstance(several.value, dict) and not isinstance(several.value, Record):
            return [reading.static(node, key, literal(key)) for key in several.value]
        return list(several.args)
    if several.is_tensor:
        if several.value.ndim == 0:
            reading.fail(node, "a 0-dim tensor has nothing to take out")
        assume_length(reading, several)
        return [_element_at(reading, node, several, i) for i in range(len(several.value))]
    if isinstance(several.value, tuple) and several.op != STATIC:
        if _is_cut(several):
            assume_length(reading, several)
        return [reading.item(node, several, i) for i in range(len(several.value))]
    try:
        values = list(fence.static_call(list, several.value))
    except (TypeError, ValueError) as error:
        reading.fail(node, f"this has no elements: {error}")
    found = []
    for index, value in enumerate(values):
        element: ast.expr = ast.Subscript(several.syntax, ast.Constant(index), ast.Load())
        if is_plain(value) and not (several.sized and isinstance(several.value, tuple)):
            element = literal(value)
        found.append(value_of(reading, node, value, element, (several,)))
    return found


def _element_at(reading: Reading, node: ast.AST, tensor: Expr, index: int) -> Expr:
    at = reading.static(node, index, ast.Constant(index))
    syntax = ast.Subscript(tensor.syntax, ast.Constant(index), ast.Load())
    return reading.operation(node, "[]", (tensor, at), syntax, operator.getitem)


def _is_cut(several: Expr) -> bool:
    """Whether an operation gives pieces of a tensor, of which sizes may make more or fewer."""
    tensors = [of.value for of in several.args if of.is_tensor]
    memory = {of.untyped_storage().data_ptr() for of in tensors}
    return all(
        isinstance(piece, torch.Tensor) and piece.untyped_storage().data_ptr() in memory
        for piece in several.value
    )


def placed(reading: Reading, index: Expr) -> Expr:
    """An index as it is written in brackets: a slice that has a name by its bounds, and positions
    that are listed, `list(y)` of a tensor of ints, as the tensor that they are."""
    if index.op == STATIC and isinstance(index.value, slice | tuple):
        syntax = _bounded(reading, index, index.syntax, index.value)
        return Expr(STATIC, (), syntax, index.value, index.spot, sized=index.sized)
    if index.op != TUPLE or isinstance(index.value, dict):
        return index
    if isinstance(index.value, tuple):
        return reading.rebuilt(index.syntax, index, [placed(reading, part) for part in index.args])
    return _listed(index) or index


def _bounded(reading: Reading, index: Expr, syntax: ast.expr, value: Any) -> ast.expr:
    """The slices of an index by their bounds: `slice(0, -2)`, by whatever name, is `0:-2`."""
    if isinstance(value, tuple) and any(isinstance(part, slice) for part in value):
        several = list(syntax.elts) if isinstance(syntax, ast.Tuple) else []
        if len(several) != len(value):
            several = [ast.Subscript(syntax, ast.Constant(i)) for i in range(len(value))]
        parts = zip(several, value, strict=True)
        return ast.Tuple([_bounded(reading, index, part, held) for part, held in parts], ast.Load())
    if isinstance(syntax, ast.Slice):
        return syntax
    if not isinstance(value, slice):
        return literal(value) if is_plain(value) and isinstance(syntax, ast.Subscript) else syntax
    if isinstance(syntax, ast.Call) and ast.unparse(syntax.func) == "slice":
        bounds = syntax.args if len(syntax.args) > 1 else [ast.Constant(None), *syntax.args]
    else:
        if index.sized:
            reading.assumptions.append(Assumption(syntax, value, index.spot))
        bounds = [literal(bound) for bound in (value.start, value.stop, value.step)]
    return ast.Slice(*(None if ast.unparse(bound) == "None" else bound for bound in bounds))


def static_operation(
    reading: Reading,
    node: ast.AST,
    function: Callable[..., Any],
    args: tuple[Expr, ...],
    syntax: ast.expr,
) -> Expr:
    told = logged([e.value for e in args])
    if told is not None and function is not operator.getitem:
        return reading.static(node, told, syntax)  # `round(loss.item(), 3)` is logged as well
    try:
        value = fence.static_call(function, *(e.value for e in args))
    except Exception as error:  # Python's own word on the person's own line
        if isinstance(error, KeyError):
            reading.fail(node, f"this line does not run: KeyError: {error}")
        if function is not operator.getitem:
            reading.hold_single(node, args)
        reading.fail(node, f"this line does not run: {error or type(error).__name__}")
    return value_of(reading, node, value, syntax, args)


def truth_of(reading: Reading, expr: Expr, node: ast.AST) -> bool:
    if expr.op == STATIC:
        hold_reckoned(expr.value)
        return bool(expr.value)
    if expr.op == TUPLE:
        return bool(expr.args)
    reading.fail(
        node,
        "this branch depends on data",
        "write both sides with torch.where, or branch on a plain Python value",
    )


def decide(reading: Reading, test: ast.expr) -> bool:
    """The truth of a plain Python condition; one on sizes becomes an assumption."""
    expr = ask(reading, reading.read(test))
    assume(reading, expr)
    return truth_of(reading, expr, test)


def ask(reading: Reading, expr: Expr) -> Expr:
    """The truth of a tensor that no gradient leads to is a plain value, like a size."""
    if not reading.values_decide or not expr.is_tensor or expr.value.numel() != 1:
        return expr
    if any(part.differentiable or part.random for part in expr.walk()):
        return expr
    syntax = ast.Call(ast.Name("bool", ast.Load()), [expr.syntax], [])
    return take_out(reading, expr.spot, expr, "bool", syntax)


def take_out(reading: Reading, spot: Spot, tensor: Expr, name: str, syntax: ast.expr) -> Expr:
    """A number that is taken out of a tensor; one that may not decide anything is only logged."""
    return taken_out(spot, tensor, name, syntax, decides=reading.values_decide)


def assume(reading: Reading, expr: Expr) -> None:
    """Note that what is read from here on holds for this value of a size."""
    if expr.sized and expr.op == STATIC:
        reading.assumptions.append(Assumption(expr.syntax, expr.value, expr.spot))


def assume_length(reading: Reading, over: Expr) -> None:
    """Note that what is read from here on holds for this many elements of a tensor."""
    length = ast.Call(ast.Name("len", ast.Load()), [over.syntax], [])
    reading.assumptions.append(Assumption(length, len(over.value), over.spot))


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
