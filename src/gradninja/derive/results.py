"""What a reader of a backward is handed: its lines, each with its rules, and its gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from gradninja.lines import Line


@dataclass(frozen=True)
class BackwardLine:
    """One line of a backward pass.

    `name` is the gradient that it writes (`dX`), `of` the variable (`X`), `source` the line,
    `code` the same in torch's words where the forward speaks NumPy, `forward` the forward's line
    that it answers, `rules` the rows of the rule book that made it and
    `why` their sentences; `shape` and its named `axes` are those of `X`.
    """

    name: str
    of: str
    source: str
    code: str
    forward: Line
    rules: tuple[str, ...]
    why: tuple[str, ...]
    shape: tuple[int, ...]
    axes: tuple[str, ...]

    @property
    def rule(self) -> str:
        """The rules in the order in which the gradient went through them."""
        return ", ".join(self.rules)


class Gradients(dict[str, torch.Tensor]):
    """Gradients by name, `dfc1_weight`; of a module also by its own name, `fc1.weight`."""

    def __init__(self, found: Mapping[str, torch.Tensor], paths: Mapping[str, str]) -> None:
        super().__init__(found)
        self._paths = paths

    def __missing__(self, name: str) -> torch.Tensor:
        readable = self._paths.get(name)
        if readable is None or f"d{readable}" not in self:
            raise KeyError(name)
        return self[f"d{readable}"]
