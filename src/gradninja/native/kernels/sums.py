"""Additions whose order is free, so that a sum over elements that lie side by side is vectors."""

from __future__ import annotations

from typing import Any

from numba import types

from gradninja.native.kernels.tile import intrinsic


@intrinsic
def plus(typingctx: Any, total: Any, value: Any) -> Any:
    """total + value, where the compiler may add up in another order.

    Only this addition may move, not those that the value is made of, as with Numba's `fastmath`.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if isinstance(total, types.Integer):
            return builder.add(*args)
        return builder.fadd(*args, flags=("reassoc", "contract"))

    return total(total, total), codegen
