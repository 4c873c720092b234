"""Who shares memory with whom."""

from __future__ import annotations

import torch

from gradninja.lines.program import NAME, STATIC, TUPLE, Expr

MOST_COMPARED = 1_000_000  # elements of a memory in which two views are held against each other


def same_place(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are the same elements in the same order."""
    return one is other or (
        one.shape == other.shape
        and one.stride() == other.stride()
        and one.data_ptr() == other.data_ptr()
        and one.numel() > 0
        and one.dtype == other.dtype
    )


def overlap(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors share an element of memory."""
    mine, others = one.untyped_storage(), other.untyped_storage()
    if mine.data_ptr() != others.data_ptr() or not one.numel() or not other.numel():
        return False
    size = mine.nbytes() // one.element_size()
    if size > MOST_COMPARED or one.dtype != other.dtype:
        return True
    taken = torch.zeros(size, dtype=torch.bool)
    taken[_places(one)] = True
    return bool(taken[_places(other)].any())


def _places(tensor: torch.Tensor) -> torch.Tensor:
    """The places in its memory that a tensor's elements lie at."""
    found = torch.tensor(tensor.storage_offset())
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        found = found.unsqueeze(-1) + torch.arange(size) * stride
    return found.reshape(-1)


def is_view(expr: Expr) -> bool:
    """Whether an operation hands on the memory of its first operand, all or a part of it."""
    if expr.op in (NAME, STATIC, TUPLE) or not expr.args or not expr.is_tensor:
        return False
    base = expr.args[0].value
    return (
        isinstance(base, torch.Tensor)
        and base.untyped_storage().data_ptr() == expr.value.untyped_storage().data_ptr()
    )
