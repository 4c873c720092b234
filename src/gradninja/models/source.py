"""The text of a model file: its functions, and places in it for error messages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import CodeType, TracebackType

from gradninja.errors import ModelError, Spot


@dataclass(frozen=True)
class Source:
    """A file's name and text, which is valid Python."""

    file: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the text, without their ends, as Python counts them."""
        return self.text.replace("\r\n", "\n").replace("\r", "\n").split("\n")

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        """The functions defined at the top level, by name; the last where one is defined twice."""
        found = {node.name: node for node in self._tree.body if isinstance(node, ast.FunctionDef)}
        for function in found.values():
            spec = function.args
            for unnamed in (*spec.posonlyargs, spec.vararg, spec.kwarg):
                if unnamed is not None:
                    raise ModelError(
                        f"`{function.name}` cannot be given `{unnamed.arg}` by name",
                        spot=self.spot(unnamed),
                        hint="write one plain parameter for each value that it wants",
                    )
        return found

    @cached_property
    def _tree(self) -> ast.Module:
        try:
            return ast.parse(self.text, self.file)
        except (SyntaxError, ValueError) as error:  # ValueError: a NUL byte, before Python 3.12
            raise self.syntax_error(error) from None

    def parse(self) -> ast.Module:
        """The syntax tree.

        Raises:
            ModelError: the text is not Python.
        """
        return self._tree

    def syntax_error(self, error: SyntaxError | ValueError) -> ModelError:
        """What Python says of a text that it cannot read, with the place where it knows one."""
        if not isinstance(error, SyntaxError) or error.lineno is None:
            return ModelError(f"{self.file} is not Python: {error}")
        line = min(error.lineno, len(self.lines))
        column = max((error.offset or 1) - 1, 0)
        end = error.end_offset - 1 if error.end_offset and error.end_lineno == line else None
        spot = Spot(self.file, line, self.lines[line - 1], column, end)
        return ModelError(f"{self.file} is not Python: {error.msg}", spot=spot)

    def spot(self, node: ast.AST) -> Spot:
        """Where a node of the tree stands."""
        line = node.lineno  # type: ignore[attr-defined]
        last = node.end_lineno  # type: ignore[attr-defined]
        end = node.end_col_offset if last == line else None  # type: ignore[attr-defined]
        return self.spot_at(line, node.col_offset, end)  # type: ignore[attr-defined]

    def spot_at(self, line: int, start: int | None, end: int | None) -> Spot:
        """A spot from a line number and columns counted in UTF-8 bytes, as Python's trees do."""
        text = self.lines[line - 1] if line <= len(self.lines) else ""
        raw = text.encode()
        if start is None:
            start = len(raw) - len(raw.lstrip())
        column = len(raw[:start].decode(errors="replace"))
        return Spot(
            self.file,
            line,
            text,
            column,
            None if end is None else len(raw[:end].decode(errors="replace")),
        )

    def head(self, function: ast.FunctionDef) -> Spot:
        """Where a function's name stands."""
        start = function.col_offset + len("def ")
        return self.spot_at(function.lineno, start, start + len(function.name.encode()))


def arguments(function: ast.FunctionDef) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """A function's parameters, each with its default."""
    spec = function.args
    bare = len(spec.args) - len(spec.defaults)
    yield from ((argument, None) for argument in spec.args[:bare])
    yield from zip(spec.args[bare:], spec.defaults, strict=True)
    yield from zip(spec.kwonlyargs, spec.kw_defaults, strict=True)


def innermost(
    trace: TracebackType | None, filename: str
) -> tuple[int, int | None, int | None] | None:
    """The last line of a file that a traceback went through, and the columns of what it ran.

    Returns:
        The line from 1, the start and the end in UTF-8 bytes from 0 (None where unknown); None
        when the traceback never was in the file.
    """
    found = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            found = _position(trace.tb_frame.f_code, trace.tb_lasti, trace.tb_lineno)
        trace = trace.tb_next
    return found


def _position(code: CodeType, last: int, line: int) -> tuple[int, int | None, int | None]:
    positions = list(code.co_positions())
    first, stop, start, end = positions[last // 2]
    if first != line:
        return line, None, None
    return line, start, end if stop == first else None
