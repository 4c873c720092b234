"""Calls of the matrix product, which is compiled once for all: by its address.

Compiled into each caller it would take seconds of each compilation, and be copied to each call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from gradninja.native.cache import Say, compiled
from gradninja.native.kernels.tile import intrinsic

_TEXT = """\
from numba import carray, cfunc, types

from gradninja.native.kernels.gemm import gemm

n, number = types.intp, types.{dtype}
array = types.CPointer(number)


@cfunc(types.void(n, n, n, n, number, array, n, n, array, n, n, number, array, n, n), cache=True, )
def product(team, m, n, k, alpha, A, ars, acs, B, brs, bcs, beta, C, crs, ccs):
    a, b, c = carray(A, 2**40), carray(B, 2**40), carray(C, 2**40)  # as long as can be
    gemm(m, n, k, alpha, a, ars, acs, b, brs, bcs, beta, c, crs, ccs)
"""


_HELD: dict[str, Any] = {}  # machine code lives as long as what made it


def address_of(dtype: str, say: Say | None = None) -> int:
    """Where the compiled `gemm` for a type begins, with pointers in place of arrays.

    Its first argument is for those who share products (`threads.py`).
    """
    if dtype not in _HELD:
        _HELD[dtype] = compiled(
            _TEXT.format(dtype=dtype), "product", (), say, f"matrix products in {dtype}"
        )
    address: int = _HELD[dtype].address
    return address


_CELLS: dict[str, Any] = {}


def address_of_gemm(dtype: str, say: Say | None = None) -> int:
    """What `gemm` takes: where the address of the compiled one stands."""
    if dtype not in _CELLS:
        _CELLS[dtype] = np.array([address_of(dtype, say)])
    place: int = _CELLS[dtype].ctypes.data
    return place


@intrinsic
def gemm(typingctx: Any, at: Any, m: Any, n: Any, k: Any, alpha: Any,
         A: Any, a: Any, ars: Any, acs: Any, B: Any, b: Any, brs: Any, bcs: Any,
         beta: Any, C: Any, c: Any, crs: Any, ccs: Any) -> Any:  # fmt: skip
    """C = alpha A @ B + beta C by the `gemm` whose address stands at an address, and which is told
    where that is; the matrices begin at a, b, c.
    """
    size, scalar = types.intp, C.dtype
    signature = types.void(size, size, size, size, scalar, A, size, size, size, B, size, size, size,
                           scalar, C, size, size, size)  # fmt: skip

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at, m, n, k, alpha, A, a, ars, acs, B, b, brs, bcs, beta, C, c, crs, ccs = args
        pointers = []
        for kind, array, start in ((signature.args[5], A, a), (signature.args[9], B, b),
                                   (signature.args[14], C, c)):  # fmt: skip
            data = context.make_array(kind)(context, builder, array).data
            pointers.append(builder.gep(data, [start]))
        one, two, three = pointers
        given = [at, m, n, k, alpha, one, ars, acs, two, brs, bcs, beta, three, crs, ccs]
        function = ir.FunctionType(ir.VoidType(), [value.type for value in given])
        cell = builder.inttoptr(at, function.as_pointer().as_pointer())
        builder.call(builder.load(cell), given)
        return context.get_dummy_value()

    return signature, codegen
