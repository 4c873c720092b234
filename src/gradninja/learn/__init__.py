"""Learn: a person who writes a backward is told in the notebook, step by step, how it stands."""

from gradninja.learn.compare import Comparison, cmp, compare

__all__ = ["Comparison", "cmp", "compare"]
