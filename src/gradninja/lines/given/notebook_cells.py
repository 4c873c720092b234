"""Cells of a notebook as Python: what IPython alone understands is left out."""

from __future__ import annotations

import ast
import re

# `%matplotlib inline`, `!pip install x`, `%%time`, `names = !ls`, `torch.sum?`
MAGIC = re.compile(r"\s*([\w, ]+=\s*)?[%!]|\s*\?|\s*[\w.]+\?{1,2}\s*$")
MOST = 200  # of them in a text


def without_magics(text: str) -> str:
    """The text with the lines of IPython's own commands blank: all others keep their numbers.

    Only lines that Python itself stops at are looked at: one that goes on with `% n` stays.
    """
    lines = text.split("\n")
    for _ in range(MOST):
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:
            at = (error.lineno or 0) - 1
            if not (0 <= at < len(lines) and MAGIC.match(lines[at])):
                break
            indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
            lines[at] = f"{indent}pass" if indent else ""
        except (ValueError, RecursionError, MemoryError):
            break
        else:
            break
    return "\n".join(lines)
