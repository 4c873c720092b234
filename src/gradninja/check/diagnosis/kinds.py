"""The kinds of mistakes that a diagnosis can name."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What is wrong with a line, in a few words. The set is closed."""

    NO_SUM = "no sum over the broadcast axis"
    NO_BROADCAST = "no broadcast over the summed axis"
    WRONG_AXIS = "wrong axis"
    LOST_KEEPDIM = "lost keepdim"
    EXTRA_SUM = "extra sum"
    SECOND_USE = "second use forgotten"
    MISSING_LINE = "missing line"
    EXTRA_CONTRIBUTION = "extra contribution"
    ASSIGN_FOR_ADD = "= for +="
    MISSING_CLONE = "missing .clone()"
    LOST_REPEATS = "lost repeats"
    BESSEL = "n for n-1"
    MISSING_COUNT = "missing 1/n"
    SIGN = "sign"
    WRONG_CONSTANT = "wrong constant"
    RECIPROCAL = "value in place of its reciprocal"
    MISSING_FACTOR = "missing factor"
    EXTRA_FACTOR = "extra factor"
    MISSING_TERM = "missing term"
    EXTRA_TERM = "extra term"
    WRONG_OPERATOR = "wrong operator"
    PARENTHESES = "parentheses"
    TRANSPOSED = "transposed matmul"
    GRADIENT_FOR_VALUE = "gradient in place of value"
    VALUE_FOR_GRADIENT = "value in place of gradient"
    SKIPPED_LINK = "skipped link of the chain"
    WRONG_NAME = "wrong name"
    SWAPPED = "swapped"
    CONJUGATE = "missing conjugate"
    TIES = "max ties"
    UNKNOWN = "unknown"
