"""Learn: a person who writes a backward is told in the notebook, step by step, how it stands."""

from gradninja.learn.compare import Comparison, cmp, compare
from gradninja.learn.hints import Hint, hints
from gradninja.learn.notebook import hint

__all__ = ["Comparison", "Hint", "cmp", "compare", "hint", "hints"]
