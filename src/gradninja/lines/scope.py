"""Lines run in a scope, a dict of names: the one place that derive and algebra have for it."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from types import CodeType
from typing import Any

import numpy as np
import torch

# What every text may name without importing it.
LIBRARY: dict[str, Any] = {"torch": torch, "F": torch.nn.functional, "math": math, "np": np}


def run(lines: Iterable[object], scope: dict[str, Any], called: str = "<lines>") -> None:
    """Run lines, texts or what has one, in a scope, which then holds what they bind.

    Args:
        called: the name of the text in a traceback.
    """
    exec(_compiled("\n".join(map(str, lines)), called, "exec"), scope)


def value_of(expression: ast.expr | str, scope: dict[str, Any]) -> Any:
    """The value of an expression in a scope."""
    text = expression if isinstance(expression, str) else ast.unparse(expression)
    return eval(_compiled(text, "<expression>", "eval"), scope)


class _Handed(torch.autograd.Function):
    """A number of several outputs, whose gradient with respect to each is what is handed in."""

    @staticmethod
    def forward(ctx: Any, outputs: int, *tensors: torch.Tensor) -> torch.Tensor:
        ctx.cotangents = tensors[outputs:]
        return torch.zeros((), device=tensors[0].device)

    @staticmethod
    def backward(ctx: Any, *_: torch.Tensor) -> Any:
        return None, *ctx.cotangents, *(None for _ in ctx.cotangents)


def vjp(
    outputs: Sequence[torch.Tensor],
    leaves: Sequence[torch.Tensor],
    cotangents: Sequence[torch.Tensor],
) -> tuple[torch.Tensor | None, ...]:
    """`torch.autograd.grad(outputs, leaves, cotangents, allow_unused=True)`, a second sooner.

    Where PyTorch is handed cotangents it imports SymPy first, to compare sizes.

    Raises:
        RuntimeError: autograd's, where a shape or dtype does not fit, or nothing leads back.
    """
    number = _Handed.apply(len(outputs), *outputs, *cotangents)  # type: ignore[no-untyped-call]
    return torch.autograd.grad(number, leaves, allow_unused=True)


@lru_cache(maxsize=4096)  # the same lines run on several draws, and a rule's text at many places
def _compiled(text: str, called: str, mode: str) -> CodeType:
    return compile(text, called, mode)
