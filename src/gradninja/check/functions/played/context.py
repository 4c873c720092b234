"""A `ctx` of ours, and its attributes as names."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import torch

from gradninja.check.given.execution import copy_of

HANDED = frozenset({"needs_input_grad", "saved_tensors", "saved_variables"})


class Ctx:
    """What a Function's methods hand on to each other."""

    def __init__(self, needs: Sequence[bool]) -> None:
        self.needs_input_grad = tuple(needs)
        self.saved_tensors: tuple[Any, ...] = ()

    @property
    def saved_variables(self) -> tuple[Any, ...]:
        return self.saved_tensors

    def save_for_backward(self, *values: Any) -> None:
        self.saved_tensors = values

    def save_for_forward(self, *values: Any) -> None:
        """Of forward mode, which is not judged."""

    def mark_dirty(self, *values: Any) -> None:
        """Autograd's own affair."""

    def mark_non_differentiable(self, *values: Any) -> None:
        """Autograd's own affair."""

    def set_materialize_grads(self, value: bool) -> None:
        """Autograd's own affair: here every output has a gradient."""

    def copy(self) -> Ctx:
        """One that shares no memory."""
        found = Ctx(self.needs_input_grad)
        found.__dict__.update({name: copy_of(value) for name, value in vars(self).items()})
        return found

    def values(self, name: str) -> dict[str, Any]:
        """What is kept on it by what it is called in a text: `ctx.scale`."""
        return {f"{name}.{k}": v for k, v in vars(self).items() if k not in HANDED}

    def told(self, name: str) -> frozenset[str]:
        """Those of its values that an edit may put in another's place: tensors and numbers."""
        kinds = torch.Tensor | int | float
        return frozenset(k for k, v in self.values(name).items() if isinstance(v, kinds))


class Dotted(ast.NodeTransformer):
    """`ctx.scale` as one name, which an edit may put in another's place.

    `bound`: attributes that the method itself sets, which stay what they are.
    """

    def __init__(self, ctx: str, bound: frozenset[str]) -> None:
        self.ctx, self.bound = ctx, bound

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == self.ctx:
            if node.attr not in HANDED | self.bound:
                return ast.copy_location(ast.Name(f"{self.ctx}.{node.attr}", node.ctx), node)
            return node
        self.generic_visit(node)
        return node
