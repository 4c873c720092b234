"""exp, expm1, log, tanh and sigmoid for compiled loops, within 2 units in the last place.

They are arithmetic alone, with no branch and no call, so that LLVM can make vectors of a loop
that uses them; the C library's would be called for one element after the other. Each is defined
for float32 and float64, is right for 0, -0, inf, nan and denormals, and is what Numba compiles
where compiled code names it; outside of compiled code it is NumPy's.

The reduction of arguments is that of Cody and Waite, "Software Manual for the Elementary
Functions" (1980), chapters 5 and 6; log's polynomial is fdlibm's (e_log.c, and FreeBSD's e_logf.c
for float32); tanh's near 0 is Cephes's for float32 (tanhf.c), and for float64 the one that agrees
with tanh in the zeros of a Chebyshev polynomial.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import overload

from gradninja.native.kernels.tile import intrinsic

__all__ = ["exp", "expm1", "fma", "log", "select", "sigmoid", "tanh"]

# Division by 0 is inf, which a vector can do, and no flag of a caller's says that there is no nan.
_STRICT: Any = {"error_model": "numpy", "fastmath": False}


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c of one dtype, rounded once where the processor can."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _fma(builder, *args)

    return c(c, c, c), codegen


@intrinsic
def select(typingctx: Any, condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b, without a branch; both are worked out."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(context.cast(builder, args[0], condition, types.boolean), *args[1:])

    return a(condition, a, a), codegen


@intrinsic
def _bits(typingctx: Any, x: Any) -> Any:
    """A float's bits as a signed integer of its width."""
    integer = types.int32 if x.bitwidth == 32 else types.int64

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(integer))

    return integer(x), codegen


