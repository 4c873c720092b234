"""The rows' own test texts: `EXPRESSION where a: 3 4; b: 4 positive; index: 5 < 3`.

An input is its sizes (`()` for a 0-dim tensor), then what its values are: nothing (normal floats),
`positive` (0.1 to 2), `unit` (0.05 to 0.95), `distinct` (all different), `ties` (few different
values, 0 among them), `bool`, or `< k` (ints from 0 to k - 1, repeated).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Trial:
    """One test text of one row."""

    row: str
    expression: str
    inputs: tuple[tuple[str, str], ...]

    @staticmethod
    def parse(row: str, text: str) -> Trial:
        expression, _, given = text.partition(" where ")
        pairs = [part.partition(":") for part in given.split(";")]
        return Trial(
            row,
            expression.strip(),
            tuple((name.strip(), spec.strip()) for name, _, spec in pairs),
        )

    @property
    def source(self) -> str:
        """The expression as a forward."""
        names = ", ".join(name for name, _ in self.inputs)
        return f"def forward({names}):\n    return {self.expression}\n"

    def draw(self, generator: torch.Generator, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """Values for its inputs."""
        return {name: draw(spec, generator, dtype) for name, spec in self.inputs}

    def __str__(self) -> str:
        return f"{self.row}: {self.expression}"


def draw(spec: str, generator: torch.Generator, dtype: torch.dtype) -> torch.Tensor:
    """A tensor as a specification asks for it."""
    words = spec.replace("()", "").split()
    sizes = tuple(int(w) for w in words if w.isdigit())
    kinds = [w for w in words if not w.isdigit()]
    kind = kinds[0] if kinds else "normal"
    if kind == "<":
        return torch.randint(0, sizes[-1], sizes[:-1], generator=generator)
    if kind == "bool":
        return torch.rand(sizes, generator=generator) < 0.5
    if kind == "ties":
        return torch.randint(-1, 2, sizes, generator=generator).to(dtype)
    if kind == "distinct":
        count = int(torch.tensor(sizes).prod())
        return torch.randperm(count, generator=generator).reshape(sizes).to(dtype) / 3 - 1
    uniform = torch.rand(sizes, generator=generator, dtype=dtype)
    scaled = {"positive": uniform * 1.9 + 0.1, "unit": uniform * 0.9 + 0.05}
    if kind in scaled:
        return scaled[kind]
    if kind != "normal":
        raise ValueError(f"no such kind of input: {spec!r}")
    return torch.randn(sizes, generator=generator, dtype=dtype)
