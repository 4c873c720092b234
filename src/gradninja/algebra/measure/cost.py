"""What a backward costs: elements moved, operations called, values kept. Memory traffic counts."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gradninja.algebra.measure.prices import PREFER
from gradninja.lines.scope import run, value_of

SINGLE = 4  # bytes of a float32: what is fused in float64 is meant for float32


@dataclass(frozen=True)
class Cost:
    """What a backward does on the values that it was read with.

    `work`: multiplications in matrix products; `traffic`: elements read and written;
    `calls`: operations; `kept`: elements of intermediates that the forward must keep; `peak`:
    the most elements that forward and backward hold at a time. An element is that of a float32:
    one of an int64 counts as two, whatever the floats are computed in here.
    """

    work: float = 0.0
    traffic: float = 0.0
    calls: int = 0
    kept: float = 0.0
    peak: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.work + other.work,
            self.traffic + other.traffic,
            self.calls + other.calls,
            self.kept + other.kept,
            max(self.peak, other.peak),
        )

    def total(self, prefer: str = "speed") -> float:
        """One number to choose by: the elements that might be moved in that time."""
        prices = PREFER[prefer]
        moved = prices.move * self.traffic + prices.multiply * self.work
        held = prices.keep * self.kept + prices.hold * self.peak
        return prices.call * self.calls + moved + held


def cost_of(
    statements: Iterable[ast.stmt],
    values: Mapping[str, Any],
    kept: float,
    keep: dict[str, Any] | None = None,
) -> Cost:
    """The cost of running statements on values; `kept` elements are needed from the forward.

    What the statements write is put into `keep`, if it is given.
    """
    scope = dict(values) if keep is None else keep
    found = Cost(kept=kept)
    with torch.no_grad():
        for statement in statements:
            found += _statement(statement, scope)
    return found


def _statement(node: ast.stmt, scope: dict[str, Any]) -> Cost:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        value, cost = _evaluated(node.value, scope)
        scope[node.targets[0].id] = value
        return cost
    if isinstance(node, ast.AugAssign):
        whole = ast.BinOp(_read(node.target), node.op, node.value)
        value, cost = _evaluated(whole, scope)
        if isinstance(node.target, ast.Name):
            scope[node.target.id] = value
            return cost
        cost += Cost(traffic=elements(value), calls=1)  # it goes back to where it was picked
    else:
        parts = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
        tensors = {n.id for n in parts if isinstance(scope.get(n.id), torch.Tensor)}
        cost = Cost(traffic=sum(elements(scope[name]) for name in tensors), calls=1)
    run([ast.unparse(node)], scope)
    return cost


def _read(target: ast.expr) -> ast.expr:
    """What stands on the left, as it is read: `dlogits[range(n), Yb]`."""
    return ast.parse(ast.unparse(target), mode="eval").body


def _evaluated(node: ast.expr, scope: dict[str, Any]) -> tuple[Any, Cost]:
    """A value, and what all operations on tensors below it cost."""
    if isinstance(node, ast.Starred):
        return _evaluated(node.value, scope)
    if isinstance(node, ast.Constant):
        return node.value, Cost()
    if isinstance(node, ast.Name) and node.id in scope:
        return scope[node.id], Cost()
    operands: list[Any] = []
    cost = Cost()
    for child in _operands(node):
        value, below = _evaluated(child, scope)
        cost += below
        operands.append(value)
    value = value_of(node, scope)
    tensors = [o for o in operands if isinstance(o, torch.Tensor)]
    several = value if isinstance(value, tuple | list) else (value,)
    results = [r for r in several if isinstance(r, torch.Tensor)]
    if isinstance(node, ast.Name | ast.Constant | ast.Tuple | ast.List) or not results:
        return value, cost
    memory = {t.untyped_storage().data_ptr() for t in tensors}
    if all(r.untyped_storage().data_ptr() in memory for r in results):
        return value, cost  # a view moves nothing
    if isinstance(node, ast.Subscript):
        tensors[:1] = results  # only what is picked is read
    traffic = sum(map(elements, (*tensors, *results)))
    if isinstance(node, ast.BinOp):  # of mixed dtypes, one operand is copied into the other's
        mixed = [t for t in tensors if t.ndim and t.dtype != results[0].dtype]
        traffic += sum(2 * t.numel() * element(results[0]) for t in mixed)
    work = 0.0
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        work = float(results[0].numel() * tensors[0].shape[-1])
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.einsum":
        work = float(math.sqrt(math.prod(map(elements, (*tensors, *results)))))
    return value, cost + Cost(work, traffic, 1)


def _operands(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.ListComp | ast.GeneratorExp):
        return []  # of plain numbers: what is within has names of its own
    if isinstance(node, ast.Call):
        owner = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        return [*owner, *node.args, *(k.value for k in node.keywords)]
    found: list[ast.expr] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Tuple) and any(isinstance(e, ast.Slice) for e in child.elts):
            found += [e for e in child.elts if not isinstance(e, ast.Slice)]
        elif isinstance(child, ast.expr) and not isinstance(child, ast.Slice):
            found.append(child)
    return found


def element(tensor: torch.Tensor) -> float:
    """What one element counts: a float 1, whatever it is computed in here; an int64 2."""
    return 1.0 if tensor.is_floating_point() else tensor.element_size() / SINGLE


def elements(tensor: torch.Tensor) -> float:
    """The elements in memory: along an axis that is expanded there is one."""
    strides = zip(tensor.shape, tensor.stride(), strict=True)
    return math.prod(size for size, stride in strides if stride or not size) * element(tensor)
