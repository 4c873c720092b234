"""What is judged of a file of arrays or tensors, and that there are several to choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gradninja.check.given.subject import Subject
from gradninja.check.tell.findings import CheckError


@dataclass(frozen=True, eq=False)
class ArraySubject(Subject):
    """A subject in one of NumPy's forms, in its words or in torch's.

    `called`: what the person's own code is, and the same with tensors.
    """

    called: tuple[Callable[..., Any], Callable[..., Any]] | None = None
    names: Mapping[str, str] | None = None  # plain names -> as the person writes them
    notes: tuple[str, ...] = ()  # what was guessed
    within: bool = False  # whether the forward's own lines go back


class SeveralForwards(CheckError):
    """Raised for a file of several forwards that have a backward: which one is meant?"""

    def __init__(self, file: str, names: list[str]) -> None:
        super().__init__(
            f"{file} has several forwards with a backward: {', '.join(names)}",
            hint=f"say which: {file}:{names[0]}",
        )
        self.file, self.names = file, names
