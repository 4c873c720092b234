"""What a reader asks of the rule book, which stands on the floor above it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol


class Vocabulary(Protocol):
    """The operations that there are, by what is called: `torch.exp`, `Tensor.exp`, `@`."""

    @property
    def own(self) -> Mapping[str, Callable[..., Any]]:
        """Functions of a person's that have a rule, by name: they are not read line by line."""

    def knows(self, callee: str) -> bool:
        """Whether it can be read."""

    def constant(self, callee: str) -> bool:
        """Whether no gradient goes through it: it is zero wherever it exists."""

    def random(self, callee: str) -> bool:
        """Whether it draws random numbers."""

    def take(self, kind: type) -> str:
        """Enter a torch.autograd.Function of the person's; the callee that its `apply` is."""
