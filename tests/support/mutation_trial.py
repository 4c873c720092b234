"""One mutant at a time: is it wrong, is it found, on the right line, with a mend that mends?

Whether a text's gradients are right is asked of autograd here, with nothing of `gradninja.check`.
"""

from __future__ import annotations

import ast
import inspect
import random
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import gradninja as gn
from catalogue import collect
from gradninja.check import LineReport, check, diagnosis
from gradninja.check.diagnosis import Diagnosis, Kind, Patch, apply
from gradninja.check.diagnosis.case import Case
from gradninja.check.diagnosis.mend import writes
from gradninja.check.diagnosis.work import Allowance
from gradninja.derive import read_program
from gradninja.errors import GradninjaError
from gradninja.models import load
from mistakes import FILES
from mutants import Mutant, Text, mutants
from small_runs import LECTURES

HEADER = (
    "import math\n\nimport torch\nimport torch.nn.functional as F\n"
    "from jaxtyping import Bool, Float, Int\nfrom torch import Tensor\n\n\n"
)


@dataclass(frozen=True, eq=False)
class Subject:
    """A text with a forward and a right backward."""

    name: str
    text: str
    function: str = "backward"

    @cached_property
    def needed(self) -> set[str]:
        """The float inputs' gradients: the others may be left out."""
        program = read_program(self.text)
        return {f"d{name}" for name in program.differentiable}

    @cached_property
    def draws(self) -> list[tuple[dict[str, Any], dict[str, Tensor]]]:
        """(every value of the forward and the cotangent, autograd's gradients), per draw."""
        return [_truth(self.text, given, seed) for seed, given in enumerate(_inputs(self.text))]

    def right(self, text: str) -> bool:
        """Whether another text's backward gives the same gradients as this one, on all draws."""
        for values, gradients in self.draws:
            wanted = _locals(self.text, self.function, values)
            try:
                found = _locals(text, self.function, values)
            except Exception:  # a mutant may raise anything
                return False
            for name, true in gradients.items():
                needed = name in found or name in self.needed
                if name in wanted and needed and not _equal(found.get(name), true):
                    return False
        return True


def _equal(value: Any, true: Tensor) -> bool:
    if not isinstance(value, Tensor) or value.shape != true.shape:
        return False
    return bool(((value.double() - true).abs() <= 1e-9 * (1e-3 + true.abs().max())).all())


def _inputs(text: str) -> Iterator[dict[str, Any]]:
    """The inputs that the text gives, then some that its annotations ask for."""
    namespace = _module(text)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if "inputs" in namespace:
            yield namespace["inputs"]()
        program = read_program(text)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        yield {
            given.name: _redrawn(given.value, generator)
            if isinstance(given.value, Tensor)
            else given.value
            for given in program.inputs
        }


def _redrawn(value: Tensor, generator: torch.Generator) -> Tensor:
    if value.is_floating_point():
        drawn = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        return drawn.abs() + 0.1 if bool((value > 0).all()) and value.numel() > 3 else drawn
    if value.dtype == torch.int64 and value.numel():
        return torch.randint(0, int(value.max()) + 1, value.shape, generator=generator)
    return value


