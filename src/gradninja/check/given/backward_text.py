"""A backward pass as statements: its text, its parameters, and the function that it makes."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Inside:
    """The lines of a helper, `first` to `last`, in which `names` stand for names of ours."""

    first: int
    last: int
    names: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Within:
    """Where a line of ours stands that is a part of a person's statement: what is returned."""

    statement: ast.stmt
    part: ast.expr

    def holding(self, new: ast.expr) -> ast.stmt:
        """The statement with another part in that place."""
        found: ast.stmt = _Instead(self.part, new).made(self.statement)
        return found


class _Instead:
    """Copies the nodes from the root to a part and nothing else."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def made(self, node: Any) -> Any:
        if node is self.old:
            return self.new
        if isinstance(node, list):
            several = [self.made(one) for one in node]
            same = all(one is two for one, two in zip(several, node, strict=True))
            return node if same else several
        if not isinstance(node, ast.AST):
            return node
        fields = {name: self.made(value) for name, value in ast.iter_fields(node)}
        if all(fields[name] is value for name, value in ast.iter_fields(node)):
            return node
        copy = type(node)(**fields)
        return ast.copy_location(copy, node) if hasattr(node, "lineno") else copy


def plain(text: str, reuses: Iterable[Reuse], called: Mapping[str, str] | None = None) -> str:
    """A text with the person's own names."""
    for reuse in reuses:
        text = text.replace(reuse.alias, reuse.name)
    if called:
        either = "|".join(map(re.escape, called))
        text = re.sub(rf"(?<![\w.'])(?:{either})(?!\w)", lambda found: called[found[0]], text)
    return text


@dataclass(frozen=True, eq=False)
class Written:
    """A backward pass as statements. `parameters`: name -> default, EMPTY where there is none.

    Of a `torch.autograd.Function`: `called` is what stands in the text for names of ours, `hidden`
    are those that mean something else there, `held` the values of the forward that its `ctx` holds,
    `inside` the helpers that are laid into it, and `again` reads the text anew, mended. `gives`:
    what the function that the lines stand in returns, where its `return` is the forward's too.
    """

    name: str
    file: str
    text: str
    statements: tuple[ast.stmt, ...]
    parameters: Mapping[str, Any]
    is_function: bool
    function: Callable[..., Any] | None = None
    reuses: tuple[Reuse, ...] = ()
    called: Mapping[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    held: frozenset[str] | None = None
    inside: tuple[Inside, ...] = ()
    again: Callable[[str], Written] | None = None
    gives: frozenset[str] = frozenset()

    def code(self, text: str, line: int | None = None) -> str:
        """A line of ours as the person would write it, at that line of the text."""
        helper = self.helper(line)
        if helper is None:
            return plain(text, self.reuses, self.called)
        return plain(text, self.reuses, {n: there for there, n in helper.names.items()})

    def helper(self, line: int | None) -> Inside | None:
        """The helper that a line of the text stands in."""
        around = (h for h in self.inside if line is not None and h.first <= line <= h.last)
        return next(around, None)

    def prose(self, text: str) -> str:
        """What is told, with the person's names; the forward's values by the forward's names."""
        told = {n: c for n, c in self.called.items() if n not in (self.held or ())}
        return plain(text, self.reuses, told)

    @cached_property
    def text_lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def returned(self) -> frozenset[str]:
        """The names that stand in what is returned."""
        nodes = (node for statement in self.statements for node in ast.walk(statement))
        values = [n.value for n in nodes if isinstance(n, ast.Return) and n.value is not None]
        found = (n.id for value in values for n in ast.walk(value) if isinstance(n, ast.Name))
        return self.gives.union(found)

    def spot(self, node: ast.AST) -> Spot:
        number = getattr(node, "lineno", 1)
        text = self.text_lines[number - 1] if 0 < number <= len(self.text_lines) else ""
        column = len(text.encode()[: getattr(node, "col_offset", 0)].decode(errors="ignore"))
        return Spot(self.file, number, text, column)

    def statement_at(self, line: int) -> ast.stmt | None:
        """The innermost statement that a line is a part of."""
        found = [
            part
            for node in self.statements
            for part in ast.walk(node)
            if isinstance(part, ast.stmt) and part.lineno <= line <= (part.end_lineno or 0)
        ]
        return max(found, key=lambda part: part.lineno, default=None)

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
