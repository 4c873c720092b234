"""What a reader is shown of a backward pass: visits to the forward's lines, the last line first."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from gradninja.algebra import Fused
from gradninja.algebra.tell.steps import Step as Derivation
from gradninja.derive import Backward, BackwardLine
from gradninja.explain.formula import Formula
from gradninja.explain.seen_shapes import Shapes
from gradninja.explain.translate import Translator
from gradninja.lines import Line, Program
from gradninja.lines.scope import LIBRARY

# The two sentences that the whole of it rests on; deriving puts them where they act.
SUM_TO_BROADCAST = "a sum in the forward is a broadcast in the backward"
BROADCAST_TO_SUM = "a broadcast in the forward is a sum in the backward"


@dataclass(frozen=True)
class Answer:
    """A backward line for a reader.

    `shape` is the equation of its shapes, `broadcasts` what it repeats on the way; `why` are the
    rules in words, less those that this visit has told already; `steps` are those of the algebra
    that led to it, where it was fused.
    """

    line: BackwardLine
    shape: str
    broadcasts: tuple[str, ...]
    formula: Formula
    why: tuple[str, ...]
    steps: tuple[Derivation, ...]


@dataclass(frozen=True, eq=False)
class Step:
    """A forward line for a reader; `differentiable` where a gradient flows through it."""

    line: Line
    index: int
    code: str
    shape: str
    broadcasts: tuple[str, ...]
    formula: Formula
    differentiable: bool
    reads: tuple[str, ...]


@dataclass(frozen=True)
class Visit:
    """A forward line and the backward lines that answer it; no line where none leads there."""

    step: Step | None
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Given:
    """An input for a reader: `shape` in words, whether a gradient is wanted for it."""

    name: str
    shape: str
    tensor: bool
    differentiable: bool


class Walkthrough:
    """All that the views show of a `Backward`, made once from its lines."""

    def __init__(self, back: Backward) -> None:
        self.back = back
        program = back.program
        gradients = {gradient: of for of, gradient in back.gradient_names.items()}
        scope = {**LIBRARY, **program.namespace}
        scope.update({given.name: given.value for given in program.inputs})
        self.shapes = Shapes(scope, program.axes_of, back.book)
        self.translator = Translator(self.shapes, gradients)
        with back.as_read():
            self.steps = tuple(self._step(i, line) for i, line in enumerate(program.lines))
            values = program.values
            for output in back.outputs:
                self.shapes.scope[back.gradient_names[output]] = torch.ones_like(values[output])
            self.visits = self._visits()

    def _step(self, index: int, line: Line) -> Step:
        tree = ast.parse(line.code).body[0]
        self.shapes.run(tree)
        return Step(
            line=line,
            index=index,
            code=_as_written(self.back.program, line),
            shape=self.shapes.equation(tree),
            broadcasts=tuple(self.shapes.broadcasts(tree)),
            formula=self.translator.statement(tree),
            differentiable=line.expr.differentiable,
            reads=_names(line.expr.syntax),
        )

    def _visits(self) -> tuple[Visit, ...]:
        steps = {id(step.line): step for step in self.steps}
        visits: list[Visit] = []
        for line in self.back.lines:
            step: Step | None = steps[id(line.forward)]
            if step is not None and not line.rules and line.of not in step.reads:
                step = None  # an input that the output does not depend on
            if not visits or visits[-1].step is not step:
                visits.append(Visit(step, ()))
            told = {sentence for answer in visits[-1].answers for sentence in answer.why}
            answers = (*visits[-1].answers, self._answer(line, told))
            visits[-1] = Visit(step, answers)
        return tuple(visits)

    def _answer(self, line: BackwardLine, told: set[str]) -> Answer:
        tree = ast.parse(line.code).body[0]
        self.shapes.run(tree)
        return Answer(
            line=line,
            shape=self.shapes.equation(tree),
            broadcasts=tuple(self.shapes.broadcasts(tree)),
            formula=self.translator.statement(tree),
            why=tuple(sentence for sentence in line.why if sentence not in told),
            steps=self._derivation(line),
        )

    def _derivation(self, line: BackwardLine) -> tuple[Derivation, ...]:
        if not isinstance(self.back, Fused):
            return ()
        steps = (step for step in self.back.steps if step.of == line.name)
        return tuple(step for step in steps if step.text != line.source)

    @cached_property
    def rest(self) -> tuple[Step, ...]:
        """The lines that no gradient flows through; what is fused answers the others in one go."""
        visited = {visit.step.index for visit in self.visits if visit.step is not None}
        rest = (step for step in self.steps if step.index not in visited)
        fused = isinstance(self.back, Fused)
        return tuple(step for step in rest if not (fused and step.differentiable))

    @cached_property
    def inputs(self) -> tuple[Given, ...]:
        """The inputs, in the order of the signature."""
        found = []
        for given in self.back.program.inputs:
            tensor = isinstance(given.value, torch.Tensor)
            names = given.axes or self.back.program.axes_of(
                tuple(given.value.shape) if tensor else ()
            )
            shape = f"({', '.join(names)})" if tensor else f"= {given.value!r}"
            found.append(Given(given.name, shape, tensor, given.differentiable))
        return tuple(found)

    @property
    def seeds(self) -> tuple[str, ...]:
        """What stands before the first line: the gradients of the outputs."""
        back = self.back
        if back.scalar:
            return (f"{back.cotangents[0]} = 1",)
        return tuple(f"{name} is handed in" for name in back.cotangents)

    @property
    def first(self) -> str:
        """What to read first."""
        step = next((visit.step for visit in self.visits if visit.step is not None), None)
        if step is None:
            return "No gradient flows: read which inputs the output does not depend on."
        return (
            f"Read first how line {step.line.number} is answered: the way back begins there, and "
            "each card further down takes up what came out of the one before."
        )

    @property
    def title(self) -> str:
        """What is explained."""
        program = self.back.program
        file = f" of {Path(program.file).name}" if program.file.endswith(".py") else ""
        return f"The backward pass of {program.name}{file}, line by line"

    @property
    def counts(self) -> str:
        """How long both are."""
        told = [(len(self.steps), "forward line"), (len(self.back.lines), "backward line")]
        return ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for n, what in told)


def _as_written(program: Program, line: Line) -> str:
    """The line as the person wrote it; in names bound once where it is only a part of theirs."""
    code = program.say(line.code)
    try:
        same = ast.unparse(ast.parse(line.source.strip())) == code
    except SyntaxError:
        same = False
    return line.source.strip() if same else code


def _names(syntax: ast.expr) -> tuple[str, ...]:
    found: Mapping[str, None] = dict.fromkeys(
        node.id for node in ast.walk(syntax) if isinstance(node, ast.Name)
    )
    return tuple(found)
