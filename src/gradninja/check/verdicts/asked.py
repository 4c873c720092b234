"""How a backward is to be judged: which of its gradients, and what passes for right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from gradninja.check.tell.findings import CheckError, Verdict
from gradninja.check.verdicts.row import Row
from gradninja.check.verdicts.verdict import Finding
from gradninja.check.walks.trials import Trials
from gradninja.choices import Under
from gradninja.lines import NAME
from gradninja.lines.program import names_in


@dataclass(frozen=True)
class Asked:
    """`complete`: every input needs its gradient; `only`: these gradients, `dh` or `h`, and no
    others; `lenient`: an axis of size 1 more or less is no mistake; `last`: what these names hold
    at the end is meant, whatever they held before; `under`: what a Function is
    called under besides.
    """

    complete: bool = False
    only: frozenset[str] | None = None
    lenient: bool = False
    last: frozenset[str] = frozenset()
    under: tuple[Under, ...] = ()

    @staticmethod
    def of(
        complete: bool = False,
        only: Iterable[str] | None = None,
        lenient: bool = False,
        under: Iterable[str] = (),
    ) -> Asked:
        names = None if only is None else frozenset(only)
        return Asked(complete, names, lenient, under=_known(under))

    def gradients(self, trials: Trials) -> frozenset[str] | None:
        """The gradients that are asked for; None for all.

        Raises:
            CheckError: one of them is of nothing that the forward has.
        """
        if self.only is None:
            return None
        known = trials.trials[0].gradients
        names = trials.trials[0].names
        found = {name if name in known else names.gradient(name) for name in self.only}
        for name in sorted(self.only):
            if not {name, names.gradient(name)} & set(known):
                raise CheckError(
                    f"`{name}` is no gradient of this forward",
                    hint=f"its gradients are: {', '.join(in_order(trials))}",
                )
        return frozenset(found & set(known))


def _known(names: Iterable[str]) -> tuple[Under, ...]:
    words: dict[str, Under] = {word: word for word in get_args(Under)}
    for name in names:
        if name not in words:
            raise CheckError(
                f"nothing is called under `{name}`", hint=f"there are: {', '.join(words)}"
            )
    return tuple(words[name] for name in names)


WHOLE = Asked(complete=True)


def in_order(trials: Trials) -> list[str]:
    """Every gradient, in the order in which the way back comes by: last used first."""
    program = trials.trials[0].draw.program
    given = trials.trials[0].wide.cotangents
    first: dict[str, int] = {}
    for at, line in enumerate(program.lines):
        for part in line.expr.walk() if line.expr.differentiable else ():
            if part.op == NAME:
                first.setdefault(str(part), at)
    names = {g: trials.trials[0].versions(of)[0] for g, of in trials.trials[0].gradients.items()}
    wanted = {version: g for g, version in names.items() if g not in given}
    # `first` has them line by line, and within a line as Python comes by them.
    order = sorted(first, key=lambda version: -first[version])
    return [wanted[version] for version in order if version in wanted]


def todo(trials: Trials, inputs: Iterable[str]) -> Iterator[Row]:
    """The gradients to write yet for those of `inputs`, which no line writes, to come out.

    A variable's gradient is wanted where one that leads to it is, and a line that is written
    already ends the way: who wrote `dlogits` in one go needs no `dprobs`.
    """
    plan, trial = trials.plan, trials.trials[0]
    person = {version: name for name, of in trial.names.versions.items() for version in of}
    waiting, seen = list(inputs), set[str]()
    while waiting:
        version = waiting.pop()
        gradient = trial.names.gradient(person.get(version, version))
        written = gradient in plan.gradients and not plan.absent(gradient)
        if version in seen or written or version not in trial.wide.gradients:
            continue
        seen.add(version)
        for line in trial.draw.program.lines:
            if version in names_in(line.expr.syntax):
                waiting.extend(line.targets)
    for gradient in in_order(trials):
        versions = [t.versions(t.gradients[gradient])[0] for t in trials.trials]
        if versions[0] in seen:
            shape = tuple(trial.wide.gradients[versions[0]].shape)
            finding = Finding(Verdict.TODO, expected_shape=shape, versions=versions)
            yield Row(gradient, None, finding)


def chosen(rows: Sequence[Row], only: frozenset[str] | None) -> list[Row]:
    """The rows of the gradients that are asked for, and of what keeps one from being had."""
    if only is None:
        return list(rows)
    return [
        row
        for row in rows
        if row.name in only
        or any(other.name in only for other in filter(None, (row.through, *row.others)))
    ]
