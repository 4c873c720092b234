"""The texts that a person handed in: files, functions of files, text itself."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gradninja.errors import NOT_PYTHON, ReadError
from gradninja.files import file_and_name, is_text, read_python
from gradninja.lines.given.notebook_cells import without_magics


@dataclass(frozen=True, eq=False)
class Text:
    """A text, and what it defines. `path` and `name`: of `FILE.py:name`, where they were given."""

    text: str
    path: Path | None
    name: str | None
    tree: ast.Module
    file: str

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        return {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef)}

    @cached_property
    def classes(self) -> set[str]:
        return {node.name for node in self.tree.body if isinstance(node, ast.ClassDef)}

    def must_have(self, name: str) -> None:
        """Raises ReadError unless it defines a function or class of this name."""
        if name not in {*self.functions, *self.classes}:
            raise ReadError(
                f"{self.path or 'the text'} has no function or class named {name}",
                hint=f"it has: {', '.join([*self.functions, *self.classes]) or 'none'}",
            )


def text_at(given: str | Path, called: str) -> Text:
    """The text of `FILE.py`, of `FILE.py:name`, or one that is given itself.

    Args:
        called: what a text is called that is in no file.

    Raises:
        ReadError: the file cannot be read, or it is no Python.
    """
    path, name = (None, "") if is_text(given) else file_and_name(given)
    wanted = "the functions forward and backward"
    text = without_magics(str(given) if path is None else read_python(path, wanted))
    file = called if path is None else str(path)
    return Text(text, path, name or None, _parsed(text, file), file)


def _parsed(text: str, file: str) -> ast.Module:
    try:
        return ast.parse(text)
    except NOT_PYTHON as error:
        raise ReadError.of_syntax(error, text, file) from None
