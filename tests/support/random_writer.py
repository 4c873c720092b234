"""Writes random straight-line programs."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from random_expressions import HELPER, Expressions, Misfit, Node

SIZES = {"n": 3, "d": 4, "k": 2}
SHAPES = ("n d", "n d", "n d", "n 1", "1 d", "d", "", "d k", "k n d", "n n", "n", "k 1 d")


@dataclass
class RandomProgram:
    """A program's text and the shapes of its inputs, in named sizes."""

    text: str = ""
    shapes: dict[str, str] = field(default_factory=dict)
    bounds: dict[str, str] = field(default_factory=dict)  # of an index tensor

    def inputs(self, seed: int, sizes: dict[str, int]) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        found = {}
        for name, axes in self.shapes.items():
            shape = [sizes.get(axis) or int(axis) for axis in axes.split()]
            if name in self.bounds:
                bound = sizes[self.bounds[name]]
                found[name] = torch.randint(0, bound, shape, generator=generator)
            else:
                found[name] = torch.randn(shape, generator=generator, dtype=torch.float64)
        return found

    def function(self) -> Callable[..., Any]:
        scope: dict[str, Any] = {"torch": torch, "F": F}
        exec(self.text, scope)
        return scope["forward"]


class Writer(Expressions):
    """Writes one program, line by line."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.program = RandomProgram()
        self.lines: list[str] = []

    def write(self) -> RandomProgram:
        self._inputs()
        for _ in range(self.rng.randint(4, 11)):
            self._line()
        self._finish()
        helper = HELPER.lstrip() + "\n\n" if any("mix(" in line for line in self.lines) else ""
        head = f"{helper}def forward({', '.join(self.program.shapes)}):\n"
        self.program.text = head + "".join(f"    {line}\n" for line in self.lines)
        return self.program

    def _inputs(self) -> None:
        for name in "xyzw"[: self.rng.randint(2, 4)]:
            self.program.shapes[name] = self.rng.choice(SHAPES)
            self.tensors.append(name)
            self.unused.append(name)
        if self.rng.random() < 0.4:
            self.program.shapes["ix"] = self.rng.choice(["n", "d", "n 2", "3"])
            self.program.bounds["ix"] = self.rng.choice(["n", "k"])
            self.indices.append("ix")
        self.scope.update(self.program.inputs(0, SIZES))

    def _line(self) -> None:
        kinds = [self._binding] * 12 + [self._int_line, self._unpacking, self._loop, self._held]
        self.rng.choice(kinds)()

    def _bind(self, name: str, node: Node, line: str) -> None:
        used = set(re.findall(r"[a-z]\w*", node.text))
        self.unused = [held for held in self.unused if held not in used and held != name]
        self.lines.append(line)
        self.scope[name] = node.value
        self.tensors.append(name)
        self.unused.append(name)

    def _fresh(self) -> str:
        return f"{self.rng.choice('abchpq')}{len(self.lines)}"

    def _binding(self) -> None:
        node = self.expression(self.rng.randint(1, 3))
        name = self.rng.choice(self.tensors) if self.rng.random() < 0.25 else self._fresh()
        self._bind(name, node, f"{name} = {node.text}")

    def _held(self) -> None:
        node, name = self.expression(1), self._fresh()
        if any(node.value is held for held in self.scope.values()):
            return  # an operation that gives back its operand, which PyTorch then lets through
        self._bind(name, node, f"with torch.no_grad():\n        {name} = {node.text}")

    def _loop(self) -> None:
        """A name bound again and again by a loop over a constant range."""
        name, by = self.rng.choice(self.tensors), self.leaf()
        step = self.rng.choice(
            [
                f"{name}.tanh() + i * 0.1",
                f"{name} * 0.5 - {by.text} ** 2 / 9",
                f"{by.text} / (2 + i)",
            ]
        )
        before = self.scope[name]
        try:
            for i in range(3):
                self.scope["i"] = i
                node = self.value(step)
                self.scope[name] = node.value
        except Misfit:
            self.scope[name] = before
            return
        self._bind(name, node, f"for i in range(3):\n        {name} = {step}")

    def _int_line(self) -> None:
        name = self.rng.choice(self.tensors)
        if self.scope[name].ndim == 0:
            return
        axis = self.rng.randrange(self.scope[name].ndim)
        target = f"size{len(self.lines)}"
        text = self.rng.choice([f"{name}.shape[{axis}]", f"{name}.size({axis})", f"len({name})"])
        self.lines.append(f"{target} = {text}")
        self.scope[target] = eval(text, self.scope)
        self.ints.append(target)

    def _unpacking(self) -> None:
        node = self.leaf()
        axes = [axis for axis, size in enumerate(node.value.shape) if size == 4]
        if not axes:
            return
        names = [f"left{len(self.lines)}", f"right{len(self.lines)}"]
        call = self.rng.choice([f"chunk(2, {axes[0]})", f"split([1, 3], dim={axes[0]})"])
        parts = eval(f"{node.text}.{call}", self.scope)
        for name, part in zip(names, parts, strict=True):
            self._bind(name, Node(node.text, part), f"{', '.join(names)} = {node.text}.{call}")
        self.lines.pop()  # one line binds both

    def _finish(self) -> None:
        """What nothing used yet is returned, so that every line matters."""
        last, early = self.tensors[-1], self.rng.choice(self.tensors)
        loose = " + ".join(f"{name}.mean()" for name in self.unused) or f"{last}.sum()"
        form = self.rng.choice(
            [
                f"{last} * ({loose})",
                f"({loose}) ** 2",
                loose,
                f"{last}, {loose}",
                f"torch.tanh({early}), {loose}",
                f"{early} - ({loose})",
            ]
        )
        self.lines.append(f"return {form}")
