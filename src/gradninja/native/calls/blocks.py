"""Memory for large results, taken again once nobody holds them.

An operating system hands fresh memory out page by page, each cleared when it is first written to:
for the gradients of a large loss that takes longer than working them out. So what a call returned
is taken for the next call's results when the person has let go of it. That is seen by who refers
to it: every view of an array, and every tensor made of one, does.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import prod
from threading import Lock
from typing import Any

import numpy as np

_LARGE = 1 << 20  # bytes, from which on memory comes fresh from the operating system
_MOST = 1 << 30  # bytes that are held at all
_ALONE = 3  # who refers to a block that is in no one's hands: the list, a variable, `getrefcount`

_lock = Lock()
_blocks: list[np.ndarray[Any, Any]] = []


def empty(shape: Sequence[int], dtype: str) -> np.ndarray[Any, Any]:
    """An array whose elements are whatever lies there."""
    size = prod(shape) * np.dtype(dtype).itemsize
    if not _LARGE <= size <= _MOST // 2:
        return np.empty(shape, dtype)
    with _lock:
        found = None
        for block in _blocks:
            if block.nbytes == size and sys.getrefcount(block) == _ALONE:
                found = block
                break
        if found is None:
            found = np.empty(size, np.uint8)
        _blocks[:] = [block for block in _blocks if block is not found]
        _blocks.append(found)  # the latest last
        while sum(block.nbytes for block in _blocks) > _MOST:
            del _blocks[0]
        return found.view(dtype).reshape(shape)
