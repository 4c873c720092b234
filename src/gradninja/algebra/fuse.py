"""From a forward to its fused backward."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

import gradninja.algebra.functions
import gradninja.algebra.operations  # noqa: F401 - they fill the table
from gradninja.algebra.engine import Engine
from gradninja.algebra.graph import Graph, Node
from gradninja.algebra.lower import Lowering
from gradninja.algebra.normal import Normal
from gradninja.derive import Backward, derive
from gradninja.derive.temporaries import name_temporaries
from gradninja.derive.walk import Walk
from gradninja.lines import Program
from gradninja.rules import BOOK, Book


@dataclass(frozen=True, eq=False)
class Fused(Backward):
    """A backward pass all in one go. See `gradninja.fuse`."""

    seeded: Backward

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """The names of the forward that the backward lines read, in the forward's order."""
        read = {
            node.id
            for statement in self.statements
            for node in ast.walk(statement.tree())
            if isinstance(node, ast.Name)
        }
        return tuple(name for name in self.program.values if name in read)

    @cached_property
    def source(self) -> str:
        return self._text(self.arguments, [])

    @property
    def seeded_source(self) -> str:
        return self.seeded.seeded_source

    @property
    def function_source(self) -> str:  # type: ignore[override]
        return self.seeded.function_source

    def __call__(
        self, inputs: Mapping[str, Any], grad: torch.Tensor | tuple[torch.Tensor, ...] | None = None
    ) -> dict[str, torch.Tensor]:
        return self.seeded(inputs, grad)


def fuse(
    forward: str | Path | Callable[..., Any],
    inputs: Mapping[str, Any] | None = None,
    wrt: Iterable[str] | None = None,
    *,
    prefer: str = "speed",
    style: str = "readable",
    book: Book = BOOK,
) -> Fused:
    """The backward pass of a forward, all in one go."""
    derived = derive(forward, inputs, wrt, style, book=book)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            return _fuse(derived, book)
    finally:
        torch.set_default_dtype(before)


def _fuse(derived: Backward, book: Book) -> Fused:
    program = derived.program
    lowering = Lowering(program, book)
    while lowering.left:
        program = name_temporaries(program, lowering.left)
        lowering = Lowering(program, book)
    cotangents, truth = _truth(program, book)
    backs = []
    for seeded in (False, True):
        normal = Normal(lowering.graph)
        engine = Engine(lowering, normal, truth, cuts_of(lowering), set())
        engine.run(cotangents, seeded)
        backs.append(
            Backward(program, "fused", tuple(engine.walk.statements), dict(engine.walk.gradient_names))
        )
    plain, with_seed = backs
    return Fused(program, "fused", plain.statements, plain.gradient_names, seeded=with_seed)


def cuts_of(lowering: Lowering) -> set[str]:
    """The variables that a matrix product makes: their gradients are used twice, so they get names."""
    return {
        node.line.targets[0]
        for node in lowering.graph.nodes
        if node.line is not None and node.flows and contracts(lowering.graph, node)
    }


def contracts(graph: Graph, node: Node) -> bool:
    """Whether a node is a matrix product; picking by a one-hot is none."""
    for term in node.terms or ():
        atoms = [graph.nodes[atom] for (atom, indices), _ in term.powers if indices]
        if term.bound and len(atoms) > 1 and not any(atom.hot for atom in atoms):
            return True
    return False


def _truth(
    program: Program, book: Book
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Cotangents, and the derived gradient of every variable for them."""
    generator = torch.Generator().manual_seed(0)
    values = program.values
    floats = [name for name in program.outputs if values[name].is_floating_point()]
    cotangents = {
        name: torch.ones_like(values[name])
        if values[name].ndim == 0 and len(floats) == 1
        else torch.randn(values[name].shape, generator=generator, dtype=values[name].dtype)
        for name in floats
    }
    walk = Walk(program, book, "readable")
    walk.run(cotangents)
    return cotangents, walk.totals
