"""One chapter, ready to be judged: its forward run, its truth, a verdict for what is written."""

from __future__ import annotations

import ast
from functools import cached_property, lru_cache
from typing import Any

import torch

from gradninja.algebra.fuse import fuse
from gradninja.check.tell.report import shape_told
from gradninja.derive import Backward
from gradninja.errors import GradninjaError
from gradninja.learn.compare import numbers
from gradninja.learn.hints import hints
from gradninja.learn.judged_lines import Reading
from gradninja.learn.notebook import order
from gradninja.learn.ran_forward import Forward, Run, forward_of, is_float, run
from gradninja.learn.session import Session, Statement, cells, statements
from gradninja.learn.workbook.chapters import Chapter, chapter
from gradninja.learn.workbook.trained_by_hand import Training
from gradninja.lines.scope import run as run_text
from gradninja.lines.scope import run_tree

DRAWN = 16  # elements, of what is drawn element by element


class Exercise:
    """A chapter's forward with its values; verdicts are plain values for JSON."""

    def __init__(self, what: Chapter) -> None:
        self.chapter = what
        self.names: dict[str, Any] = {}
        for cell in (what.setup, what.forward):
            run_text([cell], self.names, what.name)
        here = Session(tuple(cells(["", what.setup, what.forward])), self.names, True)
        self.forward: Forward = forward_of(here, (what.asked or ("loss",))[0], "loss")
        self.truth: Run = run(self.forward)
        self.steps = what.asked or tuple(order(self.forward))
        self.training: Training | None = None

    @cached_property
    def reading(self) -> Reading:
        return Reading(self.forward)

    @cached_property
    def back(self) -> Backward:
        """The solution: all in one go where only a few gradients are asked for."""
        if not self.chapter.asked:
            return self.reading.backward
        wanted = [name for name in self.chapter.asked if name in self.forward.leaves]
        return fuse(self.reading.function, dict(self.reading.given), wrt=wanted)

    def told(self) -> dict[str, Any]:
        """The page's view of it: the forward's lines with shapes, and the steps."""
        lines = []
        for line in self.forward.lines:
            name = min(line.binds)
            value = self.names[name]
            lines.append(
                {"name": name, "text": line.text, "shape": shape_told(tuple(value.shape)),
                 "reads": sorted(line.reads)}
            )  # fmt: skip
        bound = {name for line in self.forward.lines for name in line.binds}
        given = [
            f"{name} {shape_told(tuple(value.shape))}"
            for name, value in self.names.items()
            if isinstance(value, torch.Tensor) and name not in {*bound, "p"}
        ]
        given += [f"{name} = {value}" for name, value in self.forward.numbers.items()]
        return {
            "name": self.chapter.name,
            "title": self.chapter.title,
            "intro": self.chapter.intro,
            "given": given,
            "lines": lines,
            "trains": bool(self.chapter.trained),
            "steps": [{"name": step, **self._from(step)} for step in self.steps],
        }

    def _from(self, step: str) -> dict[str, Any]:
        """Where a gradient comes back from, and what else is at hand."""
        ways = []
        for line in self.forward.uses(step):
            name = min(line.binds)
            shape = tuple(self.names[name].shape)
            ways.append(
                {"gradient": f"d{name}", "shape": shape_told(shape), "size": shape,
                 "line": line.text, "links": self._links(line, step, name)}
            )  # fmt: skip
        size = tuple(self.names[step].shape)
        have = [f"d{name}" for name in order(self.forward) if f"d{name}" in self._at_hand(step)]
        return {"shape": shape_told(size), "size": size, "ways": ways, "have": have}

    def _links(self, line: Statement, step: str, name: str) -> list[tuple[int, int]]:
        """(element of the variable, element of what the line gives) where the one moves the other;
        none where there are too many to be drawn.
        """
        value = self.names[step].detach()
        if max(value.numel(), self.names[name].numel()) > DRAWN:
            return []

        def run_with(moved: torch.Tensor) -> Any:
            scope = {**self.names, step: moved}
            run_tree([line.said], scope, "forward")
            return scope[name]

        jacobian: Any = torch.autograd.functional.jacobian
        slopes = jacobian(run_with, value)
        table = slopes.reshape(self.names[name].numel(), value.numel())
        return [(int(of), int(to)) for to, of in table.nonzero()]

    def judge(self, step: str, text: str) -> dict[str, Any]:
        """The verdict on the lines that are written for one gradient."""
        gradient = f"d{step}"
        if not text.strip():
            return {"verdict": "to do", "said": [f"{gradient} is not written yet"]}
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            return {"verdict": "unfinished", "said": [f"not Python yet: {error.msg}"]}
        scope = {**self.names, **self._upstream(step)}
        scope.update({n: v.detach() for n, v in self.names.items() if is_float(v)})
        try:
            with torch.no_grad():
                run_tree(tree.body, scope, "your lines")
        except Exception as error:  # the learner's own lines
            return self._wrong(step, text, [f"{type(error).__name__}: {error}"], "does not run")
        if gradient not in scope:
            return {"verdict": "unfinished", "said": [f"no line writes {gradient}"]}
        found = numbers(gradient, step, scope[gradient], self.truth.gradients[step])
        if found.ok:
            why = dict.fromkeys(w for line in self.back.lines if line.of == step for w in line.why)
            return {"verdict": "right", "said": [found.head], "learnt": list(why)}
        said = [found.head, *found.notes]
        if found.shape is not None and found.shape != found.expected:
            said.append(
                f"shape {shape_told(found.shape)}, it should be {shape_told(found.expected)}"
            )
        return self._wrong(step, text, said, found.verdict)

    def _wrong(self, step: str, text: str, said: list[str], verdict: str) -> dict[str, Any]:
        lines = list(statements(text, "your lines"))
        try:
            row = self.reading.judge(lines, f"d{step}", self._upstream(step))
        except GradninjaError:
            row = None
        kind = row.kind if row is not None and row.kind not in {None, "unknown", "raises"} else None
        return {"verdict": verdict, "kind": kind, "said": said}

    def _upstream(self, step: str) -> dict[str, torch.Tensor]:
        """The true gradients that are there before a step's: of earlier steps, and of what is
        computed from it."""
        truth, hand = self.truth.gradients, self._at_hand(step)
        return {f"d{n}": truth[n].clone() for n in truth if f"d{n}" in hand and is_float(truth[n])}

    def _at_hand(self, step: str) -> set[str]:
        """The gradients that a step may use."""
        before = {f"d{name}" for name in self.steps[: self.steps.index(step)]}
        if self.chapter.trained:  # where the lines must run by themselves
            return before
        return (self.reading.after(step) | before) - {f"d{step}"}

    def train(self, lines: str, begin: bool) -> dict[str, Any]:
        """Train with a learner's lines, from the beginning or a hundred steps more.

        Raises whatever the lines raise.
        """
        if begin or self.training is None:
            self.training = Training(self.chapter, lines)
        return self.training.go_on()

    def _place(self, number: int) -> str:
        return f"line {number - 1}"  # as the page counts them: below the `def`

    def hint(self, step: str, stage: int) -> list[str]:
        """The hints for a step up to a stage."""
        return list(hints(self.back, step, stage, self._place).shown)


@lru_cache(maxsize=16)
def exercise(name: str) -> Exercise:
    """The exercise of a chapter's name, made once.

    Raises:
        KeyError: there is none.
    """
    return Exercise(chapter(name))