@intrinsic
def _float(typingctx: Any, n: Any, like: Any) -> Any:
    """The float of `like`'s type whose bits are the low ones of n: Numba's sums of 32-bit
    integers are of 64 bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number = context.get_value_type(like)
        width = ir.IntType(like.bitwidth)
        low = args[0] if args[0].type == width else builder.trunc(args[0], width)
        return builder.bitcast(low, number)

    return like(n, like), codegen


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(a.type, [a.type] * 3)
    function = builder.module.declare_intrinsic("llvm.fmuladd", [a.type], kind)
    return builder.call(function, [a, b, c])


def _polynomial(*coefficients: float) -> Callable[..., Any]:
    """An intrinsic for the polynomial with these coefficients, the constant one first."""

    @intrinsic
    def polynomial(typingctx: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            constants = [context.get_constant(x, value) for value in coefficients]
            value = constants.pop()
            while constants:
                value = _fma(builder, value, args[0], constants.pop())
            return value

        return x(x), codegen

    return polynomial


class _Format:
    """What a float format's functions are made of.

    `shift` is so large that adding it rounds to an integer, which then stands in the low bits.
    `ln2_high` has so few bits that multiples of it are exact; `ln2_low` is what it lacks of ln 2.
    `exp_low` and `exp_high` are where exp is 0 and inf for sure; `tanh_high` is where tanh is 1.
    """

    def __init__(
        self,
        dtype: Any,
        integer: Any,
        exp_terms: int,
        log_terms: list[float],
        tanh_terms: list[float],
    ) -> None:
        info = np.finfo(dtype)
        self.dtype, self.integer = dtype, integer
        self.mantissa = integer(info.nmant)
        self.bias = integer(1 - info.minexp)
        self.shift = dtype(1.5 * 2.0**info.nmant)
        self.shift_bits = self.shift.view(integer)
        self.log2e = dtype(1.4426950408889634)
        kept = info.nmant - 10  # multiples by up to 2**10 are exact
        self.ln2_high = dtype(np.floor(0.6931471805599453 * 2**kept) / 2**kept)
        low = 0.6931471805599453 - float(self.ln2_high) + 2.3190468138462996e-17
        self.ln2_low = dtype(low)
        self.exp_low = dtype((info.minexp - info.nmant - 2) * 0.6931471805599453)
        self.exp_high = dtype((info.maxexp + 1) * 0.6931471805599453)
        self.tanh_high = dtype((info.nmant + 6) * 0.5 * 0.6931471805599453)
        # expm1(r) = r + r**2 * (1/2! + r/3! + ...), |r| <= ln(2)/2: Taylor's, as close as can be
        self.tail = _polynomial(*(1 / factorial(term) for term in range(2, exp_terms)))
        # log(1+f) = f - (f**2/2 - s*(f**2/2 + s**2 * (...))), s = f/(2+f)
        self.log_tail = _polynomial(*log_terms)
        # tanh(x) = x + x**3 P(x**2), |x| < 0.625
        self.tanh_near = _polynomial(*tanh_terms)
        self.smallest = info.smallest_normal
        self.scale = dtype(2.0 ** (info.nmant + 2))  # makes a denormal normal
        self.scale_bits = integer(info.nmant + 2)
        self.root_half = np.sqrt(dtype(0.5)).view(integer)
        self.one = dtype(1).view(integer)
        self.fraction = integer((1 << info.nmant) - 1)
        self.sign = np.iinfo(integer).min
        self.magnitude = np.iinfo(integer).max


_FORMATS = {
    types.float32: _Format(
        np.float32,
        np.int32,
        8,
        [0.66666662693, 0.40000972152, 0.28498786688, 0.24279078841],
        [
            -3.33332819422e-1,
            1.33314422036e-1,
            -5.37397155531e-2,
            2.06390887954e-2,
            -5.70498872745e-3,
        ],
    ),
    types.float64: _Format(
        np.float64,
        np.int64,
        14,
        [
            6.666666666666735130e-01,
            3.999999999940941908e-01,
            2.857142874366239149e-01,
            2.222219843214978396e-01,
            1.818357216161805012e-01,
            1.531383769920937332e-01,
            1.479819860511658591e-01,
        ],
        [
            -0.3333333333333333,
            0.13333333333333042,
            -0.05396825396789699,
            0.021869488519008305,
            -0.008863235103240878,
            0.0035921217511549622,
            -0.0014557754120478055,
            0.0005896606577757043,
            -0.0002375906496055562,
            9.257116129556769e-05,
            -3.12011014257974e-05,
            6.485163482793113e-06,
        ],
    ),
}


def _define(
    function: Callable[[Any], Any], make: Callable[[_Format], Callable[[Any], Any]]
) -> None:
    """Have compiled code that names `function` use what `make` gives for the argument's format."""
    made = {kind: make(form) for kind, form in _FORMATS.items()}

    @overload(function, jit_options=_STRICT)
    def chosen(x: Any) -> Any:
        return made.get(x)


def _make_reduced(form: _Format) -> Callable[..., Any]:
    """x -> (n, r), the bits of an integer n and a rest: x = n ln 2 + r, |r| <= ln(2)/2."""
    shift, shift_bits, log2e = form.shift, form.shift_bits, form.log2e
    high, low = -form.ln2_high, -form.ln2_low

    @njit(error_model="numpy", fastmath=False)
    def reduced(x: Any) -> Any:
        shifted = fma(x, log2e, shift)
        number = shifted - shift
        rest = fma(number, low, fma(number, high, x))
        return _bits(shifted) - shift_bits, rest

    return reduced


def _make_power(form: _Format) -> Callable[..., Any]:
    """n -> 2**n, for n of normal numbers."""
    bias, mantissa, one = form.bias, form.mantissa, form.dtype(1)

    @njit(error_model="numpy", fastmath=False)
    def power(n: Any) -> Any:
        return _float((n + bias) << mantissa, one)

    return power


def exp(x: Any) -> Any:
    """e**x."""
    return np.exp(x)


def _make_exp(form: _Format) -> Callable[[Any], Any]:
    reduced, power, tail = _make_reduced(form), _make_power(form), form.tail
    lowest, highest, one, half = form.exp_low, form.exp_high, form.dtype(1), form.integer(1)

    def implementation(x: Any) -> Any:
        x = select(x < lowest, lowest, select(x > highest, highest, x))  # nan stays
        n, r = reduced(x)
        value = one + fma(r * r, tail(r), r)
        first = n >> half  # in two steps, so that neither is beyond the format
        return value * power(first) * power(n - first)

    return implementation


