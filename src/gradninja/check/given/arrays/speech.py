"""Where the forms of a backward differ by dialect: how a text is read, and a person's code called.

The forms (a cache, a class, a loss beside its gradients) are the same in NumPy and in torch. A text
in torch's words is read as it stands; its functions are called with tensors where guesses and
comparisons speak in arrays.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch

from gradninja.check.given.execution import precision
from gradninja.lines.guess.unknown import Keyed, Unknown
from gradninja.lines.ndarray import (
    NUMPY,
    TORCH,
    as_arrays,
    as_tensors,
    lines_translated,
    translated,
)

OPS = ("custom_op", "triton_op", "register_autograd")  # what registers a backward


def in_torch_words(
    dialect: str, tree: ast.Module, known: Mapping[str, str], plain: frozenset[str]
) -> ast.Module:
    """A file's text in torch's words."""
    return translated(tree, known, plain) if dialect == NUMPY else copy.deepcopy(tree)


def lines_in_torch_words(
    dialect: str,
    lines: list[ast.stmt],
    known: Mapping[str, str],
    plain: frozenset[str] = frozenset(),
) -> list[ast.stmt]:
    """Some of its lines in torch's words."""
    return lines_translated(lines, known, plain) if dialect == NUMPY else copy.deepcopy(lines)


def with_arrays(dialect: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """A person's function, that takes arrays and gives some; one in torch is run in float64."""
    if dialect != TORCH:
        return real

    def call(*given: Any, **named: Any) -> Any:
        with precision(torch.float64):
            taken = {name: _tensors(value) for name, value in named.items()}
            return as_arrays(real(*map(_tensors, given), **taken))

    return call


def _tensors(value: Any) -> Any:
    """Arrays as tensors; what is not known yet is left alone, and what has it in it made later."""
    if isinstance(value, Keyed):
        return Keyed(lambda key: _tensors(value[key]))
    return value if isinstance(value, Unknown) else as_tensors(value)


def called_by_torch(tree: ast.Module) -> bool:
    """Whether a text in torch's words has what torch itself calls: a Function, an op, a module."""
    bases = [b for n in tree.body if isinstance(n, ast.ClassDef) for b in map(ast.unparse, n.bases)]
    ops = any(isinstance(n, ast.Attribute) and n.attr in OPS for n in ast.walk(tree))
    return ops or any(base.rpartition(".")[2] in ("Function", "Module") for base in bases)
