"""Where compiled code, between its loops, has ranks work together: by a function of Python's."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gradninja.native.maps.graph import Collective

_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)


class Meeting:
    """The collectives of a compiled text.

    Attributes:
        address: of the function that is called: which collective, where what is handed in lies, and
            where to write what comes of it. It gives 0 where that went well.
        error: what a collective raised.
    """

    def __init__(self, calls: Sequence[Collective], functions: Any) -> None:
        """`functions`: has those that a text calls by `fc`, as methods."""
        self._calls, self._functions = calls, functions
        self._tensors: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}
        self._entry = _FUNCTION(self._called)  # lives as long as what may call it
        self.address: int = ctypes.cast(self._entry, ctypes.c_void_p).value or 0
        self.error: BaseException | None = None

    def _called(self, place: int, handed: int, found: int) -> int:
        try:
            self._meet(self._calls[place], *self._arrays(place, handed, found))
        except BaseException as error:  # it cannot go through compiled code
            self.error = error
            return 1
        return 0

    def _meet(self, node: Collective, handed: Tensor, found: Tensor) -> None:
        name, *told = node.call
        found.copy_(getattr(self._functions, name)(handed, *told))

    def _arrays(self, place: int, handed: int, found: int) -> tuple[Tensor, Tensor]:
        """Tensors of the memory at these addresses; it stays where it is from step to step."""
        key = (place, handed, found)
        if key not in self._tensors:
            node = self._calls[place]
            one, other = node.args[0], node
            self._tensors[key] = _at(handed, one.size, one.dtype), _at(found, other.size, one.dtype)
        return self._tensors[key]


def _at(address: int, size: int, dtype: str) -> Tensor:
    kind: torch.dtype = getattr(torch, dtype)
    memory = (ctypes.c_byte * (size * kind.itemsize)).from_address(address)
    return torch.frombuffer(memory, dtype=kind)
