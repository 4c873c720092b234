"""Which dialect a text speaks."""

from __future__ import annotations

import ast
from collections.abc import Mapping

NUMPY, TORCH = "numpy", "torch"


def dialect_of(tree: ast.AST, aliases: Mapping[str, str]) -> str | None:
    """Which dialect a text speaks: NumPy where it uses that and not torch, None with neither."""
    spoken = {"numpy": False, "torch": False}
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in bound:
            library = aliases.get(node.id, "").partition(".")[0]
            if library in spoken:
                spoken[library] = True
        elif isinstance(node, ast.Import | ast.ImportFrom):
            paths = [n.name for n in node.names] if isinstance(node, ast.Import) else []
            for path in [*paths, getattr(node, "module", None) or ""]:
                if path.partition(".")[0] in spoken:
                    spoken[path.partition(".")[0]] = True
    return TORCH if spoken["torch"] else NUMPY if spoken["numpy"] else None
