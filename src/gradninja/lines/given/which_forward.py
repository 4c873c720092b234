"""Which function of a file is its forward, where nobody says."""

from __future__ import annotations

import ast
import re

# What stands around a forward and runs it.
AROUND = re.compile(r"_*(main|train|fit|test|eval|run|demo|plot|load|get|make|init|update)\w*")


def meant(tree: ast.Module, default: str = "forward") -> str | None:
    """The function that a file means without a name; None where its text does not tell.

    That is `forward`; else the only one with that in its name, or the only one there is; else the
    only one of them that no other function and no class calls.
    """
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    if default in functions:
        return default
    likely = [n for n in functions if "forward" in n] or [*functions]
    if len(likely) > 1:
        callers: list[ast.stmt] = [n for n in tree.body if isinstance(n, ast.ClassDef)]
        callers += [node for node in functions.values() if not _around(node)]
        used = {
            (getattr(caller, "name", ""), n.id)
            for caller in callers
            for n in ast.walk(caller)
            if isinstance(n, ast.Name)
        }
        called = {name for by, name in used if by != name}
        others = [n for n in likely if not _around(functions[n]) and "backward" not in n]
        likely = [n for n in others if n not in called]
    return likely[0] if len(likely) == 1 else None


def _around(node: ast.FunctionDef) -> bool:
    return not node.args.args or bool(AROUND.fullmatch(node.name))