_define(exp, _make_exp)


def expm1(x: Any) -> Any:
    """e**x - 1, as close near 0 as elsewhere."""
    return np.expm1(x)


def _make_expm1(form: _Format) -> Callable[[Any], Any]:
    reduced, power, tail = _make_reduced(form), _make_power(form), form.tail
    lowest, highest, zero, half = form.exp_low, form.exp_high, form.dtype(0), form.integer(1)

    def implementation(x: Any) -> Any:
        inside = select(x < lowest, lowest, select(x > highest, highest, x))
        n, r = reduced(inside)
        first = n >> half
        second = n - first
        start = power(first)
        value = fma(fma(r * r, tail(r), r), start, start - power(-second)) * power(second)
        return select(x == zero, x, value)  # for the sign of -0

    return implementation


_define(expm1, _make_expm1)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return np.tanh(x)


def _make_tanh(form: _Format) -> Callable[[Any], Any]:
    reduced, power, tail, near = _make_reduced(form), _make_power(form), form.tail, form.tanh_near
    highest, middle, one, two = form.tanh_high, form.dtype(0.625), form.dtype(1), form.dtype(2)
    sign, magnitude = form.sign, form.magnitude

    def implementation(x: Any) -> Any:
        size = _float(_bits(x) & magnitude, x)
        size = select(size > highest, highest, size)  # nan stays
        n, r = reduced(two * size)
        start = power(n)
        grown = fma(fma(r * r, tail(r), r), start, start + one)  # e**(2 |x|) + 1
        square = size * size
        value = select(size < middle, fma(square * size, near(square), size), one - two / grown)
        return _float(_bits(value) | (_bits(x) & sign), x)

    return implementation


_define(tanh, _make_tanh)


def sigmoid(x: Any) -> Any:
    """1 / (1 + e**-x)."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, x.dtype.type(1)) / (1 + small)


def _make_sigmoid(form: _Format) -> Callable[[Any], Any]:
    zero, one, sign = form.dtype(0), form.dtype(1), form.sign

    def implementation(x: Any) -> Any:
        small = exp(_float(_bits(x) | sign, x))  # of -|x|, so that nothing overflows
        total = one + small
        value = select(x < zero, small, one) / total
        lost = small - (total - one)  # in the rounding of the total
        return fma(-value, lost, value)

    return implementation


_define(sigmoid, _make_sigmoid)


def log(x: Any) -> Any:
    """The natural logarithm; -inf of 0, nan of what is below."""
    return np.log(x)


def _make_log(form: _Format) -> Callable[[Any], Any]:
    dtype, tail, mantissa = form.dtype, form.log_tail, form.mantissa
    smallest, scale, scale_bits = form.smallest, form.scale, form.scale_bits
    offset, fraction, root = form.one - form.root_half, form.fraction, form.root_half
    shift, shift_bits, bias = form.shift, form.shift_bits, form.bias
    high, low, nothing = form.ln2_high, form.ln2_low, form.integer(0)
    zero, half, one, two = dtype(0), dtype(0.5), dtype(1), dtype(2)
    infinity, nan = dtype(np.inf), dtype(np.nan)

    def implementation(x: Any) -> Any:
        denormal = x < smallest
        bits = _bits(select(denormal, x * scale, x)) + offset
        # x = 2**k (1+f), 1+f from sqrt(1/2) to sqrt(2)
        k = (bits >> mantissa) - bias - select(denormal, scale_bits, nothing)
        f = _float((bits & fraction) + root, x) - one
        number = _float(k + shift_bits, x) - shift
        s = f / (two + f)
        square = s * s
        curve = half * f * f
        rest = s * fma(square, tail(square), curve)
        value = fma(number, high, f - (curve - fma(number, low, rest)))
        value = select(x == infinity, x, select(x == zero, -infinity, value))
        return select(x >= zero, value, nan)

    return implementation


_define(log, _make_log)
