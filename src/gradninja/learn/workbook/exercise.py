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
from gradninja.learn.forward import Forward, Run, forward_of, is_float, run
from gradninja.learn.hints import hints
from gradninja.learn.lines import Reading
from gradninja.learn.notebook import order
from gradninja.learn.session import Session, cells, statements
from gradninja.learn.workbook.chapters import Chapter, chapter


class Exercise:
    """A chapter's forward with its values; verdicts are plain values for JSON."""

    def __init__(self, what: Chapter) -> None:
        self.chapter = what
        self.names: dict[str, Any] = {}
        for cell in (what.setup, what.forward):
            exec(compile(cell, what.name, "exec"), self.names)
        here = Session(tuple(cells(["", what.setup, what.forward])), self.names, True)
        self.forward: Forward = forward_of(here, (what.asked or ("loss",))[0], "loss")
        self.truth: Run = run(self.forward)
        self.steps = what.asked or tuple(order(self.forward))

    @cached_property
    def reading(self) -> Reading:
        return Reading(self.forward)

    @cached_property
    def back(self) -> Backward:
        """The solution: all in one go where only a few gradients are asked for."""
        if not self.chapter.asked:
            return self.reading.backward
        return fuse(self.reading.function, dict(self.reading.given), wrt=self.chapter.asked)

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
            "steps": [{"name": step, **self._from(step)} for step in self.steps],
        }

    def _from(self, step: str) -> dict[str, Any]:
        """Where a gradient comes back from."""
        ways = []
        for line in self.forward.uses(step):
            name = min(line.binds)
            shape = shape_told(tuple(self.names[name].shape))
            ways.append({"gradient": f"d{name}", "shape": shape, "line": line.text})
        return {"shape": shape_told(tuple(self.names[step].shape)), "ways": ways}

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
        try:
            with torch.no_grad():
                exec(compile(tree, "your lines", "exec"), scope)
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
        before = {f"d{name}" for name in self.steps[: self.steps.index(step)]}
        after = (self.reading.after(step) | before) - {f"d{step}"}
        truth = self.truth.gradients
        return {f"d{n}": truth[n].clone() for n in truth if f"d{n}" in after and is_float(truth[n])}

    def hint(self, step: str, stage: int) -> list[str]:
        """The hints for a step up to a stage."""
        return list(hints(self.back, step, stage, self.forward.place_of).shown)


@lru_cache(maxsize=16)
def exercise(name: str) -> Exercise:
    """The exercise of a chapter's name, made once.

    Raises:
        KeyError: there is none.
    """
    return Exercise(chapter(name))
