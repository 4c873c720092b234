"""Large matrix products within compiled code, shared by threads: the same result bit for bit.

A product is cut into parts by the rows or columns of C, and each element of C is summed as it
would be alone. Who is free takes the next part, the thread that needs the product as well as the
helpers; so a helper that the system has no processor for holds up nothing but the part it has.
Parts are taken by compare-and-swap on a word that also counts the products: none is taken twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from gradninja.native.cache import Say, compiled
from gradninja.native.kernels.gemm_calls import address_of
from gradninja.native.kernels.tile import intrinsic

# Places in a team's block of int64: what many threads write has cache lines of its own.
_SHARED, _ALONE, _THREADS, _WORD, _DONE, _HERE, _STOP, _JOB = 0, 1, 2, 8, 16, 24, 32, 40
_SIZE = 64
_PATIENCE = 1000  # looks, some microseconds, before a thread that waits lets others run

_TEXT = f"""\
import numpy as np
from numba import carray, cfunc, njit, types

from gradninja.native.kernels.threads import add, multiply, peek, poke, swap

n, number = types.intp, types.{{dtype}}
let_others = types.ExternalFunction("sched_yield", types.int32())
numbers = np.{{dtype}}


@njit
def take(team):
    # Work out the next part, if there is one left; False if not.
    word = peek(team, {_WORD})
    part, parts = word & 0xFFFF, word >> 16 & 0xFFFF
    if part >= parts:
        return False
    if not swap(team, {_WORD}, word, word + 1):
        return True
    job = team[{_JOB}:]
    m, n, k, A, ars, acs = job[0], job[1], job[2], job[3], job[4], job[5]
    B, brs, bcs, C, crs, ccs = job[6], job[7], job[8], job[9], job[10], job[11]
    high, wide, scalars = job[12], job[13], job[14:16].view(np.float64)
    i, j = (part * high, 0) if high < m else (0, part * wide)
    size = {{size}}
    multiply(
        team[{_ALONE}], min(high, m - i), min(wide, n - j), k, numbers(scalars[0]),
        A + i * ars * size, ars, acs, B + j * bcs * size, brs, bcs, numbers(scalars[1]),
        C + (i * crs + j * ccs) * size, crs, ccs,
    )
    add(team, {_DONE}, 1)
    return True


@cfunc(types.void(types.CPointer(types.int64), n, n, n, number, n, n, n, n, n, n, number, n, n, n),
       cache=True, )
