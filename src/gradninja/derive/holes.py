"""Calls that a row of the rule book does not cover, and the words for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from gradninja.errors import DeriveError
from gradninja.rules import Site

# What a row that does not cover a call may raise.
HOLES = (
    RuntimeError,
    ArithmeticError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    NameError,
    AssertionError,
)
FULL = "give `inputs` that are not empty"


def empty_of(values: Mapping[str, Any]) -> str:
    """The name of a tensor without elements; empty where there is none."""
    return next((n for n, v in values.items() if isinstance(v, torch.Tensor) and not v.numel()), "")


def uncovered(site: Site, error: Exception) -> DeriveError:
    """A row raised this at a place: the hole is told, and asked to be reported.

    Operations on tensors without elements are not asked for: PyTorch's have rules of their own.
    """
    given = {str(expr): expr.value for expr in site.bound.values()}
    empty = empty_of({**given, "the result": site.y})
    if empty:
        return DeriveError(
            f"there is no rule for `{site.rule.name}` where `{empty}` has no elements",
            spot=site.expr.spot,
            hint=FULL,
        )
    return DeriveError(
        f"the rule for `{site.rule.name}` does not cover this call ({error})",
        spot=site.expr.spot,
        hint="write the step with other operations, and please report the line",
    )
