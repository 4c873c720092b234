"""Errors about text that we wrote, told of the person's own lines."""

from __future__ import annotations

from types import TracebackType

from gradninja.derive import Backward
from gradninja.errors import GradninjaError, Spot
from gradninja.lines import Line
from gradninja.lines.given.source import Source, parse

_FORWARD, _BACKWARD = "<forward>", "<backward>"


class Places:
    """The texts of a Backward as sources; an error within the `with` names the person's line.

    Its lines were written by us, one for one from lines of the person's.
    """

    def __init__(self, back: Backward) -> None:
        self.forward = parse(back.whole_forward, _FORWARD, "forward")
        self.backward = parse(back.source, _BACKWARD, "backward")
        seed = len(self.backward.function.body) - len(back.statements) - 1  # and the return
        self._lines = {
            _FORWARD: _numbered(self.forward, list(back.program.lines)),
            _BACKWARD: _numbered(self.backward, [None] * seed + [s.line for s in back.statements]),
        }

    def __enter__(self) -> Places:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, GradninjaError) and error.spot is not None:
            line = self._lines.get(error.spot.file, {}).get(error.spot.line)
            if line is not None:
                error.message = self._told(error.message, error.spot)
                error.spot = line.expr.spot

    def _told(self, message: str, spot: Spot) -> str:
        """The message; with the line that answers the person's, where that is where it failed."""
        if spot.file == _FORWARD:
            return message
        return f"{message}, in what answers this line: `{spot.text.strip()}`"


def _numbered(source: Source, lines: list[Line | None] | list[Line]) -> dict[int, Line | None]:
    """The line that each statement of a function was made of, by the statement's number."""
    statements = source.function.body
    return {s.lineno: line for s, line in zip(statements, lines, strict=False)}
