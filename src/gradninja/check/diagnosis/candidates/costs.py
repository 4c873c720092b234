"""What each edit costs: one table, from what people mistake most to what they hardly ever do.

Only the order counts. Edits are tried from the cheapest on, and of two that both mend the cheaper
one is the explanation that is told.
"""

from __future__ import annotations


class Cost:
    """The cost of an edit, by what it puts where."""

    # slips of one word
    ORDER = 0.9  # of what is returned, or unpacked
    REPEATS_OF_AN_INDEX = 0.9  # `d[ix] += v` as an index_put_ that adds repeated indices
    TIES = 0.95  # an extreme's line as derive writes it, where only ties are wrong
    REPEATS = 1.0  # accumulate=True
    ADDED = 1.0  # `+=` for `=`, `-=` for `+=`
    CLONED = 1.0  # of a view that is written to
    FLAG = 1.0  # True for False
    KEEPDIM = 1.0
    GRADIENT_FOR_VARIABLE = 1.0  # `dx` for `x`
    NO_MINUS = 1.0
    PLUS_FOR_MINUS = 1.05
    DIFFERENCE_TURNED = 1.08  # `b - a` for `a - b`
    COMPARISON_TURNED = 1.09  # `<` for `>`
    MINUS = 1.1
    NO_KEEPDIM = 1.1
    REDIRECTED = 1.1  # a statement that writes another name
    TIMES_ITS_REPEATS = 1.15  # one of several equal contributions stands for all
    # a line that is missing, an operand that lies wrong
    NUMBER_NEGATED = 1.2
    OPERAND_TRANSPOSED = 1.2  # of a matrix product
    CONJUGATE = 1.2
    CONTRIBUTION = 1.2  # added after what is there
    ZEROS = 1.2  # a gradient that begins at zero
    CONTRIBUTION_BEFORE = 1.25
    COUNT_OF_DATA = 1.25  # `valid.sum()` for n
    COUNT_ONE_OFF = 1.3  # n - 1 for n
    FACTORS_SWAPPED = 1.3  # `b @ a`
    ASSIGNED = 1.3  # `=` for `+=`
    CARRIED = 1.3  # what a loop's turn leaves for the next
    AXIS = 1.4  # another number of an axis
    # names, sums, shapes
    RELEVANT_NAME = 1.5  # of what the gradient is made of
    IN_PLACE_OPERATOR = 1.5  # `*=` for `+=`
    SUM = 1.5
    LINK = 1.55  # a derivative on the way that was skipped
    AXES = 1.6
    AXES_KEPT = 1.7
    EXPANDED = 1.6
    FACTORS_TRANSPOSED = 1.6
    LOCAL = 1.6  # the line of a local that is read and never bound
    NO_INVERSION = 1.6
    NUMBER_ONE_OFF = 1.6
    VIEWED = 1.65
    UNREAD = 1.65  # a local that no line reads, in the place of something
    OTHER_END = 1.7  # `x[-n:]` for `x[:n]`
    ELEMENT_BESIDE = 1.7  # `h[t - 1]` for `h[t]`
    ALL_AXES = 1.7
    AXIS_OF_ONE = 1.7  # unsqueeze, squeeze
    COMPARISON = 1.7
    NO_FUNCTION = 1.7
    NUMBER_DOUBLED = 1.7  # or halved
    RESHAPED = 1.7
    SCATTERED = 1.7  # `d[ix] = v` for `d = v[ix]`
    RUNNING = 1.7  # a running sum from the other end
    RUNNING_HALF = 1.75  # turned before it, or after
    PUT_BACK = 1.75  # `x[order.argsort()]` for `x[order]`
    TRANSPOSED = 1.7  # where no matrix product is
    COTANGENT = 1.75  # a slope that stands alone, times the gradient of what comes next
    GATE_FOR_A_FUNCTION = 1.75  # `h > 0` for `h.sign()`
    # operators and factors
    NO_NUMBER = 1.79  # a number taken out of a product; sooner than a contribution
    AXIS_AND_EXPANDED = 1.8
    FUNCTION = 1.8  # another of the same family
    INVERTED = 1.8  # a mask
    NO_CONTRIBUTION = 1.8
    NUMBER_INVERTED = 1.8
    OPERATOR = 1.8
    OVER_A_COUNT = 1.8
    PIECE = 1.85  # another part of a value
    LINK_OF_A_COUNT = 1.85  # the skipped link of a mean
    LITERAL = 1.9  # a number of the forward's
    NO_FACTOR = 1.9
    NO_POWER = 1.9
    TIMES_A_LITERAL = 1.9
    EXCHANGED = 1.95  # two names in each other's place
    ARGUMENTS_TURNED = 2.0
    NAME_OF_THE_SHAPE = 2.0
    NO_TERM = 2.0
    OTHER_NUMBER = 2.0
    OVER_A_LITERAL = 2.0
    OPERANDS_TURNED = 2.1  # `b / a` for `a / b`
    OTHER_COUNT = 2.1
    TIMES_A_COUNT = 2.1
    # what has many readings, so that one of them fits by chance
    ALL_OVER_A_COUNT = 2.2  # what several statements give together
    COUNT_FOR_A_NUMBER = 2.2
    NAME_FOR_A_PART = 2.2  # `prev` for `hs[:, t]`
    NO_PRODUCT = 2.2  # one operand of `@`
    POWER = 2.2
    RECIPROCAL = 2.2
    GATE = 2.25
    BESSEL = 2.3
    PARENTHESES = 2.3
    NUMBER_ADDED = 2.4
    SHARE = 2.4  # one over a count
    LINK_INSIDE = 2.45
    FACTOR = 2.5
    NUMBER_TAKEN_OFF = 2.5
    SETTING_ADDED = 2.6  # `+ eps`
    DIVISOR = 2.55
    FUNCTION_OF_IT = 2.6
    NAME = 2.6  # any other
    RELEVANT_NAME_OF_OTHER_KIND = 2.65  # ints for floats
    ABSENT_GRADIENT = 2.7  # derive's lines for a gradient that is read and never written
    COUNT_FOR_A_TENSOR = 2.75
    MATRIX = 2.8
    NAME_OF_OTHER_KIND = 2.8
    TERM = 3.0
    TERM_TAKEN_FROM = 3.1
    FAR_LINK = 3.2  # of another gradient's
    FACTOR_FUNCTION = 3.4
    FACTOR_POWER = 3.6
    REWRITTEN = 6.0  # as derive writes it: mends, and explains nothing

    # what is added to these
    SUM_KEPT = 0.01
    INSIDE = 0.02  # a level deeper in an expression
    FACTOR_INSIDE = 0.05
    SUM_OF_MORE_AXES = 0.2  # each
    IN_THE_FORWARD = 0.3  # of a Function, what it makes for the backward
    FAR_TERM = 0.3  # of a name that the gradient is not made of
    SCALED_INSIDE = 0.3
    FAR_FACTOR = 0.4
    FOR_NOTHING = 0.6  # less, of a factor or term that is there and that no line reads
    SUM_INSIDE = 0.6
    OPPOSED = -0.1  # of a line that gives minus what derive gives
    PROVEN = 1.0  # of a line that gives what derive gives

    # where the search turns to two edits of one line
    MOST_OF_EACH_OF_TWO_NAMES = 1.5
    MOST_OF_EACH_OF_TWO = 2.1
    LIKELIER_THAN_TWO = 2.3  # what costs no more comes before two wrong names
