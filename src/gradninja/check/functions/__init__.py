"""A `torch.autograd.Function` as a plain forward and the lines of a backward, as it stands."""

from __future__ import annotations

from gradninja.check.functions.judging import judge, judge_all
from gradninja.check.functions.ops import as_function, named_op

__all__ = ["as_function", "judge", "judge_all", "named_op"]
