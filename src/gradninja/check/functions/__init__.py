"""A `torch.autograd.Function` as a plain forward and the lines of a backward, as it stands."""

from __future__ import annotations

from gradninja.check.functions.judging import judge, judge_all

__all__ = ["judge", "judge_all"]
