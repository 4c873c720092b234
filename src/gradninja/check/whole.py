"""Judging a backward as a whole."""

from __future__ import annotations

from gradninja.check.subject import Subject
from gradninja.check.types import CheckError, Report


def judge(subject: Subject) -> Report:
    raise CheckError("not yet")
