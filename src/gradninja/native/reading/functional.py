"""What writes in place, as functions that give a new tensor and leave the old as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def _set(tensor: torch.Tensor, index: Any, value: Any) -> torch.Tensor:
    changed = tensor.clone(memory_format=torch.contiguous_format)
    changed[index] = value
    return changed


def _by_method(name: str) -> Callable[..., torch.Tensor]:
    def run(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        changed = tensor.clone(memory_format=torch.contiguous_format)
        found: torch.Tensor = getattr(changed, name)(*args, **kwargs)
        return found

    return run


def _into(view: str) -> Callable[..., torch.Tensor]:
    def run(tensor: torch.Tensor, value: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        changed = tensor.clone(memory_format=torch.contiguous_format)
        getattr(changed, view)(*args, **kwargs).copy_(value)
        return changed

    return run


# Views of a part: each as what writes a value to that part.
PARTS = {name: _into(name) for name in ("diagonal", "narrow", "select")}

# What has an in-place method and no plain one, or is our own.
FUNCTIONAL: dict[str, Callable[..., Any]] = {
    "set": _set,
    "copy": _by_method("copy_"),
    "zero": _by_method("zero_"),
    "fill": _by_method("fill_"),
    "put": _by_method("put_"),
}

# Methods that are read where a tensor is made: `torch.zeros_like(x).put_(...)`.
FRESH = {"scatter_add_", "scatter_", "index_add_", "index_put_", "put_", "index_copy_", "fill_"}
