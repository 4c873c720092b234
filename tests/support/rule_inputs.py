"""The rows' own test texts: `EXPRESSION where a: 3 4; b: 4 positive; index: 5 < 3`.

An input is its sizes (`()` for a 0-dim tensor), then what its values are:

- nothing: normal floats;
- `positive`: 0.1 to 2;
- `unit`: 0.05 to 0.95;
- `above`: 1.1 to 3;
- `distinct`: all different, none closer to another than 0.1;
- `ties`: -2, -1, 0, 1, 2, so that values are equal and 0 occurs;
- `away`: normal floats, but none closer to 0 than 0.1;
- `shares`: positive floats that add up to 1 along the last axis;
- `bool`: one half true;
- `< k`: ints from 0 to k - 1, repeated.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gradninja.rules import BOOK, Rule

LARGER = (7, 3)  # times the sizes in a text: enough for vectorised loops to set in
MOST_ELEMENTS = 10_000
SCOPE = {"torch": torch, "F": torch.nn.functional, "math": math}


@dataclass(frozen=True)
class Given:
    """One input of a test text."""

    name: str
    sizes: tuple[int, ...]
    kind: str = ""
    below: int = 0

    @staticmethod
    def parse(text: str) -> Given:
        name, _, spec = text.partition(":")
        spec, less, below = spec.partition("<")
        words = spec.replace("()", "").split()
        sizes = tuple(int(word) for word in words if word.isdigit())
        kinds = [word for word in words if not word.isdigit()]
        if less:
            return Given(name.strip(), sizes, "<", int(below))
        assert len(kinds) <= 1, text
        return Given(name.strip(), sizes, *kinds)

    def draw(self, generator: torch.Generator, times: int = 1) -> Tensor:
        """Float64 (or int64, or bool) values; every size other than 1 is taken `times` as large."""
        sizes = tuple(size * times if size > 1 else size for size in self.sizes)
        if self.kind == "<":
            return torch.randint(0, self.below, sizes, generator=generator)
        if self.kind == "bool":
            # Half of them, so that what a mask picks has the same size whatever the seed.
            count = math.prod(sizes)
            return (torch.randperm(count, generator=generator) < (count + 1) // 2).reshape(sizes)
        if self.kind == "ties":
            return torch.randint(-2, 3, sizes, generator=generator).double()
        if self.kind == "distinct":
            order = torch.randperm(math.prod(sizes), generator=generator)
            return (order.double() / 5 - math.prod(sizes) / 10 + 0.05).reshape(sizes)
        if self.kind in {"positive", "unit", "above", "shares"}:
            uniform = torch.rand(sizes, generator=generator, dtype=torch.float64)
            if self.kind == "positive":
                return uniform * 1.9 + 0.1
            if self.kind == "above":
                return uniform * 1.9 + 1.1
            if self.kind == "unit":
                return uniform * 0.9 + 0.05
            return (uniform + 0.1) / (uniform + 0.1).sum(-1, keepdim=True)
        normal = torch.randn(sizes, generator=generator, dtype=torch.float64)
        if self.kind == "away":
            return normal + torch.where(normal < 0, -0.1, 0.1)
        assert not self.kind, f"no such kind of input: {self.kind}"
        return normal


@dataclass(frozen=True)
class Trial:
    """One test text of one row."""

    row: str
    expression: str
    inputs: tuple[Given, ...]
    text: str = ""

    @staticmethod
    def parse(row: str, text: str) -> Trial:
        expression, _, given = text.partition(" where ")
        inputs = tuple(Given.parse(part) for part in given.split(";") if given)
        return Trial(row, expression.strip(), inputs, text)

    @property
    def source(self) -> str:
        """The expression as a forward."""
        names = ", ".join(given.name for given in self.inputs)
        return f"def forward({names}):\n    return {self.expression}\n"

    def draw(
        self, seed: int, dtype: torch.dtype = torch.float64, times: int = 1
    ) -> dict[str, Tensor]:
        """Values for its inputs."""
        generator = torch.Generator().manual_seed(zlib.crc32(self.source.encode()) + seed)
        drawn = {given.name: given.draw(generator, times) for given in self.inputs}
        return {n: v.to(dtype) if v.is_floating_point() else v for n, v in drawn.items()}

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        """The float outputs of the expression."""
        found = eval(_compiled(self.expression), {**SCOPE, **inputs})
        several = found if isinstance(found, tuple | list) else (found,)
        tensors = (t for t in several if isinstance(t, Tensor))
        return tuple(t for t in tensors if t.is_floating_point() or t.is_complex())

    def resized(self, size: int, to: int) -> Trial:
        """With axes of one size of another; an index into them stays within them."""
        inputs = [
            replace(
                given,
                sizes=tuple(to if s == size else s for s in given.sizes),
                below=max(to, 1) if given.below == size else given.below,
            )
            for given in self.inputs
        ]
        return replace(self, inputs=tuple(inputs))

    def larger(self) -> int:
        """How many times as large the sizes may be taken; 1 where the text fits no others."""
        return next((times for times in LARGER if self._runs(times)), 1)

    def _runs(self, times: int) -> bool:
        """Not if it then has another number of outputs, broadcasts otherwise, or is too large."""
        if sum(value.numel() for value in self.draw(0, times=times).values()) > MOST_ELEMENTS:
            return False
        before = self.forward(**self.draw(0))
        try:
            after = self.forward(**self.draw(0, times=times))
        except (RuntimeError, IndexError, ValueError):
            return False
        return [[s == 1 for s in t.shape] for t in before] == [
            [s == 1 for s in t.shape] for t in after
        ]

    def __str__(self) -> str:
        return f"{self.row}: {self.expression}"


@cache
def _compiled(expression: str) -> Any:
    return compile(expression, "<trial>", "eval")


def book_rows() -> list[Rule]:
    """Every row with a gradient but those that a user's `gradninja.rule` added."""
    return [row for row in BOOK if row.name not in BOOK.own and not row.constant]


def trials_of(row: Rule) -> list[Trial]:
    return [Trial.parse(row.name, text) for text in row.tests]
