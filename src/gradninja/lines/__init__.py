"""Text <-> Program: named lines, read with real tensors."""

from gradninja.lines.program import ITEM, NAME, STATIC, TUPLE, Expr, Input, Line, Program
from gradninja.lines.read import read

__all__ = ["ITEM", "NAME", "STATIC", "TUPLE", "Expr", "Input", "Line", "Program", "read"]
