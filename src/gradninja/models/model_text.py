"""The text of a model file: its functions, and places in it for error messages."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from types import CodeType, TracebackType

from gradninja.errors import NOT_PYTHON, ModelError, Spot


@dataclass(frozen=True)
class Source:
    """The text of a file, and the name that the file goes by in messages."""

    file: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the text, without their ends, as Python counts them."""
        return self.text.replace("\r\n", "\n").replace("\r", "\n").split("\n")

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        """The functions defined at the top level, by name; the last where one is defined twice.

        Raises:
            ModelError: the text is not Python.
        """
        try:
            body = ast.parse(self.text, self.file).body
        except NOT_PYTHON as error:
            raise ModelError.of_syntax(error, self.text, self.file) from None
        return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}

    def arguments(self, function: ast.FunctionDef) -> list[tuple[ast.arg, ast.expr | None]]:
        """A function's parameters, each with its default.

        Raises:
            ModelError: one of them cannot be given by name.
        """
        spec = function.args
        for unnamed in (*spec.posonlyargs, spec.vararg, spec.kwarg):
            if unnamed is not None:
                raise ModelError(
                    f"`{function.name}` cannot be given `{unnamed.arg}` by name",
                    spot=self.spot(unnamed),
                    hint="write one plain parameter for each value that it wants",
                )
        bare = len(spec.args) - len(spec.defaults)
        return [
            *((argument, None) for argument in spec.args[:bare]),
            *zip(spec.args[bare:], spec.defaults, strict=True),
            *zip(spec.kwonlyargs, spec.kw_defaults, strict=True),
        ]

    def compile(self) -> CodeType:
        """The text as code that can be executed.

        Raises:
            ModelError: the text is not Python.
        """
        try:
            return compile(self.text, self.file, "exec", dont_inherit=True)
        except NOT_PYTHON as error:
            raise ModelError.of_syntax(error, self.text, self.file) from None

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
