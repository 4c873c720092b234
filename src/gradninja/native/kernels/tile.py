"""One tile of a matrix product, kept in vector registers: the inner loop of `gemm`.

A Numba intrinsic, so that it is vectors and fused multiply-adds whatever LLVM's own vectoriser
would have made of loops. The scheme is that of Goto and van de Geijn, "Anatomy of High-Performance
Matrix Multiplication", ACM TOMS 34 (2008), section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, cast

import llvmlite.binding as llvm
from llvmlite import ir
from numba import extending, types

_INDEX = ir.IntType(32)


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Numba's own, of the type that its callers see: without the typing context."""
    return cast(Callable[..., Any], extending.intrinsic(function))


def vector_bytes() -> int:
    """The width in bytes of this processor's vector registers."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx") else 16


VECTOR_BYTES = vector_bytes()


@intrinsic
def pointer(typingctx: Any, array: Any) -> Any:
    """Where an array's elements begin. It does not keep them: see `hold`. But neither does it cost
    two atomic counts each time that it is handed on, as an array does.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(array)(context, builder, args[0]).data

    kind: Any = types.CPointer  # untyped
    return kind(array.dtype)(array), codegen


@intrinsic
def hold(typingctx: Any, array: Any) -> Any:
    """Keep an array up to here, for the sake of pointers into it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_dummy_value()

    return types.void(array), codegen


@intrinsic
def lanes(typingctx: Any, like: Any) -> Any:
    """How many elements of the dtype (of an array, or a pointer's) a vector register holds."""
    count = VECTOR_BYTES * 8 // like.dtype.bitwidth

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.intp, count)

    return types.intp(like), codegen


