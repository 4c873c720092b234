"""Sums and extremes whose order is free, so that over elements side by side they are vectors."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
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


@intrinsic
def most(typingctx: Any, total: Any, value: Any) -> Any:
    """The larger float; nan where one is."""
    return total(total, total), _extreme("llvm.maximum")


@intrinsic
def least(typingctx: Any, total: Any, value: Any) -> Any:
    """The smaller float; nan where one is."""
    return total(total, total), _extreme("llvm.minimum")


def _extreme(name: str) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        function = ir.FunctionType(kind, [kind, kind])
        return builder.call(builder.module.declare_intrinsic(name, [kind], function), args)

    return codegen