def shared(at, m, n, k, alpha, A, ars, acs, B, brs, bcs, beta, C, crs, ccs):
    team = carray(at, {_SIZE})
    if m * n * k < {{worth}}:
        multiply(team[{_ALONE}], m, n, k, alpha, A, ars, acs, B, brs, bcs, beta, C, crs, ccs)
        return
    high, wide, most = m, n, 2 * team[{_THREADS}]
    if n >= m:
        wide = (-(-n // most) + 31) // 32 * 32
    else:
        high = (-(-m // most) + 31) // 32 * 32
    parts = -(-m // high) * -(-n // wide)
    job = team[{_JOB}:]
    job[0], job[1], job[2] = m, n, k
    job[3], job[4], job[5], job[6], job[7], job[8] = A, ars, acs, B, brs, bcs
    job[9], job[10], job[11], job[12], job[13] = C, crs, ccs, high, wide
    scalars = job[14:16].view(np.float64)
    scalars[0], scalars[1] = alpha, beta
    poke(team, {_DONE}, 0)
    count = peek(team, {_WORD}) >> 32
    poke(team, {_WORD}, (count + 1 & 0x7FFFFFFF) << 32 | parts << 16)
    while take(team):
        pass
    turns = 0
    while peek(team, {_DONE}) < parts:
        turns += 1
        if turns % {_PATIENCE} == 0:
            let_others()


@njit(cache=True, nogil=True)
def serve(team):
    add(team, {_HERE}, 1)
    turns = 0
    while peek(team, {_STOP}) == 0:
        turns = 0 if take(team) else turns + 1
        if turns % {_PATIENCE} == {_PATIENCE} - 1:
            let_others()
"""
_WORTH = 2**19  # multiplications: below, some microseconds, sharing gains nothing


class Team:
    """Threads that share the products of one dtype.

    Attributes:
        address: what compiled code calls as its product.
    """

    def __init__(self, dtype: str, threads: int, say: Say | None = None) -> None:
        text = _TEXT.format(dtype=dtype, size=np.dtype(dtype).itemsize, worth=_WORTH)
        memory = np.zeros(_SIZE + 8, np.int64)
        start = -memory.ctypes.data % 64 // 8
        self.dtype = dtype
        self._block = memory[start : start + _SIZE]
        self._helpers = threads - 1
        self._serve = compiled(text, "serve", [self._block], say, "the sharing of products")
        self._shared = compiled(text, "shared", ())  # machine code lives as long as what made it
        self._block[_SHARED] = self._shared.address
        self._block[_ALONE] = address_of(dtype, say)
        self._block[_THREADS] = threads
        self.address: int = self._block.ctypes.data

    @property
    def shared(self) -> bool:
        """Whether a product was large enough to be shared when the team was last at work."""
        return bool(self._block[_WORD])

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have the helpers at hand; they wait for products, and each holds a processor."""
        self._block[_HERE] = self._block[_STOP] = self._block[_WORD] = 0
        helpers = [
            threading.Thread(target=self._serve, args=[self._block], daemon=True)
            for _ in range(self._helpers)
        ]
        try:
            for helper in helpers:
                helper.start()
            # Compiled code does not let go of the interpreter, which they need to begin.
            while self._block[_HERE] < len(helpers) and all(h.is_alive() for h in helpers):
                time.sleep(0)
            yield
        finally:
            self._block[_STOP] = 1
            for helper in helpers:
                if helper.ident is not None:
                    helper.join()


@intrinsic
def multiply(typingctx: Any, function: Any, m: Any, n: Any, k: Any, alpha: Any,
             A: Any, ars: Any, acs: Any, B: Any, brs: Any, bcs: Any,
             beta: Any, C: Any, crs: Any, ccs: Any) -> Any:  # fmt: skip
    """The product at an address, of matrices at addresses."""
    size = types.intp
    signature = types.void(size, size, size, size, alpha, size, size, size, size, size, size,
                           alpha, size, size, size)  # fmt: skip

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at, *given = args
        given = [at.type(0), *given]  # alone, it asks for no team
        function = ir.FunctionType(ir.VoidType(), [value.type for value in given])
        builder.call(builder.inttoptr(at, function.as_pointer()), given)
        return context.get_dummy_value()

    return signature, codegen


def _place(context: Any, builder: Any, kind: Any, args: Any) -> Any:
    array = context.make_array(kind)(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


@intrinsic
def peek(typingctx: Any, team: Any, place: Any) -> Any:
    """What is there, and all that was written before it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = _place(context, builder, signature.args[0], args)
        return builder.load_atomic(at, "seq_cst", 8)

    return types.int64(team, types.intp), codegen


@intrinsic
def poke(typingctx: Any, team: Any, place: Any, value: Any) -> Any:
    """Write after all that was written before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = _place(context, builder, signature.args[0], args)
        builder.store_atomic(args[2], at, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(team, types.intp, types.int64), codegen


@intrinsic
def swap(typingctx: Any, team: Any, place: Any, old: Any, new: Any) -> Any:
    """Write the new where the old is; whether it was."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = _place(context, builder, signature.args[0], args)
        found = builder.cmpxchg(at, args[2], args[3], "seq_cst", "seq_cst")
        return builder.extract_value(found, 1)

    return types.boolean(team, types.intp, types.int64, types.int64), codegen


@intrinsic
def add(typingctx: Any, team: Any, place: Any, value: Any) -> Any:
    """Add to what is there."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = _place(context, builder, signature.args[0], args)
        return builder.atomic_rmw("add", at, args[2], "seq_cst")

    return types.int64(team, types.intp, types.int64), codegen
