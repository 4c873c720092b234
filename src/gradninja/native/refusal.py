"""What is said of lines that are not compiled."""

from __future__ import annotations

from gradninja.errors import GradninjaError


class NativeError(GradninjaError):
    """Lines that cannot be compiled, or a call whose values do not fit what was compiled."""