def _module(text: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(compile(text, "<mutant>", "exec"), namespace)
    return namespace


def _with_locals(text: str, function: str) -> Callable[..., dict[str, Any]]:
    """A function of the text, returning its locals; what it returned stands under `returned`."""
    namespace = _module(text)
    tree = ast.parse(text)
    (node,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function)
    last = node.body[-1]
    body = node.body[:-1] if isinstance(last, ast.Return) else node.body
    if isinstance(last, ast.Return) and last.value is not None:
        body = [*body, ast.Assign([ast.Name("returned", ast.Store())], last.value)]
    node.body = [*body, *ast.parse("return locals()").body]
    node.args = _bare(node.args)
    module = ast.fix_missing_locations(ast.Module([node], []))
    exec(compile(module, "<mutant>", "exec"), namespace)
    found: Callable[..., dict[str, Any]] = namespace[function]
    return found


def _bare(arguments: ast.arguments) -> ast.arguments:
    for argument in arguments.args:
        argument.annotation = None
    return arguments


def _truth(
    text: str, inputs: dict[str, Any], seed: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    given = {
        name: v.double().requires_grad_() if isinstance(v, Tensor) and v.is_floating_point() else v
        for name, v in inputs.items()
    }
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        values = _with_locals(text, "forward")(**given)
    finally:
        torch.set_default_dtype(before)
    output = values.pop("returned")
    named = set(values)
    if not any(v is output for v in values.values()):
        values["out"] = output  # it has no name of its own, so its gradient is not judged
    floats = {
        n: v
        for n, v in values.items()
        if isinstance(v, Tensor) and v.requires_grad and (n in named or v is not output)
    }
    generator = torch.Generator().manual_seed(1_000_000 + seed)  # not the inputs' numbers
    cotangent = torch.ones_like(output)
    if output.ndim:
        cotangent = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    grads = torch.autograd.grad(output, list(floats.values()), cotangent, allow_unused=True)
    gradients = {
        f"d{name}": torch.zeros_like(value) if grad is None else grad
        for (name, value), grad in zip(floats.items(), grads, strict=True)
    }
    held = {n: v.detach() if isinstance(v, Tensor) else v for n, v in values.items()}
    for name, value in values.items():
        if value is output and output.ndim:
            held[f"d{name}"] = cotangent
    return held, gradients


def _locals(text: str, function: str, values: dict[str, Any]) -> dict[str, Any]:
    """The backward's locals when it runs as it stands on copies of the forward's values."""
    call = _with_locals(text, function)
    names = call.__code__.co_varnames[: call.__code__.co_argcount]
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            return call(
                **{
                    n: values[n].clone() if isinstance(values[n], Tensor) else values[n]
                    for n in names
                }
            )
    finally:
        torch.set_default_dtype(before)


def written_by_hand() -> list[Subject]:
    """The right backwards of the built-in models and of the planted mistakes' files."""
    found = []
    for name in LECTURES:
        model = load(name)
        for function in ("backward", "backward_fused"):
            if model.has(function):
                found.append(Subject(f"{name}.{function}", model.text, function))
    for name in ("pooling", "attention", "covariance"):
        found.append(Subject(name, Path(FILES[name]).read_text()))
    return found


def derived() -> list[Subject]:
    """The catalogue's programs with their derived backwards, where those ask for no more names.

    (Where derive names a part of a line, the backward stands beside derive's own forward.)
    """
    found = []
    for program in collect():
        if program.function.__name__.endswith("own_noise"):
            continue
        forward = textwrap.dedent(inspect.getsource(program.function))
        text = HEADER + forward.replace(f"def {program.function.__name__}(", "def forward(", 1)
        try:
            _, start, body = gn.derive(text).source.partition("def backward(")
            subject = Subject(program.name, f"{text}\n\n{start}{body}")
            right = subject.right(subject.text)
        except (GradninjaError, KeyError, TypeError):
            continue
        if right:
            found.append(subject)
    return found


@dataclass(frozen=True)
class Outcome:
    """What `gradninja.check` said of one mutant, and whether its mend mends."""

    subject: str
    mutant: Mutant
    flagged: bool
    right_line: bool
    mended: bool
    edited: bool  # by an edit of the person's line, and not by derived lines
    said: str


def outcome(subject: Subject, mutant: Mutant) -> Outcome:
    """Check one mutant, and put the mend in that is offered."""
    with recorded() as diagnoses:
        report = check(mutant.text, subject.function, complete=True)
    rows = report.wrong
    acceptable = _lines_that_may_be_named(subject, mutant)
    mended = edited = False
    for mends in [rows[:1], rows] if rows else []:
        told = [next((d for d in diagnoses.values() if d.fix == r.fix), None) for r in mends]
        if not mended and subject.right(put(mends, told, mutant.text)):
            mended = True
            edited = all(d is None or d.kind is not Kind.UNKNOWN for d in told)
    return Outcome(
        subject.name,
        mutant,
        flagged=bool(rows),
        right_line=bool(rows) and all(row.line in acceptable for row in rows),
        mended=mended,
        edited=edited,
        said="; ".join(f"line {row.line}, {row.name}: {row.kind} -> {row.fix}" for row in rows),
    )


def put(rows: Sequence[LineReport], told: Sequence[Diagnosis | None], text: str) -> str:
    """A text with the rows' mends in it, each place mended once.

    A fix that comes without a search is the line itself, or the one that is missing above it.
    """
    found: dict[tuple[int, int], Patch] = {}
    for row, said in zip(rows, told, strict=True):
        patches = said.patches if said is not None else _patches(row, text)
        for patch in patches:
            found.setdefault((patch.first, patch.last), patch)
    return apply(list(found.values()), text)


def _patches(row: LineReport, text: str) -> tuple[Patch, ...]:
    if row.fix is None or row.line is None:
        return ()
    old = text.splitlines()[row.line - 1]
    new = old[: len(old) - len(old.lstrip())] + row.fix
    return (Patch(row.line, row.line - (row.kind == Kind.MISSING_LINE), (new,)),)


@contextmanager
def recorded(runs: float | None = None) -> Iterator[dict[str, Diagnosis]]:
    """The diagnoses that a check makes, by gradient: the report holds only their words.

    `runs`: what the search for each may do, where it is not what a check allows.
    """
    found: dict[str, Diagnosis] = {}
    before = diagnosis.diagnose

    def record(case: Case, allowed: Allowance) -> Diagnosis:
        found[case.name] = before(case, allowed if runs is None else Allowance(runs))
        return found[case.name]

    diagnosis.diagnose = record
    try:
        yield found
    finally:
        diagnosis.diagnose = before


def _lines_that_may_be_named(subject: Subject, mutant: Mutant) -> set[int | None]:
    """The mutated line; where it writes something no more, also those that write or read that."""
    before = _written_at(subject.text, subject.function, mutant.line)
    lost = before - _written_at(mutant.text, subject.function, mutant.line)
    found: set[int | None] = {mutant.line}
    if lost:
        found.add(None)
    for statement in Text(mutant.text, subject.function).body:
        if lost & {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}:
            found.add(statement.lineno)
    return found


def _written_at(text: str, function: str, line: int) -> set[str]:
    """What the statement on a line writes."""
    for statement in Text(text, function).body:
        if statement.lineno <= line <= (statement.end_lineno or line):
            names = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}
            return {name for name in names if writes(statement, {name})}
    return set()


def campaign(subjects: Sequence[Subject], count: int, seed: int) -> Iterator[Outcome | Mutant]:
    """Outcomes of `count` mutants that are wrong, one subject after another.

    A mutant that is numerically equal is given back itself, and not counted.
    """
    generator = random.Random(seed)
    streams = [(s, mutants(s.text, s.function, generator)) for s in subjects]
    made = 0
    while streams and made < count:
        for subject, stream in list(streams):
            mutant = next(stream, None)
            if mutant is None:
                streams.remove((subject, stream))
            elif subject.right(mutant.text):
                yield mutant
            else:
                made += 1
                yield outcome(subject, mutant)
            if made >= count:
                break
