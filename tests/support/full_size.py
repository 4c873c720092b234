"""Counts the operations of a backward that move an array of the largest size."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# They touch of their first argument only what the others pick.
PICKS = ("index", "index_put_", "index_select", "gather", "scatter_", "scatter_add_", "index_add_")


class FullSize(TorchDispatchMode):
    """Counts operations that read or write a tensor of `numel` elements or more; views are free.

    What picks single elements counts by what it picks: `index_put_` into a full-size tensor is
    small, `index_put` (which copies it) is not.
    """

    def __init__(self, numel: int) -> None:
        super().__init__()
        self.numel = numel
        self.operations: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        inputs = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, Tensor)]
        outputs = [t for t in tree_leaves(result) if isinstance(t, Tensor)]
        memory = {t.untyped_storage().data_ptr() for t in inputs}
        within = bool(outputs) and all(o.untyped_storage().data_ptr() in memory for o in outputs)
        if (within and not func._schema.is_mutable) or name.startswith("empty"):
            return result
        touched = inputs[1:] if name in PICKS else inputs
        if not (name in PICKS and func._schema.is_mutable):
            touched = touched + outputs
        if any(t.numel() >= self.numel for t in touched):
            self.operations.append(name)
        return result


def largest(values: Mapping[str, Any]) -> int:
    """The elements of the largest array of a forward: what full size is."""
    return max(v.numel() for v in values.values() if isinstance(v, Tensor))


def count(backward: Callable[..., Any], values: Mapping[str, Any], numel: int) -> list[str]:
    """The full-size operations of `backward`, which takes what it wants of `values` by name."""
    names = inspect.signature(backward).parameters
    mode = FullSize(numel)
    with torch.no_grad(), mode:
        backward(**{name: values[name] for name in names})
    return mode.operations
