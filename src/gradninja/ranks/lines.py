"""The lines of one rank's text as they are made."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from gradninja.ranks.types import Type

COLLECTIVES = "fc"  # torch.distributed._functional_collectives, by the name that the text gives it


@dataclass(frozen=True, eq=False)
class RankLine:
    """A line of the forward or backward, as one rank has it.

    `of` are the names that it binds or writes into, `types` their types, one for each mesh axis.
    `answers` is the forward's line that a line of the backward answers.
    """

    node: ast.stmt
    of: tuple[str, ...]
    types: tuple[tuple[Type, ...] | None, ...]
    answers: str = ""
    note: str = ""

    def __str__(self) -> str:
        return ast.unparse(self.node)


@dataclass(frozen=True, eq=False)
class Collective:
    """A call in which the ranks along a mesh axis take part: `names` become `into`.

    `kind` is `all_reduce`, `all_gather` or `reduce_scatter`; `why` says what needs the result,
    `shapes` are those that one rank hands in, with names for the axes.
    """

    kind: str
    names: tuple[str, ...]
    into: tuple[str, ...]
    mesh_axis: str
    why: str
    shapes: tuple[tuple[str, ...], ...]
    elements: int  # handed in, on the sizes that were read
    dtype: str
    op: str = "sum"
    dim: int = 0
    ready: int = 0  # the line after which the names may be handed in

    def __str__(self) -> str:
        group, into = self.mesh_axis, ", ".join(self.into)
        name, call = self.names[0], f"{COLLECTIVES}.{self.kind}"
        if self.kind == "all_gather":
            return f"{into} = {call}_tensor({name}, {self.dim}, {group})"
        if self.kind == "reduce_scatter":
            return f'{into} = {call}_tensor({name}, "{self.op}", {self.dim}, {group})'
        if len(self.names) > 1:
            return f'{into} = {call}_coalesced([{", ".join(self.names)}], "{self.op}", {group})'
        return f'{into} = {call}({name}, "{self.op}", {group})'
