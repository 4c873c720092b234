"""One backward line as it is made."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gradninja.lines import Line
from gradninja.lines.ndarray import HELPERS
from gradninja.rules import BOOK, Book, Rule

MOST_ON_A_LINE = 8  # names of a signature

IMPORTS = {
    "torch": "import torch",
    "F": "import torch.nn.functional as F",
    "math": "import math",
    "np": "import numpy as np",
}


@dataclass
class Statement:
    """One backward line as it is made: `target = value`, `target += value`, or a scatter."""

    target: str
    of: str  # the variable that this is the gradient of
    line: Line
    shape: tuple[int, ...]
    value: ast.expr | None = None
    scatter: ast.stmt | None = None
    adds: bool = False
    shared: bool = False  # its value was seen to lie in another tensor's memory, or on itself
    clone: bool = False
    rules: tuple[Rule, ...] = ()
    notes: tuple[str, ...] = ()
    _said: tuple[tuple[Any, ...], str] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def tree(self) -> ast.stmt:
        """The statement's syntax."""
        if self.scatter is not None:
            return self.scatter
        assert self.value is not None
        value = self.value
        if self.clone:
            value = ast.Call(ast.Attribute(value, "clone", ast.Load()), [], [])
        target = ast.Name(self.target, ast.Store())
        if self.adds:
            return ast.AugAssign(target, ast.Add(), value)
        return ast.Assign([target], value, lineno=0)

    def __str__(self) -> str:
        """The text. It is asked for often, as the statement is run on many values."""
        of = (self.target, self.value, self.scatter, self.adds, self.clone)  # nodes by identity
        if self._said is None or self._said[0] != of:
            self._said = of, ast.unparse(self.tree())
        return self._said[1]


def is_view(value: ast.expr, book: Book = BOOK) -> bool:
    """Whether an expression may give a tensor that shares another's memory."""
    if isinstance(value, ast.Name | ast.Subscript | ast.IfExp):
        return True
    if isinstance(value, ast.Attribute):
        return book.views(value.attr)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        return book.views(value.func.attr)
    return False


def signature(function: str, names: Sequence[str]) -> str:
    """`def f(a, b):`, one name a line where there are more than eight."""
    if len(names) <= MOST_ON_A_LINE:
        return f"def {function}({', '.join(names)}):"
    return f"def {function}(\n" + "".join(f"    {name},\n" for name in names) + "):"


def returned(names: Sequence[str]) -> list[str]:
    """`return a, b`, one name a line where there are more than eight."""
    if len(names) <= MOST_ON_A_LINE:
        return [f"return {', '.join(names)}"]
    return ["return (", *(f"    {name}," for name in names), ")"]


def with_imports(text: str) -> str:
    """The text with the imports of the libraries, and the helpers, that it names."""
    helpers = [helper for name, helper in HELPERS.items() if f"{name}(" in text]
    text = "\n\n".join([*helpers, text])
    code = re.sub(r"(?m)^\s*#.*$", "", text)  # a forward's line in a comment wants nothing
    used = [line for name, line in IMPORTS.items() if re.search(rf"\b{name}\.", code)]
    return "\n".join([*used, "", "", text]) if used else text
