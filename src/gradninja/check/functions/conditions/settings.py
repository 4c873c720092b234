"""What else the parameters of a forward may be: flags, words that are compared with, None."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from gradninja.check.functions.function_text import Text

MOST = 4  # words of one parameter


def choices(text: Text) -> Mapping[str, list[Any]]:
    """Parameter -> the words that the methods compare it with, and None where that is asked."""
    found: dict[str, list[Any]] = {}
    methods = [node for node in (text.forward, text.setup, text.backward) if node is not None]
    for node in (part for method in methods for part in ast.walk(method)):
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            name = ast.unparse(node.left).rpartition(".")[2]
            for value in _constants(node.comparators[0]):
                several = found.setdefault(name, [])
                if value not in several and len(several) < MOST:
                    several.append(value)
    return found


def _constants(node: ast.expr) -> list[Any]:
    parts = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    return [
        part.value
        for part in parts
        if isinstance(part, ast.Constant) and (part.value is None or isinstance(part.value, str))
    ]
