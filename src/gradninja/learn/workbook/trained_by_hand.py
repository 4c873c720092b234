"""A network trained with a learner's own backward lines, a few steps at a time."""

from __future__ import annotations

import ast
import math
from typing import Any

import numpy as np
import torch

from gradninja.data import Dataset, load_words
from gradninja.learn.workbook.chapters import Chapter
from gradninja.lines.scope import compiled_tree, run, run_code

STEPS, CHUNK = 2000, 100  # in all, and before it is told how it stands
RATE, LATER = 0.2, 0.05  # of learning, and in the last quarter
MANY = 4096  # examples that the mean and the variance are taken over for sampling
NAMES, LONGEST = 10, 20
END = 0  # the token


class Training:
    """`lines` are the learner's, from the loss down to the parameters; no autograd is used."""

    def __init__(self, chapter: Chapter, lines: str) -> None:
        self.chapter = chapter
        self.words: Dataset = load_words()
        self.rng = np.random.default_rng(0)
        self.names: dict[str, Any] = {}
        run([chapter.setup], self.names, chapter.name)
        for name in chapter.trained:
            self.names[name] = self.names[name].detach()
        self.forward = ast.parse(chapter.forward).body
        self.code = compiled_tree(self.forward, chapter.name)
        self.mine = compiled_tree(ast.parse(lines).body, "your lines")
        self.done = 0

    def go_on(self) -> dict[str, Any]:
        """A hundred steps more: the mean loss of each ten, and at the end names that are sampled.

        Raises whatever the learner's lines raise.
        """
        losses = []
        with torch.no_grad():
            for _ in range(min(CHUNK, STEPS - self.done)):
                losses.append(self._step())
        means = [sum(part) / len(part) for at in range(0, len(losses), 10)
                 if (part := losses[at : at + 10])]  # fmt: skip
        found: dict[str, Any] = {"step": self.done, "of": STEPS, "losses": means}
        if not all(map(math.isfinite, means)):
            return {**found, "losses": [], "of": self.done, "names": [],
                    "said": "the loss is no number any more: a gradient has run away"}  # fmt: skip
        if self.done >= STEPS:
            found["names"] = self._sampled()
        return found

    def _step(self) -> float:
        scope = {**self.names, **self._batch(self.names["n"])}
        run_code(self.code, scope)
        run_code(self.mine, scope)
        rate = RATE if self.done < STEPS * 3 // 4 else LATER
        for name in self.chapter.trained:
            self.names[name] -= rate * scope[f"d{name}"]
        self.done += 1
        return float(scope["loss"])

    def _batch(self, count: int) -> dict[str, torch.Tensor]:
        split = self.words.train
        contexts, targets = split.contexts(self.rng.integers(0, len(split), count), 3)
        return {"Xb": torch.from_numpy(contexts).long(), "Yb": torch.from_numpy(targets).long()}

    @torch.no_grad()
    def _sampled(self) -> list[str]:
        """Names, a letter at a time, with the batch's statistics taken over many examples."""
        known = {**self.names, **self._batch(MANY)}
        run_code(self.code, known)
        fixed = {name: known[name] for name in self.chapter.fixed}
        names_of = [{n.id for n in ast.walk(line) if isinstance(n, ast.Name)
                     and isinstance(n.ctx, ast.Store)} for line in self.forward]  # fmt: skip
        kept = [line for line, names in zip(self.forward, names_of, strict=True)
                if not names & {*fixed, "loss"}]  # fmt: skip
        code = compiled_tree(kept, self.chapter.name)
        generator = torch.Generator().manual_seed(0)
        found = []
        for _ in range(NAMES):
            tokens = [END] * 3
            while len(tokens) < LONGEST + 3:
                scope = {**self.names, **fixed, "Xb": torch.tensor([tokens[-3:]])}
                run_code(code, scope)
                chances = torch.softmax(scope["logits"], 1)
                token = int(torch.multinomial(chances, 1, generator=generator))
                if token == END:
                    break
                tokens.append(token)
            found.append(self.words.vocabulary.decode(tokens[3:]))
        return found