@intrinsic
def wide_vectors(typingctx: Any) -> Any:
    """Have LLVM use vectors as wide as the registers in the loops of the function that calls this.

    Left to itself it takes half of what AVX-512 has, lest the clock slow down; beside matrix
    products, which use all of it, nothing is gained by that.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # llvmlite knows no attributes with values; its set of them is printed as it is.
        set.add(builder.function.attributes, f'"prefer-vector-width"="{VECTOR_BYTES * 8}"')
        return context.get_dummy_value()

    return types.void(), codegen


def make_tile(rows: int, vectors: int, low: bool, narrow: bool) -> Callable[..., None]:
    """An intrinsic for C = alpha A @ B + beta C, of shapes (rows, k), (k, width), (rows, width).

    tile(k, alpha, A, a, ars, acs, B, b, brs, beta, C, c, crs, live, width): A, B and C are
    pointers to floats of one kind; the matrices begin a, b and c elements after them; `*rs` and
    `*cs` are the strides of their rows and columns in elements. The columns of B and C lie side
    by side. `live` and `width` tell how many rows and columns there are: in a `low` tile 1 to
    `rows`, in a `narrow` one some of the last vector, else exactly so many. Each element is summed
    over k in order, by fused multiply-adds where the processor has them, so it does not depend on
    where it lies in a tile. Where beta is 0, C is not read.
    """

    @intrinsic
    def tile(typingctx: Any, k: Any, alpha: Any, A: Any, a: Any, ars: Any, acs: Any,
             B: Any, b: Any, brs: Any, beta: Any, C: Any, c: Any, crs: Any,
             live: Any, width: Any) -> Any:  # fmt: skip
        n, scalar = types.intp, A.dtype
        signature = types.void(n, scalar, A, n, n, n, B, n, n, scalar, C, n, n, n, n)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _write_tile(context, builder, signature, args, rows, vectors, low, narrow)
            return context.get_dummy_value()

        return signature, codegen

    return tile


def _write_tile(
    context: Any,
    builder: Any,
    signature: Any,
    args: Any,
    rows: int,
    vectors: int,
    low: bool,
    narrow: bool,
) -> None:
    k, alpha, A, a, ars, acs, B, b, brs, beta, C, c, crs, live, width = args
    dtype = signature.args[2].dtype
    lanes = VECTOR_BYTES * 8 // dtype.bitwidth
    build = Vectors(builder, context.get_value_type(dtype), lanes, dtype.bitwidth // 8)
    left, right, out = (builder.gep(*at) for at in ((A, [a]), (B, [b]), (C, [c])))
    number = k.type
    masks: list[Any] = [None] * vectors
    if narrow:
        masks[-1] = build.mask(width, (vectors - 1) * lanes)
    row_at = [number(row) for row in range(rows)]
    if low:  # rows that are not there repeat the last one, and are not written
        last = builder.sub(live, number(1))
        row_at = [builder.select(builder.icmp_signed("<", r, last), r, last) for r in row_at]
    starts = [builder.mul(ars, row) for row in row_at]
    targets = [
        [builder.gep(out, [builder.add(builder.mul(crs, row), number(v * lanes))])
         for v in range(vectors)]
        for row in row_at
    ]  # fmt: skip
    for target in (target for row in targets for target in row):
        build.prefetch(target)

    before = builder.block
    loop, body, done = (builder.append_basic_block(f"tile.{n}") for n in ("loop", "k", "done"))
    builder.branch(loop)
    builder.position_at_end(loop)
    index = builder.phi(number)
    left_at, right_at = builder.phi(left.type), builder.phi(right.type)
    sums = [[builder.phi(build.vector) for _ in range(vectors)] for _ in range(rows)]
    builder.cbranch(builder.icmp_signed("<", index, k), body, done)

    builder.position_at_end(body)
    columns = [
        build.load(builder.gep(right_at, [number(v * lanes)]), masks[v]) for v in range(vectors)
    ]
    for row in range(rows):
        value = build.splat(builder.load(builder.gep(left_at, [starts[row]])))
        for v in range(vectors):
            total = sums[row][v]
            total.add_incoming(build.zeros, before)
            total.add_incoming(build.fma(value, columns[v], total), body)
    for phi, first, later in (
        (index, number(0), builder.add(index, number(1))),
        (left_at, left, builder.gep(left_at, [acs])),
        (right_at, right, builder.gep(right_at, [brs])),
    ):
        phi.add_incoming(first, before)
        phi.add_incoming(later, body)
    builder.branch(loop)

    builder.position_at_end(done)
    alphas, betas = build.splat(alpha), build.splat(beta)

    def finish(added: bool) -> None:
        fresh = [[builder.fmul(alphas, total) for total in row] for row in sums]
        # All is read before any is written: a processor takes a masked write for one of the whole
        # vector, and has the next row, where that begins within it, wait to be read.
        if added:
            for found, row in zip(fresh, targets, strict=True):
                for v, target in enumerate(row):
                    found[v] = build.fma(betas, build.load(target, masks[v]), found[v])
        for place, found in enumerate(fresh):
            there = builder.icmp_signed("<", number(place), live)
            with builder.if_then(there) if low else nullcontext():
                for v, target in enumerate(targets[place]):
                    build.store(found[v], target, masks[v])

    with builder.if_else(builder.fcmp_unordered("!=", beta, beta.type(0.0))) as (more, alone):
        with more:
            finish(True)
        with alone:
            finish(False)


@intrinsic
def side(typingctx: Any, like: Any) -> Any:
    """How many rows and columns `transpose` takes of this dtype (an array's, or a pointer's)."""
    count = _side(like.dtype)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.intp, count)

    return types.intp(like), codegen


@intrinsic
def transpose(typingctx: Any, X: Any, x: Any, rs: Any, rows: Any, columns: Any,
              out: Any, o: Any, ors: Any) -> Any:  # fmt: skip
    """Copy a part of a matrix, turned around.

    The `rows` x `columns` elements (each 1 to `side`) that begin at X[x], in rows `rs` apart,
    become columns; out has `side` rows of `side` elements from out[o] on, `ors` apart. All of
    them are written: with numbers of no meaning where X has none.
    """
    n = types.intp
    return types.void(X, n, n, n, n, out, n, n), _write_transpose


@intrinsic
def copy(typingctx: Any, X: Any, x: Any, width: Any, out: Any, o: Any) -> Any:
    """Copy `width` elements (1 to `side`) from X[x] on to out[o] on; `side` are written, 0 last."""
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        X, x, width, out, o = args
        dtype = signature.args[0].dtype
        build = Vectors(builder, context.get_value_type(dtype), _side(dtype), dtype.bitwidth // 8)
        source, target = builder.gep(X, [x]), builder.gep(out, [o])
        build.store(build.load(source, build.mask(width, 0)), target, None)
        return context.get_dummy_value()

    return types.void(X, n, n, out, n), codegen


def _side(dtype: Any) -> int:
    return min(8, VECTOR_BYTES * 8 // int(dtype.bitwidth))


def _write_transpose(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    X, x, rs, rows, columns, out, o, ors = args
    dtype = signature.args[0].dtype
    side, number = _side(dtype), x.type
    lane = min(side, 128 // dtype.bitwidth)  # what shuffles within 128 bits take: they are cheap
    build = Vectors(builder, context.get_value_type(dtype), lane, dtype.bitwidth // 8)
    source, target = builder.gep(X, [x]), builder.gep(out, [o])

    def turn(at: list[Any], masks: list[Any]) -> None:
        for group, mask in enumerate(masks):
            places = [builder.gep(source, [builder.add(a, number(group * lane))]) for a in at]
            parts = [build.load(place, mask) for place in places]
            vectors = [build.joined(parts[row::lane]) for row in range(lane)]
            for _ in range(lane.bit_length() - 1):
                half = lane // 2
                pairs = zip(vectors[:half], vectors[half:], strict=True)
                vectors = [zipped for pair in pairs for zipped in build.zipped(*pair, side)]
            for row, vector in enumerate(vectors, group * lane):
                place = builder.gep(target, [builder.mul(ors, number(row))])
                build.store(vector, place, None)

    whole = builder.icmp_signed("==", builder.add(rows, columns), number(2 * side))
    with builder.if_else(whole) as (inside, edge):
        with inside:
            turn([builder.mul(rs, number(row)) for row in range(side)], [None] * (side // lane))
        with edge:
            last = builder.sub(rows, number(1))
            there = [builder.icmp_signed("<", number(row), last) for row in range(side)]
            at = [builder.select(yes, number(row), last) for row, yes in enumerate(there)]
            masks = [build.mask(columns, group) for group in range(0, side, lane)]
            turn([builder.mul(rs, row) for row in at], masks)
    return context.get_dummy_value()


class Vectors:
    """Instructions on vectors of `lanes` scalars of `size` bytes, as llvmlite has them not."""

    def __init__(self, builder: Any, scalar: Any, lanes: int, size: int) -> None:
        self.builder, self.lanes, self.size = builder, lanes, size
        self.vector = ir.VectorType(scalar, lanes)
        self.pointer = ir.PointerType(self.vector)
        self.flags = ir.VectorType(ir.IntType(1), lanes)
        self.kind = f"v{lanes}f{size * 8}"
        self.zeros = ir.Constant(self.vector, None)

    def splat(self, value: Any) -> Any:
        """A vector of equal elements."""
        nothing = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        first = self.builder.insert_element(nothing, value, _INDEX(0))
        return self.shuffle(first, nothing, [0] * self.lanes)

    def shuffle(self, a: Any, b: Any, lanes: list[int]) -> Any:
        """The elements `lanes` of a's and b's, as if b came after a."""
        order = ir.Constant(ir.VectorType(_INDEX, len(lanes)), lanes)
        return self.builder.shuffle_vector(a, b, order)

    def joined(self, parts: list[Any]) -> Any:
        """Vectors one after the other, as many as a power of 2, in one."""
        while len(parts) > 1:
            size = parts[0].type.count
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [self.shuffle(*pair, list(range(2 * size))) for pair in pairs]
        return parts[0]

    def zipped(self, a: Any, b: Any, size: int) -> list[Any]:
        """The elements of a and b, of `size` each, by turns: the first and the second halves of
        each stretch of `lanes`.
        """
        half = self.lanes // 2
        starts = [
            [i for lane in range(start, size, self.lanes) for i in range(lane, lane + half)]
            for start in (0, half)
        ]
        return [self.shuffle(a, b, [j for i in some for j in (i, size + i)]) for some in starts]

    def mask(self, width: Any, start: int) -> Any:
        """Which of a vector's lanes, the first being column `start`, are among `width` columns."""
        kind = ir.VectorType(width.type, self.lanes)
        columns = ir.Constant(kind, [start + lane for lane in range(self.lanes)])
        return self.builder.icmp_signed("<", columns, self.splat(width))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a * b + c, fused where the processor can."""
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        return self._call(f"llvm.fmuladd.{self.kind}", kind, [a, b, c])

    def prefetch(self, pointer: Any) -> None:
        """Have the place in the caches by the time that it is written."""
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _INDEX, _INDEX, _INDEX])
        self._call("llvm.prefetch.p0", kind, [pointer, _INDEX(1), _INDEX(3), _INDEX(1)])

    def load(self, pointer: Any, mask: Any) -> Any:
        """The vector at a pointer to its first element; 0 in the lanes outside of the mask."""
        pointer = self.builder.bitcast(pointer, self.pointer)
        if mask is None:
            return self.builder.load(pointer, align=self.size, typ=self.vector)
        kind = ir.FunctionType(self.vector, [self.pointer, _INDEX, self.flags, self.vector])
        args = [pointer, _INDEX(self.size), mask, self.zeros]
        return self._call(f"llvm.masked.load.{self.kind}.p0", kind, args)

    def store(self, value: Any, pointer: Any, mask: Any) -> None:
        """Write a vector's lanes, those in the mask, at a pointer to its first element."""
        pointer = self.builder.bitcast(pointer, ir.PointerType(value.type))
        if mask is None:
            self.builder.store(value, pointer, align=self.size)
            return
        kind = ir.FunctionType(ir.VoidType(), [self.vector, self.pointer, _INDEX, self.flags])
        args = [value, pointer, _INDEX(self.size), mask]
        self._call(f"llvm.masked.store.{self.kind}.p0", kind, args)

    def _call(self, name: str, kind: Any, args: list[Any]) -> Any:
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(module, kind, name)
        return self.builder.call(function, args)
