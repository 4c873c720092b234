"""What is said of lines that are not compiled."""

from __future__ import annotations

from gradninja.errors import GradninjaError

# What is said where a mask picks more or fewer elements than when its lines were compiled.
OTHER_COUNT = "picks another number of elements"


class NativeError(GradninjaError):
    """Lines that cannot be compiled, or a call whose values do not fit what was compiled."""
