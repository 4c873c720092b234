"""Python's operators and a tensor's attributes: what each is called, and what it does."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

BINARY: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
    ast.Pow: ("**", pow),
    ast.MatMult: ("@", operator.matmul),
    ast.BitAnd: ("&", operator.and_),
    ast.BitOr: ("|", operator.or_),
    ast.BitXor: ("^", operator.xor),
    ast.LShift: ("<<", operator.lshift),
    ast.RShift: (">>", operator.rshift),
}
UNARY: dict[type[ast.unaryop], tuple[str, Callable[[Any], Any]]] = {
    ast.USub: ("neg", operator.neg),
    ast.UAdd: ("pos", operator.pos),
    ast.Invert: ("~", operator.invert),
    ast.Not: ("not", operator.not_),
}
COMPARE: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.Is: ("is", operator.is_),
    ast.IsNot: ("is not", operator.is_not),
    ast.In: ("in", lambda item, among: item in among),
    ast.NotIn: ("not in", lambda item, among: item not in among),
}
TENSOR_ATTRIBUTES = frozenset({"T", "mT", "H", "mH", "real", "imag"})
STATIC_ATTRIBUTES = frozenset(
    "shape ndim dtype device itemsize is_cuda is_cpu is_mps is_sparse is_quantized layout".split()
)
# Operations whose outputs have names that read better than numbers.
NAMED_OUTPUTS = frozenset({"max", "min", "median", "mode", "sort", "topk", "kthvalue", "cummax"})
OUTPUT_ATTRIBUTES = {"values": 0, "indices": 1, "eigenvalues": 0, "eigenvectors": 1}


def output_named(several: tuple[Any, ...], name: str) -> int | None:
    """Which of an operation's outputs has this name: 1 of `S` in `torch.linalg.svd(a).S`."""
    named: tuple[str, ...] = getattr(type(several), "__match_args__", ())
    return named.index(name) if name in named else None


def output_syntax(op: str, several: ast.expr, index: int) -> ast.expr:
    """Syntax for one of several outputs: `x.max(1).indices`, `x.chunk(2)[0]`."""
    if op.rpartition(".")[2] in NAMED_OUTPUTS:
        return ast.Attribute(several, ("values", "indices")[index], ast.Load())
    return ast.Subscript(several, ast.Constant(index), ast.Load())
