"""Diagnosis: the kind of a mistake, in words, and the smallest edit that mends it."""

from gradninja.check.diagnosis.diagnose import Diagnosis, diagnose
from gradninja.check.diagnosis.kinds import Kind
from gradninja.check.diagnosis.mend import Patch, apply

__all__ = ["Diagnosis", "Kind", "Patch", "apply", "diagnose"]
