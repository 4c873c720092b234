"""A backward pass as statements: its text, its parameters, and the function that it makes."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gradninja.errors import Spot

EMPTY: Any = inspect.Parameter.empty


@dataclass(frozen=True)
class Reuse:
    """From a line on, `name` stands for another value, and is called `alias` among ourselves."""

    name: str
    alias: str
    line: int


def plain(text: str, reuses: Iterable[Reuse]) -> str:
    """A text with the person's own names."""
    for reuse in reuses:
        text = text.replace(reuse.alias, reuse.name)
    return text


@dataclass(frozen=True, eq=False)
class Written:
    """A backward pass as statements. `parameters`: name -> default, EMPTY where there is none."""

    name: str
    file: str
    text: str
    statements: tuple[ast.stmt, ...]
    parameters: Mapping[str, Any]
    is_function: bool
    function: Callable[..., Any] | None = None
    reuses: tuple[Reuse, ...] = ()

    @cached_property
    def text_lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def returned(self) -> frozenset[str]:
        """The names that stand in what is returned."""
        nodes = (node for statement in self.statements for node in ast.walk(statement))
        values = [n.value for n in nodes if isinstance(n, ast.Return) and n.value is not None]
        found = (n.id for value in values for n in ast.walk(value) if isinstance(n, ast.Name))
        return frozenset(found)

    def spot(self, node: ast.AST) -> Spot:
        number = getattr(node, "lineno", 1)
        text = self.text_lines[number - 1] if 0 < number <= len(self.text_lines) else ""
        column = len(text.encode()[: getattr(node, "col_offset", 0)].decode(errors="ignore"))
        return Spot(self.file, number, text, column)

    def source_at(self, line: int) -> str:
        """The innermost statement that begins on a line; empty where none does."""
        found = [
            part
            for node in self.statements
            for part in ast.walk(node)
            if isinstance(part, ast.stmt) and part.lineno == line
        ]
        return self.source_of(found[-1]) if found else ""

    def source_of(self, node: ast.stmt) -> str:
        """The statement as it was written, its lines joined and a long body left out."""
        rows = [row.encode() for row in self.text_lines[node.lineno - 1 : node.end_lineno]]
        rows[-1] = rows[-1][: node.end_col_offset]
        rows[0] = rows[0][node.col_offset :]
        lines = [row.decode(errors="ignore").strip() for row in rows if row.strip()]
        if isinstance(node, ast.For | ast.While | ast.If | ast.With | ast.Try | ast.FunctionDef):
            return " ".join(lines[:2]) + (" ..." if len(lines) > 2 else "")
        return " ".join(lines)


def in_place_of(*nodes: ast.stmt) -> str:
    """Where a mend stands that is written instead of statements: `in place of line 17`."""
    spans = dict.fromkeys((node.lineno, node.end_lineno or node.lineno) for node in nodes)
    return f"in place of {lines_told(list(spans))}"


def lines_told(spans: Sequence[tuple[int, int]]) -> str:
    """`line 17`, `lines 17 and 20`, `lines 17-18`."""
    told = [f"{first}-{last}" if last > first else str(first) for first, last in spans]
    several = len(told) > 1 or "-" in told[0]
    listed = " and ".join(filter(None, [", ".join(told[:-1]), told[-1]]))
    return f"line{'s' * several} {listed}"


def returns(written: Written) -> Iterator[ast.Return]:
    """The returns of a function that give a value."""
    todo: list[ast.AST] = list(written.statements)
    while todo:
        node = todo.pop(0)
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, ast.Return):
            empty = node.value is None or (
                isinstance(node.value, ast.Constant) and node.value.value is None
            )
            if not empty:
                yield node
        todo.extend(ast.iter_child_nodes(node))
