"""All walks of one backward: every draw, both precisions, with the truth put in and as written."""

from __future__ import annotations

import ast
import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import CodeType
from typing import Any

import torch

from gradninja.check.given.backward_text import Written, returns
from gradninja.check.given.draws import Draw, draws
from gradninja.check.given.execution import tensors_of
from gradninja.check.given.plan import Plan, plan
from gradninja.check.given.subject import Subject
from gradninja.check.reference import tolerance as rounding
from gradninja.check.reference.noise import disturbed
from gradninja.check.reference.tolerance import Tolerance
from gradninja.check.reference.truth import KNOWN, Names, Truth, names_of, size, truth
from gradninja.check.tell.findings import CheckError
from gradninja.check.walks.statement_walk import Judged, Match, Walk, codes, start
from gradninja.check.walks.written import AsWritten, as_written

PRECISIONS = (torch.float64, torch.float32)
SAMPLES = 3  # of what rounding may do
LOOSE = {torch.float64: 1e-9, torch.float32: 1e-3}  # only to tell which version a value is of


@dataclass(frozen=True, eq=False)
class Trial:
    """One draw: the truth in float64 (`wide`) and in float32 (`single`)."""

    draw: Draw
    names: Names
    wide: Truth
    single: Truth
    digits: float = 0.0  # how far the constants of the text are rounded, relative
    seal: bytes = b""  # its digest when it was made

    @property
    def gradients(self) -> dict[str, str]:
        """Gradient name -> the forward's name that it is of."""
        return {self.names.gradient(n): n for n in self.names.versions if self.versions(n)}

    def digest(self) -> bytes:
        """What changes when a value of the truth does."""
        found = hashlib.blake2b()
        for known in (self.wide, self.single):
            for values in (known.gradients, known.given, known.state):
                for _, tensor in tensors_of(values):
                    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
                    # One element counts as contiguous with whatever stride: a clone has its own.
                    plain = plain.clone(memory_format=torch.contiguous_format)
                    found.update(plain.reshape(-1).view(torch.uint8).numpy().data)
        return found.digest()

    def truth(self, dtype: torch.dtype) -> Truth:
        return self.wide if dtype == torch.float64 else self.single

    def versions(self, variable: str) -> tuple[str, ...]:
        """The bindings of a name that have a gradient."""
        return tuple(v for v in self.names.versions[variable] if v in self.wide.gradients)


def tried(subject: Subject, takes: Callable[[str], bool]) -> list[Trial]:
    """Every draw with its truth. `takes`: whether the backward takes an output's gradient.

    Raises:
        ReadError, CheckError: there is no forward to read, or it cannot be differentiated.
    """
    source = subject.source
    if source is None:
        raise CheckError(
            f"{subject.file} has no function named forward",
            hint="write `def forward(...)` in plain PyTorch beside the backward",
        )
    found = []
    for draw in draws(source, subject.forward, subject.inputs, subject.book):
        names = names_of(source, draw.program)
        of = (source, names, subject.namespace, takes, subject.unwanted)
        wide = truth(draw, torch.float64, *of)
        try:
            single = truth(draw, torch.float32, *of)
        except CheckError:  # what it casts to float64 itself does not meet float32
            single = wide
        trial = Trial(draw, names, wide, single)
        found.append(replace(trial, seal=trial.digest()))
    return found


def forget(trials: Sequence[Trial], kept: Collection[str]) -> None:
    """Let go of all true gradients that there are, but for those of these names."""
    left = {id(known): set[str]() for known in KNOWN}
    for trial in trials:
        names = [v for g, of in trial.gradients.items() if g in kept for v in trial.versions(of)]
        for known in (trial.wide, trial.single):
            left[id(known)].update(names)
    for known in KNOWN:
        for version in set(known.gradients) - left[id(known)]:
            del known.gradients[version]


def held(trials: Sequence[Trial]) -> None:
    """Hold that the truth is what it was.

    Raises:
        CheckError: a checked line found its tensors in memory, and wrote into them.
    """
    if any(trial.digest() != trial.seal for trial in trials):
        raise CheckError(
            "the file changes the values that it is compared with",
            hint="a backward writes into what it is given, and into nothing else",
        )


