"""What stands around a person's function or module and leaves its numbers what they are."""

from __future__ import annotations

import ast
import functools
import types
from typing import Any

import torch
from torch import nn

# Decorators that leave what a function gives what it is.
HARMLESS = frozenset(
    "property cached_property staticmethod classmethod override final overload abstractmethod "
    "wraps ignore unused export disable jaxtyped typechecked typechecker beartype jit script "
    "script_method compile lru_cache cache torchscript_compat deprecated "
    "can_return_tuple custom_fwd custom_bwd once_differentiable".split()
)
QUIET = frozenset({"no_grad", "inference_mode"})
PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def decorator_name(decorator: ast.expr) -> str:
    """`torch.compile(fullgraph=True)` -> `compile`."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(called).rpartition(".")[2]


def unwrapped(value: Any) -> Any:
    """The person's own function or module in what `torch.compile`, `jit.script` or a cache made."""
    if isinstance(value, torch.jit.ScriptFunction):
        return getattr(value, "_torchdynamo_inline", value)
    if isinstance(value, nn.Module):
        inner = value.module if isinstance(value, PARALLEL) else vars(value)["_modules"]
        inner = inner.get("_orig_mod", value) if isinstance(inner, dict) else inner
        return value if inner is value else unwrapped(inner)
    if isinstance(value, functools._lru_cache_wrapper):
        return value.__wrapped__
    if isinstance(value, types.FunctionType):
        inner = getattr(value, "__wrapped__", value)
        # A context manager of torch's as a decorator: which one it is, the text says.
        homes = [getattr(f, "__globals__", {}).get("__name__", "") for f in (value, inner)]
        own = homes[0].startswith("torch.") and not homes[1].startswith("torch.")
        return unwrapped(inner) if own else value
    return value


def module_of(function: Any) -> str:
    """The module that a function is from; "" of one that was made in a scope without a name."""
    return getattr(function, "__module__", None) or ""
