"""What fusing gives: a Backward, with the steps that led there, what failed, and the cost."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from gradninja.algebra.measure.cost import Cost
from gradninja.algebra.measure.precision import Errors
from gradninja.algebra.tell.steps import Step
from gradninja.derive import Backward
from gradninja.derive.backward import WIDEST
from gradninja.derive.statement import Statement

IN_ONE_GO = ": answered in one go"  # how a note ends that says which lines one line answers


@dataclass(frozen=True)
class Dropped:
    """A pass that failed its check or raised: `name` is whose gradient it was to write."""

    name: str
    why: str


@dataclass(frozen=True, eq=False, repr=False)
class FusedLines(Backward):
    """Backward lines of which one may answer several lines of the forward."""

    def body(self, rules: bool = False, say: Callable[[str], str] = str) -> list[str]:
        """The backward lines as text, each group under what it answers."""
        texts = [say(str(statement)) for statement in self.statements]
        column = max((len(text) for text in texts if len(text) <= WIDEST), default=0)
        found: list[str] = []
        before = ""
        for statement, text in zip(self.statements, texts, strict=True):
            several = [note for note in statement.notes if note.endswith(IN_ONE_GO)]
            told = several[0] if several else say(statement.line.code)
            if told != before:
                before = told
                found.append(f"# {told}")
            names = ", ".join(dict.fromkeys(rule.name for rule in statement.rules))
            found.append(f"{text:{column}}  # {names}" if rules and names else text)
        return found


@dataclass(frozen=True, eq=False, repr=False)
class Fused(FusedLines):
    """A backward pass all in one go. See `gradninja.fuse`."""

    seeded: Backward
    steps: tuple[Step, ...]
    dropped: tuple[Dropped, ...]
    cost: Cost
    errors: tuple[Errors, ...]

    @property
    def forms(self) -> tuple[tuple[Statement, ...], ...]:
        """The statements without and with a seed; once, where they are the same."""
        same = self.statements is self.seeded.statements
        return (self.statements,) if same else (self.statements, self.seeded.statements)

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """The names of the forward that the backward lines read, in the forward's order."""
        if self.statements is self.seeded.statements:
            return self.seeded.arguments
        read = {
            node.id
            for statement in self.statements
            for node in ast.walk(statement.tree())
            if isinstance(node, ast.Name)
        }
        return tuple(name for name in self.program.values if name in read)

    @property
    def _seed(self) -> list[str]:
        """The seed 1 of a loss has gone into the lines."""
        return self.seeded._seed if self.statements is self.seeded.statements else []

    @property
    def seeded_source(self) -> str:
        return self.seeded.seeded_source

    @property
    def function_source(self) -> str:
        return self.seeded.function_source

    def run(
        self, values: Mapping[str, Any], cotangents: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        return self.seeded.run(values, cotangents)

    def __call__(
        self, inputs: Mapping[str, Any], grad: torch.Tensor | tuple[torch.Tensor, ...] | None = None
    ) -> dict[str, torch.Tensor]:
        return self.seeded(inputs, grad)