@dataclass(eq=False)
class Trials:
    """The walks of one plan, made when they are asked for."""

    trials: tuple[Trial, ...]
    written: Written
    namespace: Mapping[str, Any]
    plan: Plan
    codes: Mapping[bool, list[CodeType]]
    complete: bool = False
    keep: frozenset[int] = field(default_factory=frozenset)
    said: frozenset[str] = frozenset()  # inputs of which it is said that they need no gradient
    own: frozenset[str] = field(default_factory=frozenset)  # names that are no gradients here

    @property
    def inputs(self) -> tuple[str, ...]:
        """The forward's inputs that have a gradient."""
        return tuple(self.trials[0].draw.program.differentiable)

    def match(self, trial: Trial, dtype: torch.dtype) -> Match:
        """Which version's gradient a value is, roughly; None where it is of none."""
        truth = trial.truth(dtype)

        def found(name: str, value: Any) -> str | None:
            versions = trial.versions(self.plan.gradients[name])
            for version in versions:
                expected = truth.gradients[version]
                if rounding.comparable(value, expected):
                    allowed = LOOSE[dtype] * (size(expected) + 1e-3 * truth.scale)
                    if rounding.distance(value, expected) <= allowed:
                        return version
            return None

        return found

    @cached_property
    def unwanted(self) -> frozenset[str]:
        """Float inputs that no gradient is asked of: it is said so, or only others are returned."""
        inputs = self.trials[0].draw.program.differentiable
        mentioned = {
            node.id
            for statement in self.written.statements
            for node in ast.walk(statement)
            if isinstance(node, ast.Name)
        }
        returned = self.written.gives or next(returns(self.written), None) is not None
        gradient = self.trials[0].names.gradient
        return frozenset(
            name
            for name in inputs
            if name in self.said or (returned and gradient(name) not in mentioned)
        )

    @cached_property
    def withheld(self) -> frozenset[str]:
        """The gradients of 0-dim outputs, which are 1, that a function writes unasked for."""
        parameters = self.written.parameters
        cotangents = self.trials[0].wide.cotangents
        mine = {name for name, given in cotangents.items() if given.ndim == 0}
        written = set().union(*(step.writes for step in self.plan.steps))
        return frozenset(mine & written - set(parameters)) if parameters else frozenset()

    def one(self, name: str) -> int | None:
        """The line by which a function gives the output's gradient itself, which is 1."""
        writers = self.plan.writers(name)
        mine = name in self.withheld and name not in self.plan.gradients
        return writers[0] if mine and len(writers) == 1 else None

    def of(self, written: Written) -> Trials:
        """The same draws for another text of the backward."""
        judged = {g: of for g, of in self.trials[0].gradients.items() if g not in self.own}
        made = plan(written.statements, judged)
        steps = codes(made, written.file)
        return replace(self, written=written, plan=made, codes=steps).with_hidden_writes()

    def with_hidden_writes(self) -> Trials:
        """The same, knowing which helpers write in place: that is seen when they run."""
        hidden = self.as_written(self.trials[0], torch.float64, watch=True).hidden
        return replace(self, plan=self.plan.with_writes(hidden)) if hidden else self

    def walk(self, trial: Trial, dtype: torch.dtype) -> Judged:
        return self._walk(trial, dtype, self._start(trial, dtype))

    def _start(self, trial: Trial, dtype: torch.dtype) -> dict[str, Any]:
        return start(
            trial.truth(dtype),
            trial.names,
            self.namespace,
            self.written.parameters,
            natural=False,
            handed=[name for name in self.plan.gradients if self.plan.absent(name)],
            withheld=self.withheld,
        )

    def _walk(self, trial: Trial, dtype: torch.dtype, scope: dict[str, Any]) -> Judged:
        truth, match = trial.truth(dtype), self.match(trial, dtype)
        return Walk(
            self.plan,
            self.codes,
            truth,
            trial.names,
            scope,
            match,
            complete=self.complete,
            keep=self.keep,
            ones={at: name for name in self.withheld if (at := self.one(name)) is not None},
        ).run()

    def scatter(self, index: int, name: str, version: str) -> float:
        """How far float32's rounding may take one gradient from the truth, on one draw."""
        trial, wide = self.trials[index], torch.float64
        true = trial.wide.gradients[version]
        found = 0.0
        for seed in range(SAMPLES):
            scope = self._start(trial, wide)
            walk = disturbed(scope, lambda scope: self._walk(trial, wide, scope), seed)
            value = walk.outcomes[name].value
            if rounding.comparable(value, true):
                found = max(found, rounding.distance(value, true))
        return found

    @cached_property
    def walks(self) -> list[dict[torch.dtype, Judged]]:
        """Per draw and precision."""
        return [{dtype: self.walk(trial, dtype) for dtype in PRECISIONS} for trial in self.trials]

    def as_written(self, trial: Trial, dtype: torch.dtype, *, watch: bool = False) -> AsWritten:
        truth = trial.truth(dtype)
        scope = start(
            truth,
            trial.names,
            self.namespace,
            self.written.parameters,
            natural=True,
            withheld=self.withheld,
        )
        codes = self.codes[dtype == torch.float64]
        return as_written(self.plan, codes, truth, scope, self.match(trial, dtype), watch=watch)


def tolerances(
    trials: Sequence[Trial], versions: Sequence[str], pairs: Sequence[tuple[Any, Any]]
) -> list[Tolerance]:
    """What rounding explains of one gradient, per draw.

    `versions`: the program's name of it per draw; `pairs`: its values in float32 and float64.
    """
    spread = 0.0
    for trial, version, pair in zip(trials, versions, pairs, strict=True):
        true = (trial.single.gradients[version], trial.wide.gradients[version])
        spread = max(spread, rounding.relative_spread(trial.wide, [true, pair]))
        if trial.single is trial.wide:  # it does not run in float32: what such sums may lose there
            spread = max(spread, math.sqrt(trial.wide.terms) * torch.finfo(torch.float32).eps)
    return [
        rounding.tolerance(trial.wide, trial.wide.gradients[version], spread, trial.digits)
        for trial, version in zip(trials, versions, strict=True)
    ]


LONG = 7  # digits, of a constant that stands for one of more
SHORT = 4  # digits, of a constant that stands for itself
AMPLIFIED = 8.0  # times, by what is done with it


def digits_of(nodes: Iterable[ast.AST]) -> float:
    """How far the rounded constants of a text may take what is computed with them, relative.

    `0.79788456` stands for the root of 2/pi, and is right to half a unit in its last place.
    """
    found = 0.0
    for node in (part for whole in nodes for part in ast.walk(whole)):
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, float) and value and math.isfinite(value):
            digits, _, power = f"{value!r}".partition("e")
            whole, _, part = digits.partition(".")
            # 1.00000001 is no rounded constant: it is a short one that somebody bent.
            short = len(f"{value:.6e}".partition("e")[0].replace(".", "").strip("0-")) < SHORT
            if len((whole + part).strip("0")) >= LONG and not short:
                unit = 10.0 ** (int(power or 0) - len(part))
                found = max(found, AMPLIFIED * 0.5 * unit / abs(value))
    return found
