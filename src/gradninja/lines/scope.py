"""Text, trees and functions run in a scope, a dict of names: nowhere else is Python run."""

from __future__ import annotations

import ast
import copy
import linecache
import math
import random
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from types import CodeType
from typing import Any

import numpy as np
import torch

OF_FILE, OF_INPUTS = 1, 2  # seeds of what a file draws as it is run, and in its `inputs()`

# What every text may name without importing it.
LIBRARY: dict[str, Any] = {"torch": torch, "F": torch.nn.functional, "math": math, "np": np}


def run(lines: Iterable[object], scope: dict[str, Any], called: str = "<lines>") -> None:
    """Run lines, texts or what has one, in a scope, which then holds what they bind.

    Args:
        called: the name of the text in a traceback.
    """
    exec(_compiled("\n".join(map(str, lines)), called, "exec"), scope)


def run_tree(
    statements: Iterable[ast.stmt], scope: dict[str, Any], called: str = "<lines>"
) -> None:
    """Run statements that are no text, or that keep their places in the text that they are of."""
    run_code(compiled_tree(statements, called), scope)


def compiled_tree(statements: Iterable[ast.stmt], called: str = "<lines>") -> CodeType:
    """What `run_code` takes, of statements that are run many times."""
    module = ast.fix_missing_locations(ast.Module(list(statements), []))
    return compile(module, called, "exec")


def run_code(code: CodeType, scope: dict[str, Any]) -> None:
    """Run what is compiled already."""
    exec(code, scope)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What draws random numbers draws the same ones each time: a report does not depend on them.

    Of Python, NumPy and torch, unless who draws has a seed of his own; afterwards they go on as
    before. Text that makes values and text that makes others take different seeds.
    """
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def bare(definition: ast.FunctionDef) -> ast.FunctionDef:
    """A function's text without decorators and annotations, which may name anything; same body."""
    found = ast.FunctionDef(**dict(ast.iter_fields(definition)))
    ast.copy_location(found, definition)
    found.args = copy.deepcopy(definition.args)
    found.decorator_list, found.returns = [], None
    for part in ast.walk(found.args):
        if isinstance(part, ast.arg):
            part.annotation = None
    return found


def function_of(
    definition: ast.FunctionDef, scope: dict[str, Any], called: str = "<lines>"
) -> Callable[..., Any]:
    """The function that a definition makes in a scope, bare; the scope holds it, too."""
    run_tree([bare(definition)], scope, called)
    made: Callable[..., Any] = scope[definition.name]
    return made


def with_text(text: str, name: str, scope: dict[str, Any], called: str) -> types.FunctionType:
    """The function of that name that a text makes in a scope, whose text can be found again."""
    linecache.cache[called] = (len(text), None, text.splitlines(keepends=True), called)
    run([text], scope, called)
    made: types.FunctionType = scope[name]
    return made


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

    A gradient that PyTorch gives sparse, `nn.Embedding(sparse=True)`, is the dense one that it is.
    Where PyTorch is handed cotangents it imports SymPy first, to compare sizes.

    Raises:
        RuntimeError: autograd's, where a shape or dtype does not fit, or nothing leads back.
    """
    number = _Handed.apply(len(outputs), *outputs, *cotangents)  # type: ignore[no-untyped-call]
    found = torch.autograd.grad(number, leaves, allow_unused=True)
    return tuple(g if g is None or g.layout == torch.strided else g.to_dense() for g in found)


@lru_cache(maxsize=4096)  # the same lines run on several draws, and a rule's text at many places
def _compiled(text: str, called: str, mode: str) -> CodeType:
    return compile(text, called, mode)
