"""Arithmetic of ints that goes round where it overflows, as PyTorch's does.

Numba tells the compiler that ints do not overflow, which may then take `i * i > 0` for true.
"""

from __future__ import annotations

from typing import Any

from gradninja.native.kernels.tile import intrinsic


def _wrapping(operation: str) -> Any:
    @intrinsic
    def compiled(typingctx: Any, a: Any, b: Any) -> Any:
        """a and b of one int type."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, operation)(*args)

        return a(a, a), codegen

    return compiled


int_add, int_sub, int_mul = (_wrapping(name) for name in ("add", "sub", "mul"))
