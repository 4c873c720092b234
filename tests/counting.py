"""Operations on full-size arrays, and elements moved, when a piece of PyTorch runs.

Counted as PyTorch dispatches them, so that nothing depends on how a line is written. Views are
free. What picks single elements (indexing, scatter) moves those and not the array that they lie
in, and what was broadcast by `expand` is read once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# They move the elements that they pick, and the array only where they copy it.
PICKING = frozenset(
    "gather index index_add_ index_copy_ index_fill_ index_put index_put_ index_select scatter "
    "scatter_ scatter_add scatter_add_".split()
)
# They read no element of what they are given.
CREATING = frozenset(
    "full_like new_full new_ones new_zeros ones_like rand_like randn_like zeros_like".split()
)
EMPTY = frozenset("_local_scalar_dense empty empty_like empty_strided new_empty".split())


def elements(tensor: Tensor) -> int:
    """How many elements of memory a tensor is made of: an expanded axis is one element long."""
    strided = zip(tensor.shape, tensor.stride(), strict=True)
    return math.prod(size for size, stride in strided if stride)


@dataclass(frozen=True)
class Operation:
    """`name` as PyTorch dispatches it, the elements of its largest array, and all that it moves."""

    name: str
    largest: int
    moved: int


@dataclass
class Counted:
    """What a piece of code did."""

    operations: list[Operation] = field(default_factory=list)

    def full_size(self, full: int) -> list[str]:
        """The operations on arrays of more than a quarter of `full` elements."""
        return [o.name for o in self.operations if 4 * o.largest > full]

    @property
    def traffic(self) -> int:
        """Elements read and written."""
        return sum(o.moved for o in self.operations)


class _Mode(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counted = Counted()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        made = [t for t in tree_leaves(result) if isinstance(t, Tensor)]
        if name in EMPTY or (made and all(_is_view(t, given, name) for t in made)):
            return result
        if name in PICKING:
            picked = [t for t in given if t is not given[0]]
            in_place = name.endswith("_")
            sizes = [elements(t) for t in picked + ([] if in_place else made)]
        elif name in CREATING:
            sizes = [elements(t) for t in made]
        else:
            sizes = [elements(t) for t in given + made]
        self.counted.operations.append(Operation(name, max(sizes, default=0), sum(sizes)))
        return result


def _is_view(tensor: Tensor, given: list[Tensor], name: str) -> bool:
    memory = tensor.untyped_storage().data_ptr()
    shared = any(memory == t.untyped_storage().data_ptr() for t in given)
    return shared and not name.endswith("_")


def count(run: Callable[[], object]) -> Counted:
    """Count what `run` does; gradients are not recorded meanwhile."""
    with torch.no_grad(), _Mode() as mode:
        run()
    return mode.counted
