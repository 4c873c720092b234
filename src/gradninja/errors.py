"""One family of errors, for the person who made the mistake.

Every error says what was wrong, where (source line and caret, when there is a line), and what to
do. The command line prints them without a traceback and leaves with exit code 2; a traceback is
left to our own bugs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Spot:
    """A place in a person's source text.

    `line` counts from 1; `column` and `end_column` count characters from 0, end exclusive.
    """

    file: str
    line: int
    text: str
    column: int = 0
    end_column: int | None = None

    def render(self) -> str:
        """The source line with carets under the spot."""
        text = self.text.expandtabs(1)
        end = len(text.rstrip()) if self.end_column is None else self.end_column
        carets = " " * self.column + "^" * max(1, min(end, len(text)) - self.column)
        margin = f"{self.line} | "
        return f"  {self.file}, line {self.line}\n  {margin}{text}\n  {' ' * len(margin)}{carets}"


# What `ast.parse` and `compile` raise of a text that they do not take.
NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError)


class GradninjaError(Exception):
    """Base of all our errors: `message` (what was wrong), `spot` (where), `hint` (what to do)."""

    def __init__(self, message: str, *, spot: Spot | None = None, hint: str | None = None) -> None:
        self.message = message
        self.spot = spot
        self.hint = hint
        super().__init__(message)

    @classmethod
    def of_syntax(cls, error: Exception, text: str, file: str) -> Self:
        """What one of NOT_PYTHON says of a text, and where in it."""
        if isinstance(error, RecursionError | MemoryError):
            return cls(f"{file} is nested too deeply to be read")
        if not isinstance(error, SyntaxError) or error.lineno is None:
            return cls(f"{file} is not Python: {error}")
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")  # as Python counts
        number = min(max(error.lineno, 1), len(lines))
        column = max((error.offset or 1) - 1, 0)
        end = error.end_offset - 1 if error.end_offset and error.end_lineno == number else None
        spot = Spot(file, number, lines[number - 1], column, end)
        return cls(f"this is not Python: {error.msg}", spot=spot)

    def __str__(self) -> str:
        parts = [self.message]
        if self.spot is not None:
            parts.append(self.spot.render())
        if self.hint is not None:
            parts.append(f"  {self.hint}")
        return "\n".join(parts)

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it, which asks for this: the words, as the command line does."""
        return str(self).splitlines()


class ReadError(GradninjaError):
    """A forward pass that cannot be read, or that uses something outside the fence."""


class DeriveError(GradninjaError):
    """A backward pass that cannot be derived, or a call whose values do not fit it."""


class DataError(GradninjaError):
    """Words that cannot be used."""


class ModelError(GradninjaError):
    """A model file that cannot be used, or sizes that it does not take."""


class RunError(GradninjaError):
    """A run folder that cannot be written, read or resumed, or a run that had to stop."""
